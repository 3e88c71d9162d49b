/**
 * Encrypted volumes on real processes: every block comes back, through every node, from snapshots and clones, after
 * failovers and restarts, and who has no key gets a sentence. Then disks, node folders, the cluster store and what
 * nodes sent each other are searched for what was written, and for the keys: nothing of an encrypted volume is found,
 * and of a plain one it is, everywhere.
 */
// test-timeout-seconds: 400
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NbdConnection, READ, TRIM, WRITE } from '../../cli/load/nbd-connection.ts'
import { unwrapKeys } from '../../cluster/keys/data-key.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { readKeyFile } from '../../cluster/keys/user-key.ts'
import { MIB } from '../../engine/units.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { formsOf, search } from './byte-search.ts'
import { primaryOf, until } from './until.ts'

const SIZE = 4 * MIB
const PIECE = 128 * 1024
const NAMES = ['n1', 'n2', 'n3']

const keyFolder = temporaryFolder(t)
const keyFile = (name: string): string => {
  const file = path.join(keyFolder, name)
  if (!fs.existsSync(file)) fs.writeFileSync(file, randomBytes(32).toString('hex'))
  return file
}
const traffic = temporaryFolder(t)
const cluster = await ClusterOfDaemons.make(t, {
  diskBytes: 384 * MIB,
  setUp: () => ({
    change: { clusterKey: keyFile('cluster') },
    env: { TRAFFIC_DIR: traffic, NODE_OPTIONS: `--import ${path.join(import.meta.dirname, 'traffic-capture.ts')}` },
  }),
})
await cluster.start()
const api = cluster.api('n1')
const say = async (node: string, ...words: string[]): Promise<string> => {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node(node).paths.api])
  return code === 0 ? stdout : `${code}: ${stderr}`
}
await until(() => api.listNodes(), ({ nodes }) => nodes.length === 3)
const { nodes } = await api.listNodes()
const folders = new Map(nodes.map(({ name, id }) => [name, new KeyFolder(id)]))
t.teardown(() => folders.forEach(({ dir }) => fs.rmSync(dir, { recursive: true, force: true })))
t.teardown(() => folders.forEach(({ dir }) => fs.rmSync(dir, { recursive: true, force: true })))

const open = (node: string, name: string) => NbdConnection.open(cluster.node(node).paths.nbd, name, true)
/** With NBD_REP_ERR_POLICY, which comes with a sentence. */
const isLocked = (node: string, name: string): Promise<boolean> =>
  open(node, name).then(() => false, (error: Error) => error.message.endsWith(`refused with ${2 ** 31 + 2}`))
const opened = async (node: string, name: string): Promise<NbdConnection> =>
  (await until(() => open(node, name), (found) => found !== undefined))!
const volumeOf = (name: string) => () => api.getVolume({ name })
const healthy = (name: string) => until(volumeOf(name), ({ health }) => health === 'healthy')

/** Found in a block of it wherever one looks; half of it does not compress. */
function canary(name: string): Buffer {
  const bytes = randomBytes(SIZE)
  for (let at = 0; at < SIZE; at += 512) bytes.write(`canary of ${name} `.padEnd(64, '='), at)
  return bytes
}

async function write(client: NbdConnection, bytes: Buffer, offset: number, data: Buffer): Promise<void> {
  data.copy(bytes, offset)
  const answer = await client.ask({ type: WRITE, offset, data })
  if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write at ${offset} failed`)
}

async function fill(client: NbdConnection, bytes: Buffer): Promise<void> {
  for (let offset = 0; offset < SIZE; offset += PIECE)
    await write(client, bytes, offset, Buffer.from(bytes.subarray(offset, offset + PIECE)))
}

async function readAll(client: NbdConnection): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let offset = 0; offset < SIZE; offset += PIECE) {
    const answer = await client.ask({ type: READ, offset, length: PIECE })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a read at ${offset} failed`)
    pieces.push(Buffer.from(answer.data))
  }
  await client.disconnect()
  return Buffer.concat(pieces)
}

