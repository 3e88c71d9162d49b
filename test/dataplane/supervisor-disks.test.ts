/**
 * Disks of a real node: added while it runs and there again after a restart, adopted from a node that is gone with what
 * was on them, and everything still served by another number of workers.
 */
// test-slow: starts real nodes, or a store
import { existsSync, renameSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { RawClient } from './nbd/raw-client.ts'
import { DISK_BYTES, NodeProcess } from './node-process.ts'

const create = (name: string, parameters: Record<string, string> = {}) => ({ name, sizeBytes: 64 * MIB, parameters })
const stamp = (name: string) => Buffer.alloc(4096, `${name} `)

async function write(node: NodeProcess, name: string): Promise<void> {
  const client = await RawClient.open(node.paths.nbd, { name })
  await client.ask({ type: NBD_CMD_WRITE, offset: 8192, length: 4096, data: stamp(name) })
  client.close()
}

async function holds(node: NodeProcess, name: string): Promise<boolean> {
  const client = await RawClient.open(node.paths.nbd, { name })
  const { errno, data } = await client.ask({ type: NBD_CMD_READ, offset: 8192, length: 4096 })
  client.close()
  return errno === 0 && data.equals(stamp(name))
}

async function start(t: Test, dir: string, extra: string[] = []): Promise<NodeProcess> {
  const node = new NodeProcess(t, dir, extra)
  t.ok(await node.ready(), node.stderr)
  return node
}

async function stop(t: Test, node: NodeProcess): Promise<void> {
  node.kill('SIGTERM')
  t.match(await node.ended(), { code: 0 })
}

t.test('a disk added while the node runs is used, and there again after a restart', async (t) => {
  const dir = temporaryFolder(t)
  const disk1 = path.join(dir, 'disk1')
  let node = await start(t, dir)
  const api = node.client(t)
  const request = { path: disk1, sizeBytes: DISK_BYTES, pool: 'fast', tags: ['ssd'] }
  t.match(await api.addDisk(request), { path: disk1, pool: 'fast', tags: ['ssd'], state: 'online', node: 'n1' })
  await t.rejects(api.addDisk(request), { code: 'disk-busy' })
  const small = { ...request, path: path.join(dir, 'small'), sizeBytes: MIB }
  await t.rejects(api.addDisk(small), { code: 'disk-too-small' })
  await t.rejects(api.createVolume(create('a', { pool: 'slow' })), { code: 'pool-not-found' })
  await api.createVolume(create('a', { pool: 'fast', 'disk-tags': 'ssd' }))
  await write(node, 'a')
  await stop(t, node)
  node = await start(t, dir)
  t.same((await node.client(t).listDisks()).disks.map(({ pool }) => pool).sort(), ['default', 'fast'])
  t.ok(await holds(node, 'a'))
  await stop(t, node)
})

t.test('a node by itself makes no disk anew in the place of one that is gone', async (t) => {
  const dir = temporaryFolder(t)
  const disk = path.join(dir, 'disk0')
  await stop(t, await start(t, dir))
  renameSync(disk, `${disk}.away`)
  // With a size, since the file is not there.
  const without = new NodeProcess(t, dir)
  t.match(await without.ended(), { code: 1 })
  t.match(without.stderr, /disk0 does not exist and this node had it before/)
  t.notOk(existsSync(disk))
  renameSync(`${disk}.away`, disk)
  await stop(t, await start(t, dir))
})

t.test('a disk of a node that is gone is refused, then adopted with its volumes, and stays', async (t) => {
  const gone = temporaryFolder(t)
  let node = await start(t, gone)
  await node.client(t).createVolume(create('inherited'))
  await write(node, 'inherited')
  // A name that the adopting node has too.
  await node.client(t).createVolume(create('both'))
  await write(node, 'both')
  node.kill('SIGKILL')
  await node.ended()

  const dir = temporaryFolder(t)
  const disk = path.join(gone, 'disk0')
  node = await start(t, dir)
  const api = node.client(t)
  await api.createVolume(create('own'))
  await write(node, 'own')
  await api.createVolume(create('both'))
  const busy = 'disk-busy'
  for (let code = busy; code === busy;) {
    // The killed daemon may hold its disk for a moment longer than its supervisor lived.
    const request = { path: disk, sizeBytes: 0, pool: '', tags: [] }
    code = await api.addDisk(request).then(() => 'taken', (error) => error.code)
    if (code !== busy) t.equal(code, 'disk-foreign')
  }
  t.match(await api.adoptDisk({ path: disk }), { path: disk, state: 'online' })
  const names = (await api.listVolumes()).volumes.map(({ name }) => name).sort()
  const renamed = names.find((name) => /^both-[0-9a-f]{8}$/.test(name)) ?? 'none'
  t.same(names, ['both', renamed, 'inherited', 'own'], 'the volume that came later has part of its id in its name')
  t.ok(await holds(node, 'inherited'), 'served at once')
  await stop(t, node)
  node = await start(t, dir)
  t.ok(await holds(node, 'inherited'))
  t.ok(await holds(node, 'own'))
  const own = await RawClient.open(node.paths.nbd, { name: 'both' })
  const other = await RawClient.open(node.paths.nbd, { name: renamed })
  const read = { type: NBD_CMD_READ, offset: 8192, length: 4096 }
  t.ok((await own.ask(read)).data.every((byte) => byte === 0), 'it does not hide the one that was there')
  t.ok((await other.ask(read)).data.equals(stamp('both')))
  own.close()
  other.close()
  await stop(t, node)
})

t.test('volumes made by two workers are served by one, and by three', async (t) => {
  const dir = temporaryFolder(t)
  const names = ['a', 'b', 'c']
  let node = await start(t, dir, ['--workers', '2'])
  const api = node.client(t)
  for (const name of names) await api.createVolume(create(name))
  for (const name of names) await write(node, name)
  await stop(t, node)
  for (const workers of ['1', '3']) {
    node = await start(t, dir, ['--workers', workers])
    for (const name of names) t.ok(await holds(node, name), `${name} with ${workers} worker(s)`)
    t.match(await node.client(t).status(), { health: 'healthy', volumes: 3, problems: [] })
    await stop(t, node)
  }
})
