/**
 * Real processes: a node starts, serves, is started again after kill -9 of its daemon, dies with its supervisor, stops
 * clean in under two seconds, and leaves no process, socket or pid file behind.
 */
// test-slow: starts real nodes, or a store
import { mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NBD_CMD_FLAG_FUA, NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { RawClient } from './nbd/raw-client.ts'
import { DISK_BYTES, NodeProcess, isAlive, processGone } from './node-process.ts'

const STOP_MS_MOST = 2000
const PATTERN = Buffer.alloc(8192, 'held fast ')

t.test('a node from first start to clean stop, and again', async (t) => {
  const dir = temporaryFolder(t)
  const node = new NodeProcess(t, dir)
  const ready = await node.ready()
  t.ok(ready, node.stderr)
  t.equal(readFileSync(node.paths.pid, 'utf8'), `${ready?.pid}\n`)
  t.equal(readFileSync(node.paths.supervisorPid, 'utf8'), `${node.supervisorPid}\n`)
  t.equal(statSync(node.paths.folder).mode & 0o777, 0o700)
  const api = node.client(t)
  await api.createVolume({ name: 'data-1', sizeBytes: GIB, parameters: {} })
  const nbd = await RawClient.open(node.paths.nbd, { name: 'data-1' })
  const write = { type: NBD_CMD_WRITE, offset: 40960, length: PATTERN.length, data: PATTERN, flags: NBD_CMD_FLAG_FUA }
  t.equal((await nbd.ask(write)).errno, 0)
  t.match(await api.status(), { health: 'healthy', volumes: 1, sessions: 1, problems: [] })

  const stoppedMs = performance.now()
  node.kill('SIGTERM')
  t.same(await node.ended(), { code: 0, signal: null })
  t.ok(performance.now() - stoppedMs < STOP_MS_MOST, `stopped in ${Math.round(performance.now() - stoppedMs)} ms`)
  t.equal(node.stderr, '')
  t.notOk(isAlive(ready!.pid))
  const left = readdirSync(node.paths.folder).filter((file) => /\.sock$|pid$/.test(file))
  t.same(left, [], 'no sockets, no pid files')

  const again = new NodeProcess(t, dir)
  t.ok(await again.ready(), again.stderr)
  t.match(await again.client(t).getVolume({ name: 'data-1' }), { sizeBytes: GIB, health: 'healthy' })
  const reader = await RawClient.open(again.paths.nbd, { name: 'data-1' })
  const answer = await reader.ask({ type: NBD_CMD_READ, offset: 40960, length: PATTERN.length })
  t.ok(answer.data.equals(PATTERN), 'what was written is there')
  reader.close()
  nbd.close()
  again.kill('SIGINT')
  t.same(await again.ended(), { code: 0, signal: null })
})

t.test('kill -9 of the daemon: started again, volumes and acknowledged writes are there', async (t) => {
  const node = new NodeProcess(t, temporaryFolder(t))
  const first = await node.ready()
  t.ok(first, node.stderr)
  const api = node.client(t)
  const { nodes: [before] } = await api.listNodes()
  await api.createVolume({ name: 'data-1', sizeBytes: 64 * MIB, parameters: {} })
  const nbd = await RawClient.open(node.paths.nbd, { name: 'data-1' })
  const write = { type: NBD_CMD_WRITE, offset: 0, length: PATTERN.length, data: PATTERN }
  t.equal((await nbd.ask(write)).errno, 0)
  process.kill(first!.pid, 'SIGKILL')
  const second = await node.ready()
  nbd.close()
  t.not(second?.pid, first?.pid)
  const { nodes: [after] } = await node.client(t).listNodes()
  t.not(after?.instanceId, before?.instanceId, 'another instance')
  t.equal(after?.id, before?.id, 'of the same node')
  const reader = await RawClient.open(node.paths.nbd, { name: 'data-1' })
  const answer = await reader.ask({ type: NBD_CMD_READ, offset: 0, length: PATTERN.length })
  t.ok(answer.data.equals(PATTERN), 'the acknowledged write is there')
  reader.close()
  t.ok(node.log().some(({ message }) => message === 'the daemon died and is started again'))
  node.kill('SIGTERM')
  t.same(await node.ended(), { code: 0, signal: null })
})

t.test('kill -9 of the supervisor takes the daemon with it, and the folder is free at once', async (t) => {
  const dir = temporaryFolder(t)
  const node = new NodeProcess(t, dir)
  const ready = await node.ready()
  node.kill('SIGKILL')
  await node.ended()
  await processGone(ready!.pid)
  const next = new NodeProcess(t, dir)
  t.ok(await next.ready(), next.stderr)
  next.kill('SIGTERM')
  t.match(await next.ended(), { code: 0 })
})

t.test('a pid file that can be neither removed nor made ends no supervisor', async (t) => {
  const node = new NodeProcess(t, temporaryFolder(t))
  const first = await node.ready()
  rmSync(node.paths.pid)
  mkdirSync(node.paths.pid)
  process.kill(first!.pid, 'SIGKILL')
  const second = await node.ready()
  t.ok(second, node.stderr)
  const said = node.log().filter(({ message }) => message === 'a file of the node is not kept; the node goes on')
  t.equal(said.length, 2, 'the removal and the writing')
  node.kill('SIGTERM')
  t.same(await node.ended(), { code: 0, signal: null })
})

t.test('a daemon that is told to stop ends its supervisor too', async (t) => {
  const node = new NodeProcess(t, temporaryFolder(t))
  const ready = await node.ready()
  process.kill(ready!.pid, 'SIGTERM')
  t.same(await node.ended(), { code: 0, signal: null })
})

t.test('refused starts: one sentence, exit code, nothing left running', async (t) => {
  const dir = temporaryFolder(t)
  const running = new NodeProcess(t, dir, ['--listen-tcp', '127.0.0.1:0'])
  const ready = await running.ready()
  t.ok(ready?.tcp?.port, 'a free port was taken')

  const sameFolder = new NodeProcess(t, dir)
  t.same(await sameFolder.ended(), { code: 1, signal: null })
  t.match(sameFolder.stderr, new RegExp(`n1 is in use by process ${running.supervisorPid}; stop that process`))

  const busyPort = new NodeProcess(t, temporaryFolder(t), ['--listen-tcp', `127.0.0.1:${ready!.tcp!.port}`])
  t.same(await busyPort.ended(), { code: 1, signal: null })
  t.match(busyPort.stderr, new RegExp(`port ${ready!.tcp!.port} is in use`))

  const sameDisk = new NodeProcess(t, temporaryFolder(t), ['--disk', `path=${path.join(dir, 'disk0')}`])
  t.same(await sameDisk.ended(), { code: 1, signal: null })
  t.match(sameDisk.stderr, /disk0 is in use by process/)

  const noDisk = new NodeProcess(t, temporaryFolder(t), ['--disk', 'path=/nonexistent/disk'])
  t.same(await noDisk.ended(), { code: 1, signal: null })
  t.match(noDisk.stderr, /disk \/nonexistent\/disk cannot be opened/)

  const other = temporaryFolder(t)
  writeFileSync(path.join(other, 'precious'), Buffer.alloc(DISK_BYTES, 1))
  const notOurs = new NodeProcess(t, other, ['--disk', `path=${path.join(other, 'precious')}`])
  t.same(await notOurs.ended(), { code: 1, signal: null })
  t.match(notOurs.stderr, /holds something that is not ours/)

  for (const { stderr } of [sameFolder, busyPort, sameDisk, noDisk, notOurs]) {
    t.equal(stderr.trim().split('\n').length, 1, stderr)
  }
  running.kill('SIGTERM')
  t.match(await running.ended(), { code: 0 })
  const foreign = new NodeProcess(t, temporaryFolder(t), ['--disk', `path=${path.join(dir, 'disk0')}`])
  t.same(await foreign.ended(), { code: 1, signal: null })
  t.match(foreign.stderr, /belongs to node .*, not to node .*; .*holdfast disk adopt/)
})

t.test('no TCP port unless asked for', async (t) => {
  const node = new NodeProcess(t, temporaryFolder(t))
  const ready = await node.ready()
  t.equal(ready?.tcp, undefined)
  const sockets = ['tcp', 'tcp6'].map((kind) => readFileSync(`/proc/${ready!.pid}/net/${kind}`, 'utf8')).join()
  const inodes = readdirSync(`/proc/${ready!.pid}/fd`).map((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${ready!.pid}/fd/${fd}`))?.[1]
    } catch {
      return undefined
    }
  })
  t.same(inodes.filter((inode) => inode !== undefined && new RegExp(`\\s${inode}\\s`).test(sockets)), [])
  node.kill('SIGTERM')
  await node.ended()
})
