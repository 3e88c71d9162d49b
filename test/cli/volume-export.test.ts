/**
 * Risk: a file that an export has answered for has no name after a power cut; the snapshot that it made for itself
 * stays without a word, or the word about it stands for what became of the file.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { mock } from 'node:test'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { PartialFile } from '../../cli/volume-export.ts'
import type { ControlApi } from '../../cluster/api/definition.ts'
import type { CreateSnapshotRequest, DeleteSnapshotRequest, Snapshot } from '../../cluster/api/snapshot-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { MemoryDevice } from '../memory-device.ts'
import { MemoryServer } from '../nbd-server.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { serveStub, shownVolume } from './control-stub.ts'
import { holdfast } from './run-holdfast.ts'

function stand(t: Test, sync: (fd: number) => void) {
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'image')
  const synced = mock.method(fs, 'fsyncSync', sync)
  t.teardown(() => synced.mock.restore())
  const image = new PartialFile(file)
  return { dir, file, image }
}

t.test('its folder is synced when it has its name', (t) => {
  const seen: unknown[] = []
  const { dir, file, image } = stand(t, (fd) => {
    seen.push([fs.fstatSync(fd).ino, fs.existsSync(file)])
  })
  image.complete()
  image.end()
  t.same(seen, [[fs.statSync(dir).ino, true]])
  t.same(fs.readdirSync(dir), ['image'])
  t.end()
})

for (const [code, left] of [['EIO', []], ['EINVAL', ['image']]] as const) {
  t.test(`a folder whose sync ends with ${code}`, (t) => {
    const { dir, image } = stand(t, () => {
      throw Object.assign(new Error(code), { code })
    })
    if (code === 'EIO') t.throws(() => image.complete(), { code: 'image-write' })
    else t.doesNotThrow(() => image.complete(), 'such a file system has no sync of folders')
    image.end()
    t.same(fs.readdirSync(dir), left)
    t.end()
  })
}

const ID = 'a'.repeat(32)

const failing = (code: 'unreachable' | 'change-outcome' | 'snapshot-name') => async (): Promise<never> => {
  const detail = { endpoint: 'x', source: 'y', snapshot: 'z', volume: 'x', what: 'it', reason: 'planted' }
  throw new HoldfastError(code, detail)
}

/** A volume `x` whose snapshots are served. @param deletions  what becomes of each; behind them all are done */
async function exporting(
  t: Test, deletions: Array<() => Promise<object>>, others: Partial<ControlApi> = {}, serves = true,
) {
  const made: CreateSnapshotRequest[] = []
  const deleted: DeleteSnapshotRequest[] = []
  const device = new MemoryDevice({ sizeBytes: MIB })
  const server = new MemoryServer({ devices: { other: device } })
  const { dir, socketPath } = await serveStub(t, {
    getVolume: async () => shownVolume(ID, 'x', MIB),
    createSnapshot: async (request) => {
      made.push(request)
      const id = request.id === '' ? '1'.repeat(32) : request.id
      if (serves) server.devices.set(`${ID}@${id}`, device)
      return { ...request, id } as unknown as Snapshot
    },
    deleteSnapshot: async (request) => {
      deleted.push(request)
      return (await deletions.shift()?.()) ?? {}
    },
    ...others,
  })
  await server.listener.listenUnix(path.join(dir, 'nbd.sock'))
  t.teardown(() => server.close())
  const file = path.join(dir, randomBytes(4).toString('hex'))
  const run = () => holdfast(['volume', 'export', 'x', file, '--endpoint', socketPath])
  return { file, made, deleted, run }
}

t.test('a daemon that starts again, a volume without a primary: the snapshot is deleted all the same', async (t) => {
  const { file, made, deleted, run } = await exporting(t, [failing('unreachable'), failing('change-outcome')])
  t.match(await run(), { code: 0, stderr: '' })
  t.equal(fs.statSync(file).size, MIB)
  t.equal(deleted.length, 3)
  t.match(deleted, Array(3).fill({ id: made[0]!.id, name: made[0]!.name }))
})

t.test('one that stays is named, and is not what became of the file', async (t) => {
  const left = /snapshot export-\S+ of volume x, .* may be left: .*`holdfast snapshot delete x export-\S+` deletes it/
  const whole = await exporting(t, [failing('snapshot-name')])
  t.match(await whole.run(), { code: 0, stdout: /has what volume x showed/, stderr: left })
  const cut = await exporting(t, [failing('snapshot-name')], {}, false)
  const { code, stderr } = await cut.run()
  t.equal(code, 1)
  t.match(stderr, left)
  t.match(stderr, /the export of volume x ended before its end: its node does not serve it/)
  t.notOk(fs.existsSync(cut.file))
})

t.test('whether it was made is not known: it is deleted by its id', async (t) => {
  const asked: CreateSnapshotRequest[] = []
  const createSnapshot = async (request: CreateSnapshotRequest): Promise<never> => {
    asked.push(request)
    return failing('change-outcome')()
  }
  const { deleted, run } = await exporting(t, [], { createSnapshot })
  t.match(await run(), { code: 1, stderr: /whether it of volume x was done is not known: planted/ })
  t.match(asked[0]?.id, /^[0-9a-f]{32}$/)
  t.match(deleted, [{ id: asked[0]?.id }])
  const refused = await exporting(t, [], { createSnapshot: failing('snapshot-name') })
  t.match(await refused.run(), { code: 2, stderr: /snapshot name z is not allowed/ })
  t.same(refused.deleted, [])
})
