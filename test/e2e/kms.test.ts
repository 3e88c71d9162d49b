/**
 * Keys of a key server on real processes: while it is down volumes that are open go on, and a node that was given a key
 * serves again after a restart; who would need the server gets a sentence. From a key in a file to one of the server
 * and back, under load. The server is OpenBao where it is installed, else a stand-in.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { readKeyFile } from '../../cluster/keys/user-key.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { kmsFile } from '../cluster/keys/kms-file.ts'
import { OpenBao, openBaoMissing } from '../cluster/keys/openbao-process.ts'
import { TOKEN, TransitStandIn } from '../cluster/keys/transit-stand-in.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { until } from './until.ts'

const BLOCK = 4096
const COUNT = 64

interface KeyServer {
  address: string
  token: string
  goDown(): unknown
  comeBack(): unknown
}

async function keyServer(): Promise<KeyServer> {
  const missing = openBaoMissing()
  if (missing === false) {
    const bao = await OpenBao.start(t, { k: {} })
    const { address, root: token } = bao
    return { address, token, goDown: () => bao.pause(), comeBack: () => bao.resume() }
  }
  t.comment(`a stand-in: ${missing}`)
  const server = await new TransitStandIn(t).start()
  return { address: server.address, token: TOKEN, goDown: () => server.stop(), comeBack: () => server.start() }
}

const server = await keyServer()
const kms = kmsFile(t, server.address, server.token, { timeoutMs: 500 })
const keyFile = path.join(temporaryFolder(t), 'key')
fs.writeFileSync(keyFile, randomBytes(32).toString('hex'))
const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'], diskBytes: 384 * MIB })
await cluster.start()
const api = cluster.api('n1')
const say = async (node: string, ...words: string[]): Promise<string> => {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node(node).paths.api])
  return code === 0 ? stdout : `${code}: ${stderr}`
}
await until(() => api.listNodes(), ({ nodes }) => nodes.length === 2)
const folders = (await api.listNodes()).nodes.map(({ id }) => new KeyFolder(id))
t.teardown(() => folders.forEach(({ dir }) => fs.rmSync(dir, { recursive: true, force: true })))

const open = (node: string) => NbdConnection.open(cluster.node(node).paths.nbd, 'own', true)
const isLocked = (node: string): Promise<boolean> =>
  open(node).then(() => false, (error: Error) => error.message.endsWith(`refused with ${2 ** 31 + 2}`))
const opened = async (node: string): Promise<NbdConnection> =>
  (await until(() => open(node).catch(() => undefined), (found) => found !== undefined))!

const bytes = randomBytes(COUNT * BLOCK)
async function write(client: NbdConnection, index: number): Promise<void> {
  const data = randomBytes(BLOCK)
  data.copy(bytes, index * BLOCK)
  const answer = await client.ask({ type: WRITE, offset: index * BLOCK, data })
  if (answer === 'closed' || answer.errno !== 0) throw new Error(`the write of block ${index} failed`)
}
async function isAllThere(client: NbdConnection): Promise<boolean> {
  const answer = await client.ask({ type: READ, offset: 0, length: bytes.length })
  return answer !== 'closed' && answer.errno === 0 && bytes.equals(answer.data)
}

t.test('a volume under a key of the server, made and unlocked', async (t) => {
  const words = ['--size', '4Mi', '--replicas', '1', '--encryption', '--kms', kms]
  t.match(await say('n1', 'volume', 'create', 'own', ...words), /own is ready/)
  t.match(await say('n1', 'volume', 'inspect', 'own'), /encryption +aes-256-xts, key vault:transit\/k/)
  const client = await opened('n1')
  for (let i = 0; i < COUNT; i++) await write(client, i)
  t.ok(await isAllThere(client))
  await client.disconnect()
})

t.test('while the server is down', async (t) => {
  const client = await opened('n1')
  await server.goDown()
  for (let i = 0; i < COUNT; i += 2) await write(client, i)
  t.ok(await isAllThere(client), 'who is connected goes on')
  t.ok(await isLocked('n2'), 'a node without it refuses')
  const unlock = await say('n2', 'volume', 'unlock', 'own', '--kms', kms)
  t.match(unlock, /^\d: .*key server at http.* did not answer, asked 3 times: .*; nothing was changed/)
  t.match(unlock, /volumes that are open go on/, 'and what to do')
  t.match(await say('n1', 'volume', 'create', 'x', '--size', '4Mi', '--encryption', '--kms', kms), /did not answer/)
  t.match(await say('n1', 'volume', 'rewrap', 'own', '--kms', kms, '--new-key-file', keyFile), /did not answer/)
  const ready = cluster.node('n1').ready()
  cluster.node('n1').killDaemon()
  await ready
  const again = await opened('n1')
  t.ok(await isAllThere(again), 'a restarted daemon asks nobody')
  await write(again, 5)
  await again.disconnect()
  await server.comeBack()
  t.match(await say('n2', 'volume', 'unlock', 'own', '--kms', kms), /opened on n2/)
  t.ok(await isAllThere(await opened('n2')))
})

t.test('from the server to a file and back, under load', async (t) => {
  const { id } = readKeyFile(keyFile)
  for (const [words, keyId] of [
    [['--kms', kms, '--new-key-file', keyFile], id],
    [['--key-file', keyFile, '--new-kms', kms], 'vault:transit/k'],
  ] as const) {
    const client = await opened('n1')
    const writing = (async () => {
      for (let i = 0; i < COUNT; i++) await write(client, i)
    })()
    t.match(await say('n1', 'volume', 'rewrap', 'own', ...words), new RegExp(`under key ${keyId} now`))
    await writing
    t.ok(await isAllThere(client))
    t.match(JSON.parse(await say('n1', 'volume', 'keys', 'own', '-o', 'json')), { keyId, unlockedOn: ['n1'] })
    const ready = cluster.node('n1').ready()
    cluster.node('n1').killDaemon()
    await ready
    t.ok(await isAllThere(await opened('n1')), 'after a restart too')
  }
  const wrong = await say('n1', 'volume', 'unlock', 'own', '--key-file', keyFile)
  t.match(wrong, /under key vault:transit\/k, and this is key/)
  t.match(await say('n1', 'volume', 'unlock', 'own'), /--key-file is missing/)
  t.match(await say('n1', 'volume', 'unlock', 'own', '--key-file', keyFile, '--kms', kms), /are two keys/)
  t.match(await say('n2', 'volume', 'lock', 'own'), /n2 cannot open/)
  t.ok(await isLocked('n2'))
})

t.test('neither token nor data key lies where it should not', async (t) => {
  const places = cluster.nodes.map((node) => node.paths.folder)
  await Promise.all(cluster.nodes.map((node) => node.killNode()))
  for (const place of [...places, cluster.storeProcess.dir]) {
    for (const entry of fs.readdirSync(place, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const found = fs.readFileSync(path.join(entry.parentPath, entry.name)).includes(server.token)
      if (found) t.fail(`${entry.name} has the token`)
    }
  }
})
