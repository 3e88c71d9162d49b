/**
 * A whole cluster over TLS, told to say all it can (NODE_DEBUG, GRPC_TRACE), with secrets that the test knows: key
 * files, the cluster key, data keys, private keys of TLS, a bearer token. Then every log, disk, index, the store,
 * everything that was printed, and arguments and environment of every process are searched for them: nothing is found.
 * Of a leak that is planted in each of these places each is found. A daemon that aborts leaves no core, and none opens
 * a debugger.
 */
// test-timeout-seconds: 300
import { spawn, spawnSync } from 'node:child_process'
import { createPrivateKey, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { FLUSH, NbdConnection, WRITE } from '../../cli/load/nbd-connection.ts'
import { connectControlApi } from '../../cluster/api/client.ts'
import { unwrapKeys } from '../../cluster/keys/data-key.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { readKeyFile } from '../../cluster/keys/user-key.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import { DevProcess } from '../cli/dev-process.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { filesOf, formsOf, search } from './byte-search.ts'
import type { Wanted } from './byte-search.ts'
import { until } from './until.ts'

// What a host may allow: without it there is no core anyhow.
spawnSync('prlimit', ['--pid', String(process.pid), '--core=unlimited'])
const cwd = temporaryFolder(t)
const keys = temporaryFolder(t)
const keyFile = (name: string): string => {
  const file = path.join(keys, name)
  if (!fs.existsSync(file)) fs.writeFileSync(file, randomBytes(32).toString('hex'), { mode: 0o600 })
  return file
}
const dev = new DevProcess(t, cwd, ['--tls', '--size', '384Mi', '--volume', 'demo:8Mi'], {
  NODE_DEBUG: 'tls,net,http2,child_process,worker', GRPC_TRACE: 'all', GRPC_VERBOSITY: 'DEBUG',
})
t.ok(await dev.says(/Ctrl-C stops it/), dev.stderr.slice(-2000))
const dir = path.join(cwd, '.holdfast')
const pidOf = (node: string, file = 'pid'): number => Number(fs.readFileSync(path.join(dir, node, file), 'utf8'))
let printed = ''
const say = async (node: string, ...words: string[]): Promise<void> => {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', path.join(dir, node, 'api.sock')], { cwd })
  t.equal(code, 0, `${words.join(' ')}: ${stderr}`)
  printed += stdout + stderr
}
const wanted: Wanted[] = []

t.test('a cluster that uses all its secrets', async (t) => {
  const api = connectControlApi({ socketPath: path.join(dir, 'n1', 'api.sock'), source: 'the test' })
  t.teardown(() => api.close())
  const folders = (await api.listNodes()).nodes.map(({ id }) => new KeyFolder(id))
  t.teardown(() => folders.forEach((folder) => fs.rmSync(folder.dir, { recursive: true, force: true })))
  const sealed = ['--encryption', '--cipher', 'aes-256-gcm', '--key-file', keyFile('first')]
  await say('n1', 'volume', 'create', 'sealed', '--size', '4Mi', ...sealed)
  await say('n1', 'volume', 'create', 'shared', '--size', '4Mi', '--encryption')
  for (const name of ['sealed', 'shared']) {
    await until(() => api.getVolume({ name }), ({ health }) => health === 'healthy')
    const open = () => NbdConnection.open(path.join(dir, 'n1', 'nbd.sock'), name, true)
    const client = (await until(open, (one) => one !== undefined))!
    for (let offset = 0; offset < 1 << 20; offset += 1 << 16)
      t.match(await client.ask({ type: WRITE, offset, data: randomBytes(1 << 16) }), { errno: 0 })
    t.match(await client.ask({ type: FLUSH }), { errno: 0 })
    await client.disconnect()
  }
  await say('n1', 'snapshot', 'create', 'sealed', 'one')
  await say('n1', 'volume', 'rewrap', 'sealed', '--key-file', keyFile('first'), '--new-key-file', keyFile('second'))
  await say('n2', 'volume', 'unlock', 'sealed', '--key-file', keyFile('second'))
  await say('n2', 'volume', 'keys', 'sealed')
  const token = path.join(keys, 'token')
  await say('n1', 'token', 'create', 'ci', '--role', 'operator', '--out', token)
  for (const [name, file] of [['sealed', keyFile('second')], ['shared', path.join(dir, 'cluster.key')]] as const) {
    const { encryption } = await api.getKeys({ name })
    const { keys: [own] } = unwrapKeys(JSON.parse(encryption) as VolumeEncryption, readKeyFile(file), name)
    wanted.push(...formsOf(`data key of ${name}`, Buffer.from(own!.dataKey.reveal())))
  }
  for (const file of [keyFile('first'), keyFile('second'), path.join(dir, 'cluster.key')])
    wanted.push(...formsOf(`key ${path.basename(file)}`, Buffer.from(readKeyFile(file).key.reveal())))
  wanted.push(['the token', Buffer.from(fs.readFileSync(token, 'utf8').trim().slice(-43))])
})

t.test('an abort leaves no core, and nobody opens a debugger', async (t) => {
  const before = pidOf('n3')
  process.kill(before, 'SIGABRT')
  await until(async () => fs.existsSync(path.join(dir, 'n3', 'pid')) ? pidOf('n3') : before, (now) => now !== before)
  const isCore = (name: string): boolean => name.startsWith('core') || name.startsWith('report.')
  t.same(fs.readdirSync(cwd).filter(isCore), [])
  if (/^core/.test(fs.readFileSync('/proc/sys/kernel/core_pattern', 'utf8'))) {
    const other = temporaryFolder(t)
    spawnSync(process.execPath, ['--eval', 'process.abort()'], { cwd: other })
    t.same(fs.readdirSync(other).filter(isCore).length, 1, 'another process does leave one')
  }
  const debugged = [pidOf('n1'), pidOf('n1', 'supervisor.pid')]
  for (const pid of debugged) process.kill(pid, 'SIGUSR1')
  await say('n1', 'status')
  t.notMatch(dev.stderr, /Debugger listening/)
  const refused = await new Promise<string>((resolve) => {
    const socket = net.connect(9229, '127.0.0.1', () => resolve('connected'))
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => resolve(code))
  })
  t.equal(refused, 'ECONNREFUSED')
  t.same([pidOf('n1'), pidOf('n1', 'supervisor.pid')], debugged, 'and it ends nobody')
})