const written = new Map<string, Buffer>()
const keyOf = async (name: string): Promise<VolumeEncryption> =>
  JSON.parse((await api.getKeys({ name })).encryption) as VolumeEncryption

t.test('made, filled, written over in parts, read through every node', async (t) => {
  const wishes: Record<string, string[]> = {
    plain: [],
    xts: ['--encryption'],
    packed: ['--encryption', '--compression', 'lz4'],
    gcm: ['--encryption', '--cipher', 'aes-256-gcm', '--key-file', keyFile('gcm'), '--block-size', '512'],
  }
  const x = ['volume', 'create', 'x', '--size', '4Mi']
  t.match(await say('n1', ...x, '--cipher', 'aes-256-gcm'), /encryption = true only/)
  t.match(await say('n1', ...x, '--key-file', keyFile('gcm')), /add --encryption/)
  for (const [name, words] of Object.entries(wishes)) {
    const made = await say('n1', 'volume', 'create', name, '--size', '4Mi', ...words)
    t.match(made, new RegExp(`${name} is ready`))
    const { encryption, cipher } = await healthy(name)
    const wanted = name === 'plain' ? '' : name === 'gcm' ? 'aes-256-gcm' : 'aes-256-xts'
    t.same([encryption, cipher], [name !== 'plain', wanted])
    const bytes = canary(name)
    written.set(name, bytes)
    const client = await opened('n1', name)
    await fill(client, bytes)
    for (const [offset, length] of [[700, 20_000], [3 * MIB - 9, 9000], [MIB + 512, 512]] as const)
      await write(client, bytes, offset, Buffer.from(canary(name).subarray(0, length)))
    bytes.fill(0, 3 * MIB, 3 * MIB + 10 * 4096)
    t.match(await client.ask({ type: TRIM, offset: 3 * MIB, length: 10 * 4096 }), { errno: 0 })
    t.ok((await readAll(client)).equals(bytes), `${name} through the node that wrote it`)
    if (name === 'gcm') t.match(await say('n2', 'volume', 'unlock', name, '--key-file', keyFile('gcm')), /opened on n2/)
    t.ok((await readAll(await opened('n2', name))).equals(bytes), `${name} through another one`)
  }
  const { id } = readKeyFile(keyFile('gcm'))
  t.match(await say('n1', 'volume', 'inspect', 'gcm'), new RegExp(`encryption +aes-256-gcm, key ${id}`))
})

t.test('snapshots and clones are encrypted and read as what they are of', async (t) => {
  for (const name of ['xts', 'gcm']) {
    const bytes = written.get(name)!
    await api.createSnapshot({ volume: name, name: 'one', labels: {}, id: '' })
    const before = Buffer.from(bytes)
    const client = await opened('n1', name)
    await write(client, bytes, 4096 * 9, canary(name).subarray(0, 4096 * 40))
    await client.disconnect()
    t.ok((await readAll(await opened('n2', `${name}@one`))).equals(before), `${name}@one`)
    const clone = `${name}-clone`
    t.match(await say('n1', 'volume', 'clone', `${name}@one`, clone), /is ready/)
    t.match(await healthy(clone), { encryption: true, keyId: (await volumeOf(name)()).keyId })
    if (name === 'gcm') {
      t.ok(await isLocked('n1', clone), 'whoever has the key of the origin gives it to the clone, too')
      t.match(await say('n1', 'volume', 'unlock', clone, '--key-file', keyFile('gcm')), /opened on n1/)
    }
    const own = Buffer.from(before)
    const writer = await opened('n1', clone)
    await write(writer, own, 4096 * 20 + 100, canary(clone).subarray(0, 100_000))
    t.ok((await readAll(writer)).equals(own), clone)
    t.ok((await readAll(await opened('n1', name))).equals(bytes), 'its origin has nothing of that')
    t.match(await say('n1', 'volume', 'hydrate', clone), /get blocks of their own/)
    await until(() => say('n1', 'volume', 'hydrate', clone), (said) => /no copy .* shares a block/.test(said))
    t.ok((await readAll(await opened('n1', clone))).equals(own), `${clone}, all of it its own`)
    written.set(clone, own)
  }
  t.match(await say('n1', 'volume', 'clone', 'plain', 'y', '--encryption'), /as what it is cloned from/)
  t.match(JSON.parse(await say('n1', 'volume', 'keys', 'gcm', '-o', 'json')), {
    cipher: 'aes-256-gcm', nodes: NAMES, sharedWith: ['gcm-clone'], unlockedOn: ['n1'],
  })
})

