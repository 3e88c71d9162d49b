/**
 * A compressed volume on real processes: every block comes back as it was written, through another node, from a
 * snapshot, after narrow writes and after its primary was killed; and it takes less room.
 */
// test-timeout-seconds: 180
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { primaryOf, until } from './until.ts'

const SIZE = 16 * MIB
const PIECE = 64 * 1024

const cluster = await ClusterOfDaemons.make(t)
await cluster.start()
const api = (name: string) => {
  const client = connectControlApi({ socketPath: cluster.node(name).paths.api, source: 'the test' })
  t.teardown(() => client.close())
  return client
}
const say = async (...words: string[]): Promise<string> => {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node('n1').paths.api])
  return code === 0 ? stdout : `${code}: ${stderr}`
}
const opened = async (node: string, name: string): Promise<NbdConnection> =>
  (await until(() => NbdConnection.open(cluster.node(node).paths.nbd, name, true), (found) => found !== undefined))!
const volume = () => api('n1').getVolume({ name: 'packed' })

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

async function readAll(client: NbdConnection): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let offset = 0; offset < SIZE; offset += PIECE) {
    const answer = await client.ask({ type: READ, offset, length: PIECE })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a read at ${offset} failed`)
    pieces.push(Buffer.from(answer.data))
  }
  return Buffer.concat(pieces)
}

t.test('compressed, read everywhere, and no more where that is not wished', async (t) => {
  await until(() => api('n1').listNodes(), ({ nodes }) => nodes.length === 3)
  t.match(await say('volume', 'create', 'packed', '--size', '16Mi', '--compression', 'zip'), /compression = "zip"/)
  t.match(await say('volume', 'create', 'packed', '--size', '16Mi', '--compression', 'lz4'), /packed is ready/)
  t.match(await say('volume', 'inspect', 'packed'), /compression +lz4\n/)
  const healthy = await until(volume, ({ health }) => health === 'healthy')
  const primary = primaryOf(healthy)
  const [user, other] = ['n1', 'n2', 'n3'].filter((name) => name !== primary) as [string, string]
  const client = await opened(user, 'packed')
  const bytes = compressible()
  await writeAll(client, bytes)
  const { usedBytes } = await until(volume, ({ usedBytes }) => usedBytes > SIZE / 4)
  t.comment(`${usedBytes} bytes for ${SIZE}`)
  t.ok(usedBytes < SIZE * 0.4, 'a quarter is noise, the rest hardly takes room')
  await api('n1').createSnapshot({ volume: 'packed', name: 'one', labels: {}, id: '' })
  const first = Buffer.from(bytes)
  for (const [offset, length] of [[512, 512], [4096 * 7 + 100, 9000], [8 * MIB - 5, 10]] as const) {
    const data = randomBytes(length)
    data.copy(bytes, offset)
    const answer = await client.ask({ type: WRITE, offset, data })
    t.equal(answer === 'closed' ? 'closed' : answer.errno, 0)
  }
  t.ok((await readAll(client)).equals(bytes), 'through the node that wrote it')
  t.ok((await readAll(await opened(other, 'packed'))).equals(bytes), 'through another one')
  t.ok((await readAll(await opened(other, 'packed@one'))).equals(first), 'a snapshot of before')

  t.match(await say('volume', 'compression', 'packed', 'none'), /^compression of volume packed: none/)
  await until(volume, ({ compression }) => compression === 'none')
  await cluster.node(primary).killNode()
  t.ok((await readAll(client)).equals(bytes), 'after the primary died')
  await client.disconnect()
})