/** The processes below `root`, with itself. */
function below(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of fs.readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, 'latin1')
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // It has ended.
    }
  }
  const isBelow = (pid: number): boolean => pid === root || (pid > 1 && isBelow(parents.get(pid) ?? 0))
  return [...parents.keys()].filter(isBelow)
}

const factsOf = (pid: number): string[] => [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]

t.test('nothing shows any of them', async (t) => {
  // Where secrets belong, and nobody but their owner may read.
  const isSecret = (file: string): boolean => file.endsWith('.key')
  const files = filesOf(dir).filter((file) => fs.statSync(file).isFile())
  const secret = files.filter(isSecret)
  t.ok(secret.length >= 7, 'the CA, nodes, store, admin, and the cluster key')
  for (const file of secret) t.equal(fs.statSync(file).mode & 0o077, 0, file)
  for (const file of secret.filter((one) => !one.endsWith('cluster.key'))) {
    const scalar = createPrivateKey(fs.readFileSync(file)).export({ format: 'jwk' }).d!
    const name = `TLS key ${path.relative(dir, file)}`
    wanted.push(...formsOf(name, Buffer.from(scalar, 'base64url')))
    wanted.push([`${name}, PEM`, Buffer.from(fs.readFileSync(file, 'utf8').split('\n')[2]!)])
  }
  const pids = below(pidOf('n1', 'supervisor.pid')).concat(below(pidOf('n2', 'supervisor.pid')), below(dev.pid))
  t.ok(pids.length >= 8, 'dev, the store, three supervisors and three daemons')
  const places: Array<[string, string | string[]]> = [
    ['everything on disks', files.filter((file) => !isSecret(file))],
    ['arguments and environments', [...new Set(pids)].flatMap(factsOf)],
  ]
  for (const [place, where] of places) {
    const { bytes, hits } = search(where, wanted)
    t.same([...hits], [], `${place}: ${bytes} bytes, ${wanted.length} forms of secrets`)
    t.ok(bytes > 1000)
  }
  const said = Buffer.from(dev.stdout + dev.stderr + printed)
  t.ok(said.length > 20_000, `${said.length} bytes were printed`)
  t.same(wanted.filter(([, bytes]) => said.includes(bytes)).map(([name]) => name), [], 'nothing that was printed')
})

t.test('a planted leak is found, whatever the secret, in whatever form, wherever it is', async (t) => {
  const leak = temporaryFolder(t)
  for (const [i, [name, bytes]] of wanted.entries()) {
    const file = path.join(leak, String(i))
    fs.writeFileSync(file, Buffer.concat([randomBytes(100), bytes, Buffer.from('\n')]))
    t.ok(search(file, wanted).hits.has(name), name)
  }
  const [, key] = wanted.find(([name]) => name === 'key cluster.key, hex')!
  const log = path.join(dir, 'n2', 'daemon.log')
  fs.appendFileSync(log, `{"message":"cluster key ${key.toString()}"}\n`)
  t.same([...search(path.join(dir, 'n2'), wanted).hits], ['key cluster.key, hex'])
  const child = spawn('sleep', ['60'], { argv0: `sleep ${key.toString()}`, env: { LEAK: key.toString() } })
  t.teardown(() => child.kill('SIGKILL'))
  await until(async () => fs.readFileSync(`/proc/${child.pid}/cmdline`, 'latin1'), (words) => words.startsWith('sleep'))
  for (const file of factsOf(child.pid!)) t.same([...search([file], wanted).hits], ['key cluster.key, hex'], file)
})
