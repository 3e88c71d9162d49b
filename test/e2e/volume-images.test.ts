/**
 * Volumes of three nodes as real processes go out into files and come in from them, raw and qcow2, sparse both ways:
 * online, from a snapshot of that moment or a named one. What does not come to its end leaves nothing behind.
 */
// test-timeout-seconds: 240
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { missing, run, uri } from '../conformance/nbd/nbd-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { until } from './until.ts'

const SIZE = 96 * MIB
/** Of a qcow2. */
const CLUSTER = 64 * 1024

const cluster = await ClusterOfDaemons.make(t)
await cluster.makeVolume({ name: 'data', sizeBytes: SIZE })
await cluster.start()
const { api: socketPath, nbd } = cluster.node('n2').paths
const api = connectControlApi({ socketPath, source: 'the test' })
t.teardown(() => api.close())
await until(() => api.getVolume({ name: 'data' }), ({ health }) => health === 'healthy')
const folder = temporaryFolder(t)
const at = (name: string): string => path.join(folder, name)
const say = (...words: string[]) => holdfast([...words, '--endpoint', socketPath])
const snapshots = async () => (await api.listSnapshots({ volume: 'data', limit: 0, after: '' })).snapshots

/** Data at odd places, holes between. */
function makeImage(file: string, bytes: number): Buffer {
  const image = Buffer.alloc(bytes)
  for (let from = 12_345; from + 2 * MIB <= bytes; from += 9 * MIB) randomBytes(2 * MIB).copy(image, from)
  const fd = fs.openSync(file, 'w')
  fs.ftruncateSync(fd, bytes)
  for (let from = 12_345; from + 2 * MIB <= bytes; from += 9 * MIB) fs.writeSync(fd, image, from, 2 * MIB, from)
  fs.closeSync(fd)
  return image
}

const isSame = (file: string, bytes: Buffer): boolean => fs.readFileSync(file).equals(bytes)
const isSparse = (file: string): boolean => fs.statSync(file).blocks * 512 < SIZE / 2

const image = makeImage(at('image'), SIZE)

t.test('raw: in, out, and in again', async (t) => {
  const odd = SIZE - 5 * MIB + 777
  fs.writeFileSync(at('odd'), '')
  const oddImage = makeImage(at('odd'), odd)
  const made = await say('volume', 'import', at('odd'), 'odd', '--replicas', '1', '-o', 'json')
  t.match(made, { code: 0, stderr: '' })
  t.match(JSON.parse(made.stdout), { name: 'odd', sizeBytes: SIZE - 4 * MIB, replicas: 1, format: 'raw' })
  const out = await say('volume', 'export', 'odd', at('odd.out'), '-o', 'json')
  t.match(out, { code: 0, stderr: '' })
  t.match(JSON.parse(out.stdout), { volume: 'odd', isTemporary: true, format: 'raw', sizeBytes: SIZE - 4 * MIB })
  t.ok(isSame(at('odd.out'), Buffer.concat([oddImage, Buffer.alloc(SIZE - 4 * MIB - odd)])))
  t.ok(isSparse(at('odd.out')), 'holes stay holes')
  t.ok((await api.getVolume({ name: 'odd' })).usedBytes < SIZE / 2, 'in the volume too')
  const left = await api.listSnapshots({ volume: 'odd', limit: 0, after: '' })
  t.same(left.snapshots, [], 'what was made for it is gone')
})

t.test('of a snapshot, while the volume is another one', { skip: missing('nbdcopy') }, async (t) => {
  t.match(await run('nbdcopy', '--flush', at('image'), uri(nbd, 'data')), { status: 0 })
  await api.createSnapshot({ volume: 'data', name: 'first', labels: {}, id: '' })
  makeImage(at('other'), SIZE)
  t.match(await run('nbdcopy', '--flush', at('other'), uri(nbd, 'data')), { status: 0 })
  const out = await say('volume', 'export', 'data@first', at('first.raw'))
  t.match(out, { code: 0, stdout: /has what volume data showed at snapshot first: 96 MiB, in \d+/, stderr: '' })
  t.ok(isSame(at('first.raw'), image))
  t.match(await snapshots(), [{ name: 'first' }])
})

