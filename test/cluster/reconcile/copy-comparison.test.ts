/** Copies are compared by the node of their primary, once for each scrub; what differs at one look only is not told. */
import t from 'tap'
import { CopyComparison } from '../../../cluster/reconcile/copy-comparison.ts'
import type { DigestCalls } from '../../../cluster/reconcile/copy-comparison.ts'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { configKey, encodeConfig } from '../../../cluster/store/volume-configs.ts'
import { encodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { ShownVersion, SliceDigest } from '../../../engine/volume/digest-comparison.ts'
import { recordOf } from '../../engine/control/small-cluster.ts'

const ID = '5'.repeat(32)
const DIGEST: SliceDigest = {
  appliedSeq: 9, endSeq: 9, views: 1, pages: [{ page: 4, digest: 77, newestSeq: 5 }], isShared: false, slicesShown: 10,
}
const OTHER: SliceDigest = { ...DIGEST, pages: [{ page: 4, digest: 78, newestSeq: 5 }] }
const version = (seq: number): ShownVersion => ({ lba: 1030, epoch: 1, seq, crc: 3 })

interface Told {
  digests: Array<SliceDigest | undefined>
  shown?: ShownVersion[]
}
const SAME: Told = { digests: [DIGEST] }

/** Each node says its digests one after the other, the last one for ever. */
function stage(nodes: Record<string, Told | Error>, primary = 'n1') {
  const config: VolumeConfig = {
    volumeId: ID, epoch: 3, primary, inSync: ['n1', 'n2', 'n3'],
    members: Object.fromEntries(['n1', 'n2', 'n3'].map((node) => [node, { copyId: node, state: 'in-sync' as const }])),
    minInSync: 2, attach: { generation: 1, mode: 'open', holders: {} }, nonce: '',
  }
  const values = new Map([
    [configKey(ID), encodeConfig(config)], [volumeKey(ID), encodeVolume(recordOf(ID, { attachMode: 'open' }))],
  ])
  const get = async (key: string) => ({ ok: true, value: { version: '1', value: values.get(key)! } })
  const differences: string[] = []
  const asked: string[] = []
  const comparison = new CopyComparison({
    node: 'n1',
    store: { get } as unknown as ClusterStore,
    lookAgainMs: 1,
    log: { event: (_level, _message, fields) => void differences.push(String(fields.difference)) },
    callsOf: (node): DigestCalls | undefined => {
      const told = nodes[node]
      if (told === undefined) return undefined
      return {
        digest: async (_volumeId, slice) => {
          if (told instanceof Error) throw told
          asked.push(`${node} ${slice}`)
          return told.digests.length > 1 ? told.digests.shift() : told.digests[0]
        },
        shown: async () => (told instanceof Error ? [] : told.shown ?? []),
      }
    },
  })
  return { comparison, differences, asked }
}

t.test('copies that are the same', async (t) => {
  const { comparison, asked } = stage({ n1: SAME, n2: SAME, n3: SAME })
  t.match(await comparison.compare(ID), { differences: 0 })
  t.equal(asked.length, 2 * 2 * 10, 'ten slices, twice two copies')
  t.same(new Set(asked.map((words) => words.slice(0, 2))), new Set(['n1', 'n2', 'n3']))
})

t.test('a difference that stays is named, and counted', async (t) => {
  const { comparison, differences } = stage({
    n1: { digests: [DIGEST], shown: [version(5)] }, n2: { digests: [DIGEST] },
    n3: { digests: [undefined, OTHER, OTHER, DIGEST], shown: [version(4)] },
  })
  t.match(await comparison.compare(ID), { differences: 2 })
  t.same(differences, [
    'n1 shows block 1030 of epoch 1, seq 5, and n3 does not',
    'n3 shows block 1030 of epoch 1, seq 4, and n1 does not',
  ])
})

t.test('what a snapshot shows beyond the end of a volume that shrank is compared, too', async (t) => {
  const before = { digests: [{ ...DIGEST, slicesShown: 0 }] }
  const { comparison, asked } = stage({ n1: { digests: [{ ...DIGEST, slicesShown: 12 }] }, n2: before, n3: SAME })
  t.match(await comparison.compare(ID), { differences: 0 })
  t.equal(asked.length, 2 * 2 * 12)
  t.ok(asked.includes('n3 11'))
})

t.test('what is shared with an origin is not compared', async (t) => {
  const shared = { digests: [{ ...OTHER, views: 3, isShared: true }] }
  t.match(await stage({ n1: SAME, n2: shared, n3: SAME }).comparison.compare(ID), { differences: 0 })
})

t.test('one that is gone at the second look, or cannot be looked at, is none', async (t) => {
  const passing = stage({
    n1: SAME, n2: { digests: [OTHER, { ...DIGEST, appliedSeq: 8 }, DIGEST] }, n3: SAME,
  })
  t.match(await passing.comparison.compare(ID), { differences: 0 })
  const views = stage({
    n1: { digests: [DIGEST] }, n2: { digests: [{ ...OTHER, views: 2 }] }, n3: { digests: [DIGEST] },
  })
  t.equal(await views.comparison.compare(ID), undefined, 'never the same snapshots')
  const away = stage({ n1: { digests: [DIGEST] }, n2: { digests: [DIGEST] } })
  t.equal(await away.comparison.compare(ID), undefined)
  t.equal(await stage({ n1: { digests: [DIGEST] } }, 'n2').comparison.compare(ID), undefined, 'it does not lead')
})

t.test('once for each scrub that is seen, and whoever cannot be asked ends it', async (t) => {
  const { comparison, asked } = stage({ n1: SAME, n2: SAME, n3: SAME })
  for (const atMs of [5, 5, 5]) comparison.scrubbed(ID, atMs)
  t.same(asked, [], 'as it was when the process began')
  comparison.scrubbed(ID, 6)
  comparison.scrubbed(ID, 6)
  while (comparison.of(ID).atMs === 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(asked.length, 40)
  t.match(comparison.of('another'), { atMs: 0, differences: 0 })
  comparison.close()
  const reason = new HoldfastError('unreachable', { endpoint: 'n2', source: 'its heartbeat', reason: 'gone' })
  const broken = stage({ n1: { digests: [DIGEST] }, n2: reason, n3: { digests: [DIGEST] } })
  await t.rejects(broken.comparison.compare(ID), { code: 'unreachable' })
  broken.comparison.scrubbed(ID, 1)
  broken.comparison.scrubbed(ID, 2)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(broken.comparison.of(ID).atMs, 0)
})