t.test('it grows, goes out into a file, and is rolled back', async (t) => {
  const bytes = written.get('packed')!
  const first = Buffer.from(bytes)
  await api.createSnapshot({ volume: 'packed', name: 'one', labels: {}, id: '' })
  const writer = await opened('n1', 'packed')
  await write(writer, bytes, 4096 * 9, canary('packed').subarray(0, 4096 * 40))
  await writer.disconnect()
  t.match(await say('n1', 'volume', 'resize', 'packed', '--size', '5Mi'), /5 MiB/)
  const file = path.join(temporaryFolder(t), 'out')
  t.match(await say('n1', 'volume', 'export', 'packed', file), /./)
  t.ok(fs.readFileSync(file).equals(Buffer.concat([bytes, Buffer.alloc(MIB)])), 'a file has what its user sees')
  t.match(await say('n1', 'volume', 'import', file, 'back', '--encryption', '--key-file', keyFile('gcm')), /back has/)
  t.ok((await readAll(await opened('n1', 'back'))).equals(bytes))
  t.match(await say('n1', 'volume', 'rollback', 'packed', '--to', 'one', '--force'), /./)
  const before = await readAll(await opened('n2', 'packed@one'))
  t.ok(before.equals(first))
  const client = await opened('n1', 'packed')
  await write(client, before, 777, canary('packed').subarray(0, 5000))
  t.ok((await readAll(client)).equals(before), 'old blocks are back, new ones are written over them')
  written.set('packed', before)
})

t.test('who has no key, or a wrong one, gets a sentence, and nothing happens', async (t) => {
  t.ok(await isLocked('n3', 'gcm'), 'n3 was not given the key')
  t.ok(await isLocked('n3', 'gcm@one'), 'nor for a snapshot')
  const other = ['--key-file', keyFile('other')]
  t.match(await say('n3', 'volume', 'unlock', 'gcm', ...other), /is encrypted under key .* nothing was changed/)
  t.match(await say('n3', 'volume', 'unlock', 'plain', '--key-file', keyFile('other')), /plain is not encrypted/)
  t.match(await say('n3', 'volume', 'unlock', 'gcm', '--key-file', '/dev/null'), /no key file/)
  const wrong = ['--key-file', keyFile('other'), '--new-key-file', keyFile('next')]
  t.match(await say('n3', 'volume', 'rewrap', 'gcm', ...wrong), /nothing was changed/)
  t.ok(await isLocked('n3', 'gcm'))
  const refusals = cluster.node('n3').log().filter(({ message }) => /opened|encrypted/.test(String(message)))
  t.same(refusals.filter(({ level }) => level === 'error'), [])
  t.ok((await readAll(await opened('n1', 'gcm'))).equals(written.get('gcm')!), 'the others go on')
})

