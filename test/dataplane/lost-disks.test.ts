/**
 * Risk: one disk that is gone keeps a node from starting, with all its others; or a mistake in the configuration, a
 * disk of somebody else, or one that only shows late, is taken for a loss.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { checkDisk, prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import { checkDisks, noteSeen, openDisks, rememberSeen, seenDisks } from '../../dataplane/lost-disks.ts'
import type { OpenedDisks } from '../../dataplane/lost-disks.ts'
import { addedDisks } from '../../dataplane/node-folder.ts'
import type { DiskOption } from '../../dataplane/worker-messages.ts'
import { MIB } from '../../engine/units.ts'
import { straceMissing } from '../nemesis/system-call-faults.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const NODE = { nodeName: 'n1', nodeId: '1'.repeat(32), clusterId: 'c'.repeat(32) }
const SIZE = 640 * MIB

class Node {
  readonly dir: string
  readonly seen: string
  readonly told: string[] = []
  /** How often each disk was tried. */
  tries = 0
  /** Before each of them. */
  beforeTry: () => void = () => {}

  constructor(t: Test) {
    this.dir = temporaryFolder(t)
    this.seen = path.join(this.dir, 'seen-disks.json')
  }

  option(name: string, sizeBytes?: number): DiskOption {
    return { path: path.join(this.dir, name), sizeBytes, pool: 'default', tags: [name] }
  }

  /** A start, until its disks are open. They are given back. */
  async start(options: DiskOption[], { waitMs = 0, identity = NODE, needsAll = false } = {}): Promise<OpenedDisks> {
    this.tries = 0
    const prepare = (option: DiskOption) => {
      this.tries++
      this.beforeTry()
      return prepareDisk(option, identity, 1)
    }
    const log = { event: (_: string, message: string) => void this.told.push(message) }
    const opened = await openDisks({ options, seen: this.seen, prepare, needsAll, log, waitMs })
    for (const disk of opened.disks) releaseDisk(disk)
    return opened
  }
}

t.test('a disk that was served and is gone is left out, also the next time, until there is one again', async (t) => {
  const node = new Node(t)
  const made = await node.start([node.option('a', SIZE), node.option('b', SIZE)])
  t.same(made.lost, [])
  const uuid = made.disks[1]!.diskUuid
  t.match(seenDisks(node.seen), [{ isLost: false }, { uuid, tags: ['b'], isLost: false }])
  const [a, b] = [node.option('a'), node.option('b')]
  rmSync(b.path)
  const { disks, lost } = await node.start([a, b])
  t.equal(disks.length, 1)
  t.match(lost, [{ path: b.path, uuid, pool: 'default', tags: ['b'], state: 'failed', capacityBytes: 0 }])
  t.match(lost[0]!.reason, /does not exist/)
  t.same(node.told, ['a disk is gone; the node goes on without it'])
  const again = await node.start([a, b], { waitMs: 60_000 })
  t.same([again.lost, node.tries], [lost, 2], 'and is not waited for then')
  writeFileSync(b.path, '')
  truncateSync(b.path, SIZE)
  const replaced = await node.start([a, b])
  t.equal(replaced.disks.length, 2)
  t.not(replaced.disks[1]!.diskUuid, uuid)
  t.match(seenDisks(node.seen), [{}, { uuid: replaced.disks[1]!.diskUuid, isLost: false }])
})

t.test('one that is damaged, or smaller than it was, is gone as well', async (t) => {
  const node = new Node(t)
  await node.start([node.option('a', SIZE), node.option('b', SIZE)])
  truncateSync(node.option('b').path, SIZE / 2)
  const { lost } = await node.start([node.option('a'), node.option('b')])
  t.match(lost, [{ reason: /its segments end at/ }])
  truncateSync(node.option('b').path, 0)
  const empty = await node.start([node.option('a'), node.option('b')])
  t.match(empty.lost, [{ state: 'failed' }])
})

t.test('one that shows late is waited for', async (t) => {
  const node = new Node(t)
  const [a, b] = [node.option('a', SIZE), node.option('b', SIZE)]
  const made = await node.start([a, b])
  renameSync(b.path, `${b.path}.away`)
  node.beforeTry = () => {
    if (node.tries === 4) renameSync(`${b.path}.away`, b.path)
  }
  const { disks, lost } = await node.start([a, b], { waitMs: 60_000 })
  t.same([disks.map(({ diskUuid }) => diskUuid), lost, node.told], [made.disks.map(({ diskUuid }) => diskUuid), [], []])
})

