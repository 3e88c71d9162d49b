/**
 * Snapshots as NBD exports of three nodes as real processes, read by other people's clients: what a snapshot shows
 * stays what it showed, through any node, while the volume is written, held elsewhere, and its primary killed. One that
 * is read is not deleted; one that is gone is never answered with other data.
 */
// test-timeout-seconds: 300
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  NBD_CMD_BLOCK_STATUS, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES,
} from '../../dataplane/nbd/protocol.ts'
import { HoldfastError, NBD_ERRNO } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { missing, run, uri } from '../conformance/nbd/nbd-process.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { primaryOf, until } from './until.ts'

const SIZE = 64 * MIB

const cluster = await ClusterOfDaemons.make(t)
const volume = await cluster.makeVolume({ name: 'data', sizeBytes: SIZE })
await cluster.start()

const api = (name: string) => cluster.api(name)
const nbd = (name: string): string => cluster.node(name).paths.nbd
await until(() => api('n1').getVolume({ name: 'data' }), ({ health }) => health === 'healthy')

/** A third of it is data, the rest holes. */
function makeImage(file: string): Buffer {
  const bytes = Buffer.alloc(SIZE)
  for (let at = 3 * MIB; at + MIB <= SIZE; at += 3 * MIB) randomBytes(MIB).copy(bytes, at)
  fs.writeFileSync(file, '')
  fs.truncateSync(file, SIZE)
  const fd = fs.openSync(file, 'r+')
  for (let at = 3 * MIB; at + MIB <= SIZE; at += 3 * MIB) fs.writeSync(fd, bytes, at, MIB, at)
  fs.closeSync(fd)
  return bytes
}

const snapshot = (name: string) => api('n2').createSnapshot({ volume: 'data', name, labels: {}, id: '' })

const folder = temporaryFolder(t)
const first = path.join(folder, 'first')
const firstBytes = makeImage(first)

const skip = missing('nbdcopy', 'nbdinfo', 'qemu-img')

