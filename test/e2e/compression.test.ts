/**
 * A compressed volume on real processes: every block comes back as it was written, through another node, from a
 * snapshot, after narrow writes and after its primary was killed; and it takes less room. Its clones share what is
 * compressed, and store what they write as they wish.
 */
// test-timeout-seconds: 240
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { NbdConnection, READ, TRIM, WRITE } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { primaryOf, until } from './until.ts'

const SIZE = 16 * MIB
const PIECE = 64 * 1024

const cluster = await ClusterOfDaemons.make(t)
await cluster.start()
const api = (name: string) => cluster.api(name)
const say = async (...words: string[]): Promise<string> => {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node('n1').paths.api])
  return code === 0 ? stdout : `${code}: ${stderr}`
}
const opened = async (node: string, name: string): Promise<NbdConnection> =>
  (await until(() => NbdConnection.open(cluster.node(node).paths.nbd, name, true), (found) => found !== undefined))!
const volumeOf = (name: string) => () => api('n1').getVolume({ name })
const volume = volumeOf('packed')

/** A quarter of each block is noise. */
function compressible(): Buffer {
  const bytes = Buffer.alloc(SIZE, 'text of a kind that compresses; ')
  for (let at = 0; at < SIZE; at += 4096) randomBytes(1024).copy(bytes, at)
  return bytes
}

async function writeAll(client: NbdConnection, bytes: Buffer): Promise<void> {
  for (let offset = 0; offset < SIZE; offset += PIECE) {
    const answer = await client.ask({ type: WRITE, offset, data: bytes.subarray(offset, offset + PIECE) })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write at ${offset} failed`)
  }
}

async function write(client: NbdConnection, bytes: Buffer, offset: number, data: Buffer): Promise<void> {
  data.copy(bytes, offset)
  const answer = await client.ask({ type: WRITE, offset, data })
  if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write at ${offset} failed`)
}

async function readAll(client: NbdConnection): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let offset = 0; offset < SIZE; offset += PIECE) {
    const answer = await client.ask({ type: READ, offset, length: PIECE })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a read at ${offset} failed`)
    pieces.push(Buffer.from(answer.data))
  }
  return Buffer.concat(pieces)
}

await until(() => api('n1').listNodes(), ({ nodes }) => nodes.length === 3)

t.test('a clone shares what is compressed, writes over it in another form, and gets it as its own', async (t) => {
  t.match(await say('volume', 'create', 'base', '--size', '16Mi', '--compression', 'lz4'), /base is ready/)
  await until(volumeOf('base'), ({ health }) => health === 'healthy')
  const base = await opened('n1', 'base')
  const bytes = compressible()
  await writeAll(base, bytes)
  t.match(await say('volume', 'clone', 'base', 'trial'), /trial is ready/)
  const { compression, usedBytes } = await until(volumeOf('trial'), ({ health }) => health === 'healthy')
  t.equal(compression, 'lz4', 'as its origin')
  t.ok(usedBytes < MIB, `it has ${usedBytes} bytes of its own`)
  const trial = await opened('n2', 'trial')
  t.ok((await readAll(trial)).equals(bytes), 'all of it is shared')

  const own = Buffer.from(bytes)
  // The edges of narrow writes are read from what is shared.
  await write(trial, own, 4096 * 3 + 700, compressible().subarray(0, 20_000))
  t.match(await say('volume', 'compression', 'trial', 'none'), /^compression of volume trial: none/)
  await until(volumeOf('trial'), ({ compression }) => compression === 'none')
  for (const offset of [512, 5 * MIB - 9, 9 * MIB + 100]) await write(trial, own, offset, randomBytes(9000))
  own.fill(0, 7 * MIB, 7 * MIB + 40 * 4096)
  t.match(await trial.ask({ type: TRIM, offset: 7 * MIB, length: 40 * 4096 }), { errno: 0 })
  await write(base, bytes, 4096 * 20 + 1, randomBytes(70_000))
  t.ok((await readAll(trial)).equals(own), 'with what it wrote and trimmed')
  t.ok((await readAll(await opened('n3', 'base'))).equals(bytes), 'its origin has nothing of that')

  const node = primaryOf(await volumeOf('trial')())
  await trial.disconnect()
  await base.disconnect()
  await cluster.node(node).killNode()
  await cluster.node(node).start()
  for (const name of ['base', 'trial']) await until(volumeOf(name), ({ health }) => health === 'healthy')
  t.ok((await readAll(await opened('n3', 'trial'))).equals(own), 'after its primary was killed')
  t.match(await say('volume', 'hydrate', 'trial'), /get blocks of their own/)
  await until(() => say('volume', 'hydrate', 'trial'), (said) => /no copy .* shares a block/.test(said))
  t.match(await say('volume', 'delete', 'base', '--purge'), /./)
  t.ok((await readAll(await opened('n3', 'trial'))).equals(own), 'all of it is its own')
  const after = await until(volumeOf('trial'), ({ usedBytes }) => usedBytes > SIZE / 8)
  t.ok(after.usedBytes < SIZE * 0.4, `${after.usedBytes} bytes, compressed as they were`)
})

t.test('compressed, read everywhere, and no more where that is not wished', async (t) => {
  t.match(await say('volume', 'create', 'packed', '--size', '16Mi', '--compression', 'zip'), /compression = "zip"/)
  t.match(await say('volume', 'create', 'packed', '--size', '16Mi', '--compression', 'lz4'), /packed is ready/)
  t.match(await say('volume', 'inspect', 'packed'), /compression +lz4\n/)
  const healthy = await until(volume, ({ health }) => health === 'healthy')
  const primary = primaryOf(healthy)
  const [user, other] = ['n1', 'n2', 'n3'].filter((name) => name !== primary) as [string, string]
  const client = await opened(user, 'packed')
  const bytes = compressible()
  await writeAll(client, bytes)
  const { usedBytes } = await until(volume, ({ logicalBytes }) => logicalBytes === SIZE)
  t.match(await say('volume', 'inspect', 'packed'), /used +[\d.]+ MiB for 16 MiB of data \([23][\d.]* : 1\)\n/)
  t.comment(`${usedBytes} bytes for ${SIZE}`)
  t.ok(usedBytes < SIZE * 0.4, 'a quarter is noise, the rest hardly takes room')
  await api('n1').createSnapshot({ volume: 'packed', name: 'one', labels: {}, id: '' })
  const first = Buffer.from(bytes)
  for (const [offset, length] of [[512, 512], [4096 * 7 + 100, 9000], [8 * MIB - 5, 10]] as const)
    await write(client, bytes, offset, randomBytes(length))
  t.ok((await readAll(client)).equals(bytes), 'through the node that wrote it')
  t.ok((await readAll(await opened(other, 'packed'))).equals(bytes), 'through another one')
  t.ok((await readAll(await opened(other, 'packed@one'))).equals(first), 'a snapshot of before')

  t.match(await say('volume', 'compression', 'packed', 'none'), /^compression of volume packed: none/)
  await until(volume, ({ compression }) => compression === 'none')
  await cluster.node(primary).killNode()
  t.ok((await readAll(client)).equals(bytes), 'after the primary died')
  await client.disconnect()
})
