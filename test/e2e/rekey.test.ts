/**
 * Another data key on real processes, under load with verification: all of the head is under it in the end, snapshots
 * and clones read as before, a rollback brings former blocks back and has them written anew. A daemon that dies and a
 * primary that dies in the middle cost nothing; without a node that has to know the key nothing is written under it.
 */
// test-timeout-seconds: 300
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { MIB } from '../../engine/units.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { until } from './until.ts'

const BLOCK = 4096
const SIZE = 4 * MIB
const PIECE = 128 * 1024

const folder = temporaryFolder(t)
const keyFile = (name: string): string => {
  const file = path.join(folder, name)
  if (!fs.existsSync(file)) fs.writeFileSync(file, randomBytes(32).toString('hex'))
  return file
}
const cluster = await ClusterOfDaemons.make(t, {
  diskBytes: 384 * MIB, setUp: () => ({ change: { clusterKey: keyFile('cluster') } }),
})
await cluster.start()
const api = cluster.api('n1')
const say = async (node: string, ...words: string[]): Promise<string> => {
  // A rekey that has to wait says so after 30 s.
  const of = { timeoutMs: 60_000 }
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node(node).paths.api], of)
  return code === 0 ? stdout : `${code}: ${stderr}`
}
const { nodes } = await until(() => api.listNodes(), (answer) => answer.nodes.length === 3)
t.teardown(() => nodes.forEach(({ id }) => fs.rmSync(new KeyFolder(id).dir, { recursive: true, force: true })))

const opened = async (node: string, name: string): Promise<NbdConnection> =>
  (await until(() => NbdConnection.open(cluster.node(node).paths.nbd, name, true).catch(() => undefined),
    (found) => found !== undefined))!
const healthy = (name: string) => until(() => api.getVolume({ name }), ({ health }) => health === 'healthy')
const keysOf = async (name: string): Promise<VolumeEncryption> =>
  JSON.parse((await api.getKeys({ name })).encryption) as VolumeEncryption

async function readAll(node: string, name: string): Promise<Buffer> {
  const client = await opened(node, name)
  const pieces: Buffer[] = []
  for (let offset = 0; offset < SIZE; offset += PIECE) {
    const answer = await client.ask({ type: READ, offset, length: PIECE })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a read at ${offset} failed`)
    pieces.push(Buffer.from(answer.data))
  }
  await client.disconnect()
  return Buffer.concat(pieces)
}

/** One user of a volume, whose writes are not aligned; what it wrote. */
class User {
  readonly bytes = Buffer.alloc(SIZE)
  #isOn = true
  #going: Promise<void> = Promise.resolve()

  async fill(client: NbdConnection): Promise<void> {
    randomBytes(SIZE).copy(this.bytes)
    for (let offset = 0; offset < SIZE; offset += PIECE)
      await this.#write(client, offset, this.bytes.subarray(offset, offset + PIECE))
  }

  begin(client: NbdConnection): void {
    this.#isOn = true
    this.#going = (async () => {
      while (this.#isOn) {
        const length = 1 + Math.floor(Math.random() * 3 * BLOCK)
        const offset = Math.floor(Math.random() * (SIZE - length))
        randomBytes(length).copy(this.bytes, offset)
        await this.#write(client, offset, this.bytes.subarray(offset, offset + length))
      }
    })()
  }

  async stop(): Promise<void> {
    this.#isOn = false
    await this.#going
  }

  async #write(client: NbdConnection, offset: number, data: Buffer): Promise<void> {
    const answer = await client.ask({ type: WRITE, offset, data: Buffer.from(data) })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write at ${offset} failed`)
  }
}

const user = new User()
const REKEY = ['volume', 'rekey', 'v', '--key-file', keyFile('cluster')]

