/**
 * Real processes: a daemon that ends by SIGABRT, as LevelDB's assertions do, gets its index rebuilt when a table is
 * rotten, or when it happens again. So no damage of an index ends it at each start for ever.
 */
// test-slow: starts real nodes, or a store
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NBD_CMD_FLAG_FUA, NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { MIB } from '../../engine/units.ts'
import { standStill } from '../stand-still.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { RawClient } from './nbd/raw-client.ts'
import { NodeProcess } from './node-process.ts'

const PATTERN = Buffer.alloc(8192, 'held fast ')

t.test('two aborts in a row: the indexes are rebuilt; one may be anything, so they are kept', async (t) => {
  const node = new NodeProcess(t, temporaryFolder(t))
  const first = await node.ready()
  t.ok(first, node.stderr)
  await node.client(t).createVolume({ name: 'data-1', sizeBytes: 64 * MIB, parameters: {} })
  const nbd = await RawClient.open(node.paths.nbd, { name: 'data-1' })
  const write = { type: NBD_CMD_WRITE, offset: 0, length: PATTERN.length, data: PATTERN, flags: NBD_CMD_FLAG_FUA }
  t.equal((await nbd.ask(write)).errno, 0)
  const [disk] = readdirSync(node.paths.index)
  const index = path.join(node.paths.index, disk!, '0')
  // The number of an inode may be used again, a file made here may not outlive the folder.
  writeFileSync(path.join(index, 'witness'), '')
  process.kill(first!.pid, 'SIGABRT')
  const second = await node.ready()
  nbd.close()
  t.ok(existsSync(path.join(index, 'witness')), 'after the first abort one whose tables are whole is kept')
  t.notOk(existsSync(`${index}.suspected`))
  process.kill(second!.pid, 'SIGABRT')
  t.ok(await node.ready(), node.stderr)
  t.notOk(existsSync(path.join(index, 'witness')), 'the second one does: it was made anew')
  t.notOk(existsSync(`${index}.damaged`))
  const said = node.log().filter(({ message }) => message === 'the daemon ended as it does when an index is damaged')
  t.match(said, [{ consequence: 'their tables are verified' }, { consequence: 'all are rebuilt from the disks' }])
  const reader = await RawClient.open(node.paths.nbd, { name: 'data-1' })
  const answer = await reader.ask({ type: NBD_CMD_READ, offset: 0, length: PATTERN.length })
  t.ok(answer.data.equals(PATTERN), 'the acknowledged write is there')
  reader.close()
  node.kill('SIGTERM')
  t.same(await node.ended(), { code: 0, signal: null })
})

t.test('an abort with a rotten table: the index is rebuilt before LevelDB meets it again', async (t) => {
  const dir = temporaryFolder(t)
  const before = new NodeProcess(t, dir)
  await before.ready()
  await before.client(t).createVolume({ name: 'data-1', sizeBytes: 64 * MIB, parameters: {} })
  before.kill('SIGTERM')
  t.match(await before.ended(), { code: 0 })
  // What the index had in its log is a table now.
  const node = new NodeProcess(t, dir)
  const first = await node.ready()
  const [disk] = readdirSync(node.paths.index)
  const index = path.join(node.paths.index, disk!, '0')
  const table = readdirSync(index).find((name) => name.endsWith('.ldb'))!
  await standStill(first!.pid)
  const bytes = readFileSync(path.join(index, table))
  // The first byte of the first key, behind three lengths of which the last has two bytes.
  bytes[4]! ^= 0x80
  writeFileSync(path.join(index, table), bytes)
  writeFileSync(path.join(index, 'witness'), '')
  process.kill(first!.pid, 'SIGABRT')
  process.kill(first!.pid, 'SIGCONT')
  t.ok(await node.ready(), node.stderr)
  t.notOk(existsSync(path.join(index, 'witness')), 'it was made anew')
  t.ok(node.log().some((line) => JSON.stringify(line).includes(`${table}: its block at byte 0 is damaged`)))
  t.match(await node.client(t).getVolume({ name: 'data-1' }), { health: 'healthy' })
  node.kill('SIGTERM')
  t.same(await node.ended(), { code: 0, signal: null })
})
