/** The node's folder: one user at a time, an identity made once, disks remembered, damage said in words. */
import { closeSync, chmodSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  addedDisks, checkSocketPath, lockFolder, makeFolder, nodeIdentity, nodePaths, rememberDisk,
} from '../../dataplane/node-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'

t.test('the lock has one holder, and is free when that one ends', async (t) => {
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'lock')
  writeFileSync(file, '99999999\n')
  const fd = lockFolder(dir, file)
  const message = new RegExp(`in use by process ${process.pid};`)
  t.throws(() => lockFolder(dir, file), { code: 'folder-in-use', message })
  closeSync(fd)
  closeSync(lockFolder(dir, file))
})

t.test('identity', async (t) => {
  const file = path.join(temporaryFolder(t), 'node.json')
  const identity = nodeIdentity(file)
  t.match(identity, { clusterId: /^[0-9a-f]{32}$/, nodeId: /^[0-9a-f]{32}$/ })
  t.same(nodeIdentity(file), identity)
  t.same(readdirSync(path.dirname(file)), ['node.json'], 'nothing half-made stays')
  for (const text of ['', '{', 'null', '{}', '{"clusterId": "x", "nodeId": "y"}']) {
    writeFileSync(file, text)
    t.throws(() => nodeIdentity(file), { code: 'folder' }, text)
    t.equal(readFileSync(file, 'utf8'), text, 'a damaged identity is never replaced')
  }
})

t.test('disks added at run time', async (t) => {
  const file = path.join(temporaryFolder(t), 'disks.json')
  t.same(addedDisks(file), [])
  rememberDisk(file, { path: '/a', pool: 'default', tags: [], sizeBytes: 7 })
  rememberDisk(file, { path: '/b', pool: 'p', tags: ['x'], sizeBytes: undefined })
  rememberDisk(file, { path: '/a', pool: 'q', tags: [], sizeBytes: undefined })
  const known = () => addedDisks(file).map(({ path, pool }) => [path, pool])
  t.match(known(), [['/b', 'p'], ['/a', 'q']])
  const forget = rememberDisk(file, { path: '/c', pool: 'r', tags: [], sizeBytes: undefined })
  const former = rememberDisk(file, { path: '/b', pool: 's', tags: [], sizeBytes: undefined })
  t.same(known(), [['/a', 'q'], ['/c', 'r'], ['/b', 's']])
  forget()
  former()
  t.same(known(), [['/a', 'q'], ['/b', 'p']], 'each alone, and as it was')
})

t.test('folders', async (t) => {
  const dir = temporaryFolder(t)
  const { folder } = nodePaths(dir, 'n1')
  makeFolder(folder)
  t.equal(statSync(folder).mode & 0o777, 0o700)
  writeFileSync(path.join(dir, 'file'), '')
  t.throws(() => makeFolder(path.join(dir, 'file', 'x')), { code: 'folder', message: /no folder/ })
  if (process.getuid?.() !== 0) {
    chmodSync(folder, 0o500)
    t.throws(() => makeFolder(path.join(folder, 'x')), { code: 'folder', message: /permission denied/ })
  }
  const message = /has 108 bytes, the limit .* is 107/
  t.throws(() => checkSocketPath(`/${'x'.repeat(107)}`), { code: 'socket-path', message })
  checkSocketPath(`/${'x'.repeat(106)}`)
})