t.test('other people\'s clients read it through every node, while the volume is another one', { skip }, async (t) => {
  t.match(await run('nbdcopy', '--flush', first, uri(nbd('n1'), 'data')), { status: 0, stderr: '' })
  const made = await snapshot('one')
  const second = path.join(folder, 'second')
  makeImage(second)
  t.match(await run('nbdcopy', '--flush', second, uri(nbd('n2'), 'data')), { status: 0, stderr: '' })
  await Promise.all(['n1', 'n2', 'n3'].map(async (node) => {
    const at = uri(nbd(node), 'data@one')
    const facts = JSON.parse((await run('nbdinfo', '--json', at)).stdout)
    t.match(facts.exports[0], {
      'export-name': 'data@one', 'export-size': SIZE, is_read_only: true, can_multi_conn: true, can_flush: true,
      block_size_preferred: 4096, contexts: ['base:allocation'],
      description: 'snapshot one of Holdfast volume data (durable)',
    })
    const back = path.join(folder, `back-${node}`)
    t.match(await run('nbdcopy', '--connections=4', at, back), { status: 0, stderr: '' })
    t.ok(fs.readFileSync(back).equals(firstBytes), `through ${node}`)
    t.ok(fs.statSync(back).blocks * 512 < SIZE / 2, 'holes were not sent as data')
    t.match(await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', first, at), { status: 0 })
  }))
  const byId = await run('nbdinfo', '--json', uri(nbd('n1'), `${volume.id}@${made.id}`))
  t.match(JSON.parse(byId.stdout).exports[0], { 'export-name': 'data@one' }, 'by ids too')
  const map = JSON.parse((await run('nbdinfo', '--map', '--json', uri(nbd('n3'), 'data@one'))).stdout) as object[]
  t.match(map.slice(0, 3), [
    { offset: 0, length: 3 * MIB, type: 3, description: 'hole,zero' },
    { offset: 3 * MIB, length: MIB, type: 0, description: 'data' },
    { offset: 4 * MIB, length: 2 * MIB, type: 3 },
  ])
  const list = JSON.parse((await run('nbdinfo', '--list', '--json', uri(nbd('n1'), ''))).stdout)
  t.same(list.exports.map((one: { 'export-name': string }) => one['export-name']), ['data'], 'snapshots are not listed')
  for (const name of ['data@none', 'none@one', 'data@', '@one']) {
    const { status, stderr } = await run('nbdinfo', uri(nbd('n1'), name))
    t.not(status, 0)
    t.match(stderr, /No such file or directory/, name)
  }
})

t.test('what changed from one to another is told in ranges, through any node', async (t) => {
  await snapshot('before')
  const client = await RawClient.open(nbd('n1'), { name: 'data' })
  const written = [5, 6, 7, 700, 3000, 16_383]
  for (const block of written) {
    const of = { offset: block * 4096, data: Buffer.alloc(4096, 9) }
    t.equal((await client.ask({ type: NBD_CMD_WRITE, ...of })).errno, 0)
  }
  t.equal((await client.ask({ type: NBD_CMD_TRIM, offset: 9 * MIB, length: 8192 })).errno, 0)
  client.close()
  await snapshot('after')
  const diff = (node: string, ...names: string[]) =>
    holdfast(['snapshot', 'diff', 'data', ...names, '-o', 'json', '--endpoint', cluster.node(node).paths.api])
  const linesOf = (stdout: string) => stdout.trim().split('\n').map((line) => JSON.parse(line) as object)
  const changed = (kind: string) => [
    { offsetBytes: 5 * 4096, lengthBytes: 3 * 4096, kind }, { offsetBytes: 700 * 4096, lengthBytes: 4096, kind },
  ]
  await Promise.all(['n1', 'n2', 'n3'].map(async (node) => {
    const { code, stdout, stderr } = await diff(node, 'before', 'after')
    t.same([code, stderr], [0, ''])
    t.match(linesOf(stdout), [
      ...changed('data'),
      { offsetBytes: 9 * MIB, lengthBytes: 8192, kind: 'hole' },
      { offsetBytes: 3000 * 4096, lengthBytes: 4096, kind: 'data' },
      { offsetBytes: 16_383 * 4096, lengthBytes: 4096, kind: 'data' },
    ], node)
  }))
  t.match(linesOf((await diff('n2', 'after', 'before')).stdout)[0], { offsetBytes: 5 * 4096, kind: 'hole' }, 'back')
  t.same(await diff('n3', 'before', 'before'), { code: 0, stdout: '', stderr: '' }, 'nothing')
  const held = linesOf((await diff('n1', 'one')).stdout)
  t.match(held[0], { offsetBytes: 3 * MIB, lengthBytes: MIB, kind: 'data' }, 'what one holds')
  t.equal(held.length, 21)
  const endpoint = cluster.node('n1').paths.api
  const text = await holdfast(['snapshot', 'diff', 'data', 'before', 'after', '--endpoint', endpoint])
  const told = { stdout: /^20480 12288 data\n2867200 4096 data\n/, stderr: /difference is 32 KiB in 5 range/ }
  t.match(text, { code: 0, ...told })
  t.match(await diff('n1', 'before', 'none'), { code: 1, stderr: /volume data has no snapshot .*none/ })
  for (const name of ['before', 'after']) await until(() => deletion(name), (said) => said === 'deleted')
})

const deletion = async (name: string, node = 'n2'): Promise<string> => {
  try {
    await api(node).deleteSnapshot({ volume: 'data', name, id: '' })
    return 'deleted'
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    return error.code
  }
}

t.test('nothing is written', async (t) => {
  await snapshot('still')
  const client = await RawClient.open(nbd('n3'), { name: 'data@still', style: 'structured', contexts: true })
  for (const type of [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]) {
    const of = type === NBD_CMD_WRITE ? { data: Buffer.alloc(4096, 1) } : { length: 4096 }
    t.equal((await client.ask({ type, ...of })).errno, NBD_ERRNO.EPERM)
  }
  t.equal((await client.ask({ type: NBD_CMD_BLOCK_STATUS, length: SIZE })).errno, 0)
  client.close()
})

t.test('who holds the volume is of no concern', async (t) => {
  await api('n1').attachVolume({ name: 'data', node: 'n2', mode: '', force: true })
  t.teardown(() => api('n1').detachVolume({ name: 'data', node: '' }))
  const client = await RawClient.open(nbd('n1'), { name: 'data@one' })
  const read = await client.ask({ type: NBD_CMD_READ, offset: 3 * MIB, length: MIB })
  t.ok(read.data.equals(firstBytes.subarray(3 * MIB, 4 * MIB)))
  client.close()
})

t.test('held, not failed, while the primary is killed; and not deleted while it is read', async (t) => {
  const primary = primaryOf(await api('n1').getVolume({ name: 'data' }))
  const [reader, other] = ['n1', 'n2', 'n3'].filter((name) => name !== primary) as [string, string]
  const client = await RawClient.open(nbd(reader), { name: 'data@one' })
  const isRight = async (): Promise<boolean> => {
    const offset = 3 * MIB * (1 + Math.floor(Math.random() * 20))
    const { errno, data } = await client.ask({ type: NBD_CMD_READ, offset, length: MIB })
    return errno === 0 && data.equals(firstBytes.subarray(offset, offset + MIB))
  }
  t.ok(await isRight())
  const remove = async (): Promise<string> => {
    const words = ['snapshot', 'delete', 'data', 'one', '--endpoint', cluster.node(other).paths.api]
    const { code, stdout, stderr } = await holdfast(words)
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  const refused = await remove()
  t.match(refused, `1: holdfast: snapshot "one" of volume data is in use and is not deleted: node ${reader} reads it`)
  await cluster.node(primary).killNode()
  t.ok(await isRight(), 'the next primary has the answer')
  t.match(await remove(), /in use and is not deleted/, 'and knows who reads it')
  for (let i = 0; i < 10; i++) t.ok(await isRight())

  // Its node dies: nobody says any more that it is read.
  await cluster.node(primary).start()
  await cluster.whole(volume.id)
  await cluster.node(reader).killNode()
  client.close()
  t.equal(await until(() => deletion('one', other), (said) => said !== 'snapshot-in-use'), 'deleted')
  await cluster.node(reader).start()
  await cluster.whole(volume.id)
})

t.test('one that is gone says so, and another one of its name is another one', async (t) => {
  await api('n1').createSnapshot({ volume: 'data', name: 'short', labels: {}, id: '' })
  const client = await RawClient.open(nbd('n1'), { name: 'data@short' })
  const { errno } = await client.ask({ type: NBD_CMD_READ, offset: 3 * MIB, length: 4096 })
  t.equal(errno, 0)
  await t.rejects(api('n2').deleteSnapshot({ volume: 'data', name: 'short', id: '' }), { code: 'snapshot-in-use' })
  t.equal((await api('n2').getSnapshot({ volume: 'data', name: 'short' })).name, 'short', 'nothing was changed')
  client.close()
  t.equal(await until(() => deletion('short'), (said) => said !== 'snapshot-in-use'), 'deleted')
  await t.rejects(RawClient.open(nbd('n1'), { name: 'data@short' }))
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})