t.test('a file that was served is not made anew, whatever size is configured', async (t) => {
  const node = new Node(t)
  const options = [node.option('a', SIZE), node.option('b', SIZE)]
  const b = options[1]!.path
  const made = await node.start(options)
  rmSync(b)
  const uuid = made.disks[1]!.diskUuid
  for (const start of ['first', 'second']) {
    const { disks, lost } = await node.start(options)
    t.match([disks.length, lost], [1, [{ path: b, uuid, state: 'failed', reason: /this node had it before/ }]], start)
    t.notOk(existsSync(b))
  }
  t.match(seenDisks(node.seen), [{}, { uuid, isLost: true }])
  const check = (option: DiskOption) => checkDisk(option, NODE, 'http://store:1')
  t.doesNotThrow(() => checkDisks({ options, seen: node.seen, check }))
  await node.start([options[0]!])
  t.equal((await node.start(options)).disks.length, 2, 'one that was left out for a start is new')
})

t.test('a node by itself goes on without none of its disks', async (t) => {
  const node = new Node(t)
  const options = [node.option('a', SIZE), node.option('b', SIZE)]
  await node.start(options, { needsAll: true })
  const { path: b } = options[1]!
  renameSync(b, `${b}.away`)
  await t.rejects(node.start(options, { needsAll: true }), { code: 'disk-open', message: /this node had it before/ })
  t.notOk(existsSync(b))
  renameSync(`${b}.away`, b)
  t.equal((await node.start(options, { needsAll: true })).disks.length, 2)
})

t.test('the start is refused: never seen, of another node, in use, or the last one', async (t) => {
  const node = new Node(t)
  const [a, b] = [node.option('a'), node.option('b')]
  await node.start([node.option('a', SIZE), node.option('b', SIZE)])
  await t.rejects(node.start([a, node.option('typo')]), { code: 'disk-open' })
  const identity = { ...NODE, nodeId: '2'.repeat(32) }
  await t.rejects(node.start([a, b], { identity }), { code: 'disk-foreign' })
  const held = prepareDisk(b, NODE, 1)
  if (!held.ok) throw held.error
  await t.rejects(node.start([a, b]), { code: 'disk-busy' })
  releaseDisk(held.value)
  rmSync(a.path)
  rmSync(b.path)
  await t.rejects(node.start([a, b]), { code: 'disk-open' })
  t.match(seenDisks(node.seen), [{ isLost: false }, { isLost: false }], 'and nothing is called lost by that')
})

t.test('one that answers EIO is as one that cannot be opened', { skip: straceMissing() ?? false }, async (t) => {
  const node = new Node(t)
  await node.start([node.option('a', SIZE)])
  const { path: file } = node.option('a')
  const module = path.join(import.meta.dirname, '../../dataplane/disk-preparation.ts')
  const script = `import { prepareDisk } from '${module}'
    const option = ${JSON.stringify(node.option('a'))}
    const { error } = prepareDisk(option, ${JSON.stringify(NODE)}, 1)
    console.log(error.code, error.cause.code, error.detail.reason)`
  const { stdout, stderr } = spawnSync('strace', [
    '-f', '-qq', '-o', path.join(node.dir, 'trace'), '-P', file, '-e', 'trace=pread64',
    '-e', 'inject=pread64:error=EIO', process.execPath, '--input-type=module', '-e', script,
  ], { encoding: 'utf8' })
  t.equal(stdout, 'disk-open EIO EIO, i/o error\n', stderr)
})

t.test('a disk that is added while the node runs was seen', async (t) => {
  const node = new Node(t)
  await node.start([node.option('a', SIZE)])
  const added = prepareDisk(node.option('b', SIZE), NODE, 1)
  if (!added.ok) throw added.error
  noteSeen(node.seen, added.value)
  releaseDisk(added.value)
  rmSync(node.option('b').path)
  const { lost } = await node.start([node.option('a'), node.option('b')])
  t.match(lost, [{ uuid: added.value.diskUuid }])
})

t.test('a disk that is not taken after all was not seen, and one that was lost is lost still', async (t) => {
  const node = new Node(t)
  const [a, b] = [node.option('a', SIZE), node.option('b', SIZE)]
  await node.start([a, b])
  rmSync(b.path)
  await node.start([a, b])
  const before = seenDisks(node.seen)
  const paths = { disks: path.join(node.dir, 'disks.json'), seenDisks: node.seen }
  for (const option of [node.option('c', SIZE), b]) {
    const added = prepareDisk(option, NODE, 1)
    if (!added.ok) throw added.error
    const forget = rememberSeen(paths, option, added.value)
    t.match(seenDisks(node.seen).find((one) => one.path === option.path), { isLost: false })
    t.match(addedDisks(paths.disks), [{ path: option.path }])
    forget()
    t.same(seenDisks(node.seen), before)
    t.same(addedDisks(paths.disks), [])
    // Where the second file cannot be kept, the first one is as it was.
    t.throws(() => rememberSeen({ ...paths, seenDisks: path.join(node.dir, 'none', 'seen') }, option, added.value), {
      code: 'folder-write',
    })
    t.same(addedDisks(paths.disks), [])
    releaseDisk(added.value)
  }
})