t.test('rewrapped under load, it serves on, after a restart too', async (t) => {
  const bytes = written.get('gcm')!
  const client = await opened('n1', 'gcm')
  const writing = (async () => {
    for (let i = 0; i < 50; i++) await write(client, bytes, i * 4096, canary('gcm').subarray(0, 4096))
  })()
  const words = ['--key-file', keyFile('gcm'), '--new-key-file', keyFile('next')]
  t.match(await say('n1', 'volume', 'rewrap', 'gcm', ...words), new RegExp(readKeyFile(keyFile('next')).id))
  await writing
  t.ok((await readAll(client)).equals(bytes))
  t.match(await say('n1', 'volume', 'rewrap', 'gcm', ...words), /nothing was changed/, 'the former key is not its key')
  for (const node of ['n1', 'n2']) {
    // n1 was given the new key, n2 has the former one with the former wrap.
    const ready = cluster.node(node).ready()
    cluster.node(node).killDaemon()
    await ready
    t.ok((await readAll(await opened(node, 'gcm'))).equals(bytes), `${node} asks nobody`)
  }
  t.match(await say('n2', 'volume', 'lock', 'gcm'), /n2 cannot open/)
  t.ok(await isLocked('n2', 'gcm'))
  t.match(await say('n2', 'volume', 'unlock', 'gcm', '--key-file', keyFile('gcm')), /nothing was changed/)
  t.match(await say('n2', 'volume', 'unlock', 'gcm', '--key-file', keyFile('next')), /opened on n2/)
  t.ok((await readAll(await opened('n2', 'gcm'))).equals(bytes))
})

t.test('after its primary died it is what it was', async (t) => {
  for (const name of ['packed', 'xts-clone']) {
    const primary = primaryOf(await healthy(name))
    const user = NAMES.find((node) => node !== primary)!
    const client = await opened(user, name)
    await cluster.node(primary).killNode()
    t.ok((await readAll(client)).equals(written.get(name)!), name)
    await cluster.node(primary).start()
    await healthy(name)
  }
})

t.test('nobody else has seen anything', async (t) => {
  const keys: Array<[string, Buffer]> = ['cluster', 'gcm', 'next'].map((name) =>
    [`key ${name}`, Buffer.from(readKeyFile(keyFile(name)).key.reveal())])
  for (const [name, file] of [['xts', 'cluster'], ['gcm', 'next']] as const) {
    const { keys: [first] } = unwrapKeys(await keyOf(name), readKeyFile(keyFile(file)), name)
    keys.push([`data key of ${name}`, Buffer.from(first!.dataKey.reveal())])
  }
  await Promise.all(cluster.nodes.map((node) => node.killNode()))
  const wanted = [
    ...[...written.keys()].map((name): [string, Buffer] => [name, Buffer.from(`canary of ${name} =`)]),
    ...keys.flatMap(([name, key]) => formsOf(name, key)),
  ]
  const places = [
    ...NAMES.map((name) => [`disk of ${name}`, path.join(cluster.dir, `${name}.disk`)] as const),
    ...NAMES.map((name) => [`folder of ${name}`, cluster.node(name).paths.folder] as const),
    ['store', cluster.storeProcess.dir] as const,
    ['traffic', traffic] as const,
  ]
  const found = new Map<string, string[]>()
  for (const [place, where] of places) {
    const { bytes, hits } = search(where, wanted)
    t.comment(`${place}: ${bytes} bytes, found: ${[...hits].join(', ')}`)
    found.set(place, [...hits])
    const hasBlocks = place.startsWith('disk') || place === 'traffic'
    t.same([...hits], hasBlocks ? ['plain'] : [], place)
    if (place === 'traffic') t.ok(bytes > 2 * SIZE * 4, 'it was captured')
  }
  const disk = path.join(cluster.dir, 'n1.disk')
  const verified = await holdfast(['verify', disk, '-o', 'json'])
  t.equal(verified.code, 0, verified.stdout)
  const image = path.join(temporaryFolder(t), 'image')
  const salvaged = await holdfast(['salvage', disk, '--volume', 'xts', '--to', image, '-o', 'json'])
  t.match(salvaged.stdout, /"reason": "encrypted"/)
  t.notOk(fs.readFileSync(image).some((byte) => byte !== 0), 'who has no key gets zeroes')
})