t.test('under load: all is written anew, and is what it was; what is of before too', async (t) => {
  await api.createVolume({ name: 'v', sizeBytes: SIZE, parameters: { encryption: 'true' } })
  await healthy('v')
  const client = await opened('n1', 'v')
  await user.fill(client)
  await api.createSnapshot({ volume: 'v', name: 'before', labels: {}, id: '' })
  const before = Buffer.from(user.bytes)
  t.match(await say('n1', 'volume', 'rekey', 'v', '--key-file', keyFile('other')), /nothing was changed/)
  t.match(await say('n1', 'volume', 'rekey', 'v'), /--key-file is missing/)
  user.begin(client)
  t.match(await say('n1', ...REKEY), /v is written under its newest data key/)
  await user.stop()
  t.match(await keysOf('v'), { keys: { length: 2 }, writesUnder: undefined, rewriting: undefined })
  t.match(await say('n1', 'volume', 'keys', 'v'), /data keys +2\n/)
  t.ok((await readAll('n2', 'v')).equals(user.bytes), 'through another node')
  t.ok((await readAll('n2', 'v@before')).equals(before), 'a snapshot of before')
  t.match(await say('n1', 'volume', 'clone', 'v@before', 'c'), /is ready/)
  t.ok((await readAll('n1', 'c')).equals(before), 'a clone of it')
  const said = JSON.parse(await say('n1', 'volume', 'rekey', 'v', '--resume', '-o', 'json'))
  t.match(said, { stage: 'done', rewrittenBlocks: 0 })
  await client.disconnect()
})

t.test('a frontend that dies in the middle, and a primary', async (t) => {
  for (const victim of ['n2', 'n1']) {
    const client = await opened('n2', 'v')
    user.begin(client)
    const rekeyed = say('n3', ...REKEY)
    await until(() => keysOf('v'), ({ rewriting }) => rewriting !== undefined)
    if (victim === 'n2') await user.stop()
    const ready = cluster.node(victim).ready()
    cluster.node(victim).killDaemon()
    await ready
    t.match(await rekeyed, /written under its newest data key|waits/)
    if (victim === 'n1') await user.stop()
    await until(() => api.getKeys({ name: 'v' }).then(({ encryption }) => encryption, () => ''),
      (text) => text !== '' && (JSON.parse(text) as VolumeEncryption).rewriting === undefined)
    t.ok((await readAll('n1', 'v')).equals(user.bytes), `${victim} died`)
  }
  t.equal((await keysOf('v')).keys.length, 4)
})

t.test('a rollback brings former blocks back, and they are written anew', async (t) => {
  t.match(await say('n1', 'volume', 'rollback', 'v', '--to', 'before', '--force'), /./)
  await until(() => keysOf('v'), ({ rewriting }) => rewriting === undefined)
  const bytes = await readAll('n1', 'v')
  t.ok(bytes.equals(await readAll('n1', 'v@before')))
  bytes.copy(user.bytes)
  const words = ['--key-file', keyFile('cluster'), '--new-key-file', keyFile('other')]
  t.match(await say('n1', 'volume', 'rewrap', 'v', ...words), /is encrypted under key/, 'all of its data keys')
  t.match(await say('n1', 'volume', 'unlock', 'v', '--key-file', keyFile('other')), /opened on n1/)
  t.ok((await readAll('n1', 'v')).equals(user.bytes))
})

t.test('nothing is written under a key that a copy did not note', async (t) => {
  const client = await opened('n1', 'c')
  await cluster.node('n3').killNode()
  await until(() => api.getVolume({ name: 'c' }), ({ copies }) => copies.some(({ state }) => state !== 'in-sync'))
  t.match(await say('n1', 'volume', 'rekey', 'c', '--key-file', keyFile('cluster')), /newest data key|waits: n3/)
  await client.disconnect()
  await cluster.node('n3').start()
  await healthy('c')
  await until(() => keysOf('c'), ({ writesUnder, rewriting }) => writesUnder === undefined && rewriting === undefined)
  t.ok((await readAll('n3', 'c')).equals(await readAll('n1', 'v@before')))
})
