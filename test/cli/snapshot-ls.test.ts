/** A list of snapshots in parts: each once, in order, and whoever gets a part hears that there is more. */
import t from 'tap'
import type { Test } from 'tap'
import type { ListSnapshotsRequest, Snapshot } from '../../cluster/api/snapshot-messages.ts'
import { checkPage, checkPageToken, pageToken } from '../../cluster/api/snapshot-request.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { serveStub } from './control-stub.ts'
import { holdfast } from './run-holdfast.ts'

const COUNT = 1500
const ALL = Array.from({ length: COUNT }, (_, i): Snapshot => ({
  volume: 'data', volumeId: 'a'.repeat(32), name: `s-${i}`, id: String(i).padStart(32, '0'), seq: i + 1, sizeBytes: 0,
  createdAtMs: 0, labels: {}, group: '', exclusiveBytes: 0, exclusiveAtMs: 0,
}))

async function listing(t: Test) {
  const asked: ListSnapshotsRequest[] = []
  const { socketPath } = await serveStub(t, {
    getSnapshot: async ({ volume, name }) => {
      const found = ALL.find((one) => one.name === name)
      if (found === undefined) throw new HoldfastError('snapshot-not-found', { volume, snapshot: name })
      return found
    },
    listSnapshots: async (request) => {
      asked.push(request)
      const { seq } = checkPageToken(request.after)
      const behind = ALL.filter((one) => one.seq > seq)
      const snapshots = behind.slice(0, checkPage(request.limit))
      return { snapshots, next: behind.length > snapshots.length ? pageToken(snapshots.at(-1)!) : '', unread: [] }
    },
  })
  const list = async (...words: string[]) => {
    const { code, stdout, stderr } = await holdfast(['snapshot', 'ls', 'data', ...words, '--endpoint', socketPath])
    return { code, stderr, stdout, names: [...stdout.matchAll(/\bs-\d+\b/g)].map(([name]) => name) }
  }
  return { asked, list }
}

const names = (from: number, end: number): string[] => ALL.slice(from, end).map(({ name }) => name)

t.test('all, or a part', async (t) => {
  const { asked, list } = await listing(t)
  t.match(await list(), { code: 0, stderr: '', names: names(0, COUNT) })
  asked.length = 0
  const first = await list('--limit', '2')
  t.match(first, { code: 0, stderr: 'there are more: add --after s-1\n' })
  t.same(first.names, names(0, 2))
  t.match(asked, [{ limit: 2 }], 'no more is asked for')
  const json = await list('--limit', '1200', '--after', 's-1', '-o', 'json')
  t.same(JSON.parse(json.stdout).map(({ name }: Snapshot) => name), names(2, 1202))
  t.equal(json.stderr, 'there are more: add --after s-1201\n')
  t.match(await list('--after', 's-1497'), { stderr: '', names: names(1498, COUNT) })
  t.match(await list('--after', 's-1499'), { code: 0, stdout: /no snapshots of volume data behind s-1499/ })
})

t.test('what is no part', async (t) => {
  const { list } = await listing(t)
  for (const text of ['0', '-1', 'x', '1.5']) t.match(await list('--limit', text), { code: 2, stderr: /--limit 100/ })
  t.match(await list('--after', 'none'), { code: 1, stderr: /no snapshot none/ })
  t.match(await holdfast(['snapshot', 'ls', '--groups', '--limit', '1']), { code: 2, stderr: /are of snapshots of a/ })
})