t.test('qcow2, both ways', { skip: missing('qemu-img') }, async (t) => {
  const out = await say('volume', 'export', 'data@first', at('first.qcow2'), '--format', 'qcow2')
  t.match(out, { code: 0, stderr: '' })
  t.match(await run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', at('first.qcow2'), at('image')), { status: 0 })
  const made = await say('volume', 'import', at('first.qcow2'), 'second', '--size', '100Mi', '-o', 'json')
  t.match(made, { code: 0, stderr: '' })
  const clusters = Array.from({ length: SIZE / CLUSTER }, (_, i) => image.subarray(i * CLUSTER, (i + 1) * CLUSTER))
  const dataBytes = clusters.filter((bytes) => bytes.some((byte) => byte !== 0)).length * CLUSTER
  t.match(JSON.parse(made.stdout), { name: 'second', sizeBytes: 100 * MIB, format: 'qcow2', dataBytes })
  await say('volume', 'export', 'second', at('second.raw'))
  t.ok(isSame(at('second.raw'), Buffer.concat([image, Buffer.alloc(4 * MIB)])))
  t.ok((await api.getVolume({ name: 'second' })).usedBytes < SIZE / 2, 'sparse')
})

t.test('bad input gets one sentence, and nothing is changed', async (t) => {
  const before = (await api.listVolumes()).volumes.map(({ name }) => name).sort()
  const refused: Array<[string[], number, RegExp]> = [
    [['volume', 'import', at('image'), 'data'], 1, /volume data exists already/],
    [['volume', 'import', at('none'), 'fresh'], 1, /none cannot be read: ENOENT; check the path/],
    [['volume', 'import', folder, 'fresh'], 1, /cannot be read: it is no regular file/],
    [['volume', 'import', at('image'), 'fresh', '--size', '10Mi'], 2, /--size 10Mi is less than the image has, 96 MiB/],
    [['volume', 'import', at('image'), 'Fresh'], 2, /volume name "Fresh" is not allowed/],
    [['volume', 'export', 'data', at('image')], 1, /image exists already, and was not touched/],
    [['volume', 'export', 'data', at('no/such')], 1, /cannot be written: ENOENT/],
    [['volume', 'export', 'none', at('x-1')], 1, /there is no volume "none"/],
    [['volume', 'export', 'data@none', at('x-2')], 1, /volume data has no snapshot "none"/],
    [['volume', 'export', 'data', at('x-3'), '--format', 'vhd'], 2, /image format vhd is unknown; use raw or qcow2/],
  ]
  const told = await Promise.all(refused.map(([words]) => say(...words)))
  for (const [i, [words, code, stderr]] of refused.entries()) {
    t.match(told[i], { code, stderr }, words.join(' '))
    t.equal(told[i]!.stderr.trim().split('\n').length, 1)
  }
  t.same((await api.listVolumes()).volumes.map(({ name }) => name).sort(), before)
  t.match(await snapshots(), [{ name: 'first' }], 'what was made for a failed export is gone too')
  t.same(fs.readdirSync(folder).filter((name) => name.startsWith('x-') || name.endsWith('.partial')), [])
})

/** Ctrl-C when something of it is there. */
async function interrupted(words: string[], isUnderWay: () => Promise<boolean>) {
  const command = [path.resolve(import.meta.dirname, '../../cli/main.ts'), ...words, '--endpoint', socketPath]
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()))
  const closed = once(child, 'close')
  await until(isUnderWay, (isSo) => isSo || child.exitCode !== null)
  child.kill('SIGINT')
  const [code] = await closed
  return { code, stderr }
}

t.test('interrupted: one sentence, and nothing is left', async (t) => {
  const out = await interrupted(['volume', 'export', 'data', at('cut')], async () => fs.existsSync(at('cut.partial')))
  t.match(out, { code: 1, stderr: /the export of volume data ended before its end: it was interrupted; nothing/ })
  t.same(fs.readdirSync(folder).filter((name) => name.startsWith('cut')), [])
  t.match(await snapshots(), [{ name: 'first' }])
  const isMade = async () => (await api.listVolumes()).volumes.some(({ name }) => name === 'cut')
  const into = await interrupted(['volume', 'import', at('image'), 'cut'], isMade)
  t.match(into, { code: 1, stderr: /the import of .* ended before its end: it was interrupted; nothing is left of it/ })
  t.notOk(await isMade())
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})
