/**
 * Risk: an import that fails deletes another volume, which got the name meanwhile, or leaves one that is half an image;
 * one that is answered is gone with the next power cut.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { ControlApi } from '../../cluster/api/definition.ts'
import type { CreateVolumeRequest } from '../../cluster/api/volume-wish-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { missing, run } from '../conformance/nbd/nbd-process.ts'
import { MemoryDevice } from '../memory-device.ts'
import { MemoryServer } from '../nbd-server.ts'
import { serveStub, shownVolume } from './control-stub.ts'
import { holdfast } from './run-holdfast.ts'

const ID = 'a'.repeat(32)

/** One that makes volumes as `create` does, and has none to delete. */
async function stand(t: Test, create: ControlApi['createVolume'], others: Partial<ControlApi> = {}) {
  const made: CreateVolumeRequest[] = []
  const deleted: object[] = []
  const { dir, socketPath } = await serveStub(t, {
    createVolume: (request) => {
      made.push(request)
      return create(request)
    },
    deleteVolume: async (request) => {
      deleted.push(request)
      throw new HoldfastError('volume-not-found', { name: request.name })
    },
    ...others,
  })
  const image = path.join(dir, 'image')
  fs.writeFileSync(image, randomBytes(MIB))
  const words = ['volume', 'import', image, 'x', '--endpoint', socketPath]
  const imported = (...more: string[]) => holdfast([...words, ...more])
  return { dir, image, made, deleted, imported }
}

const making = async ({ name, sizeBytes }: CreateVolumeRequest) => shownVolume(ID, name, sizeBytes)

t.test('what is deleted is the volume that was made, whatever has its name now', async (t) => {
  const { deleted, imported } = await stand(t, making)
  const { code, stderr } = await imported()
  t.match(deleted, [{ name: ID, force: true, purge: true }])
  t.equal(deleted.length, 1)
  t.equal(code, 1)
  t.match(stderr, /ended before its end: its node does not serve it; nothing is left of it/, 'not that it is gone')
})

t.test('a volume that could not be deleted is not said to be gone', async (t) => {
  const refuse = async () => {
    throw new HoldfastError('volume-waits', { name: 'x', reason: 'planted' })
  }
  const { imported } = await stand(t, making, { deleteVolume: refuse })
  t.match(await imported(), { code: 1, stderr: /planted/ })
})

t.test('qcow2: durable when it is answered', { skip: missing('qemu-img') }, async (t) => {
  const { dir, image, deleted, imported } = await stand(t, making)
  const device = new MemoryDevice({ sizeBytes: MIB })
  device.record = true
  const server = new MemoryServer({ devices: { [ID]: device } })
  await server.listener.listenUnix(path.join(dir, 'nbd.sock'))
  t.teardown(() => server.close())
  const raw = path.join(dir, 'raw')
  fs.renameSync(image, raw)
  t.match(await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, image), { status: 0 })
  t.match(await imported(), { code: 0, stderr: '' })
  t.ok(device.log.some(({ kind }) => kind === 'write'))
  t.ok(device.durable, 'a flush came behind the last write')
  t.same(deleted, [])
  device.faults.push({ kind: 'flush', offsetBytes: 0, lengthBytes: 0, errno: 5 })
  t.match(await imported(), { code: 1, stderr: /ended before its end: NBD error 5; nothing is left of it/ })
  t.match(deleted, [{ name: ID }], 'what the flush was for is not there')
})

t.test('made, and not served: it is deleted', async (t) => {
  const { made, deleted, imported } = await stand(t, async ({ name }) => {
    throw new HoldfastError('volume-waits', { name, reason: 'planted' })
  })
  t.match(await imported(), { code: 1, stderr: /volume x is made, and not served yet: planted/ })
  t.match(made[0]?.volumeId, /^[0-9a-f]{32}$/)
  t.match(deleted, [{ name: made[0]?.volumeId, force: true, purge: true }])
})

t.test('not answered by a daemon that starts again: it is deleted when that answers', async (t) => {
  const silent = async (): Promise<never> => {
    throw new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'ECONNRESET' })
  }
  const ends = [silent, silent, async () => ({ keptMs: 0 })]
  const deleted: string[] = []
  const deleteVolume: ControlApi['deleteVolume'] = ({ name }) => {
    deleted.push(name)
    return ends.shift()!()
  }
  const { made, imported } = await stand(t, silent, { deleteVolume })
  t.match(await imported(), { code: 1, stderr: /ECONNRESET/ })
  const { volumeId } = made[0]!
  t.same(deleted, [volumeId, volumeId, volumeId])
})

t.test('made, and not unlocked: it is deleted', async (t) => {
  const getKeys = async () => {
    throw new HoldfastError('volume-waits', { name: 'x', reason: 'planted' })
  }
  const create = async ({ volumeId, name, sizeBytes }: CreateVolumeRequest) => shownVolume(volumeId!, name, sizeBytes)
  const { dir, made, deleted, imported } = await stand(t, create, { getKeys })
  const key = path.join(dir, 'key')
  fs.writeFileSync(key, randomBytes(32).toString('hex'))
  t.match(await imported('--encryption', '--key-file', key), { code: 1, stderr: /planted/ })
  t.match(deleted, [{ name: made[0]?.volumeId, force: true, purge: true }])
})

t.test('a schedule of snapshots begins when the volume is whole', async (t) => {
  const device = new MemoryDevice({ sizeBytes: MIB })
  device.record = true
  const steps: string[] = []
  const ends = [async () => {}, async (): Promise<never> => {
    throw new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'ECONNRESET' })
  }]
  const setSnapshotSchedule: ControlApi['setSnapshotSchedule'] = async ({ volume, schedule }) => {
    const isWhole = device.durable && device.log.some(({ kind }) => kind === 'write')
    steps.push(`${volume === ID} ${schedule}, ${isWhole ? 'whole' : 'not whole'}`)
    await ends.shift()?.()
    return { ...shownVolume(ID, 'x', MIB), snapshotSchedule: schedule }
  }
  const { dir, made, deleted, imported } = await stand(t, making, { setSnapshotSchedule })
  const server = new MemoryServer({ devices: { [ID]: device } })
  await server.listener.listenUnix(path.join(dir, 'nbd.sock'))
  t.teardown(() => server.close())
  const schedule = 'every 1h keep-last 3'
  const { code, stdout, stderr } = await imported('--param', `holdfast.io/snapshot-schedule=${schedule}`, '-o', 'json')
  t.match({ code, stderr }, { code: 0, stderr: '' })
  t.equal(JSON.parse(stdout).snapshotSchedule, schedule)
  t.same(made[0]?.parameters, {})
  t.same(steps, ['true none, not whole', `true ${schedule}, whole`, `true ${schedule}, whole`])
  t.same(deleted, [])
  t.match(await imported('--snapshot-schedule', 'now and then'), { code: 2, stderr: /snapshot-schedule/ })
  t.equal(made.length, 1)
})

t.test('a node by itself has no schedules: refused before the volume is filled', async (t) => {
  const setSnapshotSchedule = async (): Promise<never> => {
    throw new HoldfastError('not-supported', { what: 'snapshots', instead: 'planted' })
  }
  const { deleted, imported } = await stand(t, making, { setSnapshotSchedule })
  t.match(await imported('--snapshot-schedule', 'every 1h keep-last 3'), { code: 1, stderr: /planted/ })
  t.match(deleted, [{ name: ID }])
})
