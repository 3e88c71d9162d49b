/** Risk: a copy counts as whole in a boot in which its disk failed, and may lack what it acknowledged. */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { bootOf, noteFailure } from '../../dataplane/disk-boot.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import { openStore, type StoreShell } from '../../dataplane/store-shell.ts'
import { MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { hex, specOf } from './copy/hosts.ts'

t.test('a failure of the disk names the rest of the boot anew, for every process', (t) => {
  const folder = path.join(t.testdir(), 'not', 'there')
  const machine = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().replaceAll('-', '')
  t.equal(bootOf(folder), machine)
  t.equal(noteFailure(folder), undefined)
  const after = bootOf(folder)
  t.match(after, /^[0-9a-f]{32}$/)
  t.not(after, machine)
  t.equal(bootOf(folder), after)
  t.equal(noteFailure(folder), undefined)
  t.notOk([machine, after].includes(bootOf(folder)), 'and so does the next one')
  t.end()
})

t.test('a note that was cut short is of no known boot; one of a former boot is of no concern', (t) => {
  const folder = t.testdir({})
  const note = path.join(folder, 'failed')
  const machine = bootOf(folder)
  for (const text of ['', machine.slice(0, 9), machine, `${machine} 0123`]) {
    fs.writeFileSync(note, text)
    t.not(bootOf(folder), machine)
    t.not(bootOf(folder), bootOf(folder))
  }
  fs.writeFileSync(note, `${'ab'.repeat(16)} ${'cd'.repeat(16)}`)
  t.equal(bootOf(folder), machine)
  t.equal(typeof noteFailure(note), 'string', 'no folder can be made of a file')
  t.end()
})

t.test('a worker whose disk fails notes it, and the next one takes the new name', async (t) => {
  const dir = temporaryFolder(t)
  const indexDir = path.join(dir, 'index')
  const identity = { nodeName: 'n1', nodeId: '1'.repeat(32), clusterId: 'c'.repeat(32) }
  const option = { path: path.join(dir, 'disk'), sizeBytes: 512 * MIB, pool: 'default', tags: [] }
  const prepared = prepareDisk(option, identity, 1)
  if (!prepared.ok) throw prepared.error
  const disk = prepared.value
  const log = { event: () => {} }
  const open = async (): Promise<StoreShell> => {
    const barrier = new SharedArrayBuffer(4)
    const opened = await openStore({ disks: [disk], indexDir, worker: 0, workers: 1, barrier, log })
    if (!opened.ok) throw opened.error
    return opened.value
  }
  const boot = (shell: StoreShell): string => shell.store.streams()[0]!.context.bootId
  const stop = (shell: StoreShell): Promise<unknown> => new Promise((resolve) => shell.stop(resolve))
  let shell = await open()
  const before = boot(shell)
  const { fdatasync } = fs
  fs.fdatasync = ((_fd: number, done: (error: unknown) => void) => setImmediate(done, { errno: -5 })) as never
  const made = await new Promise<boolean>((resolve) =>
    shell.store.createCopy(specOf({ id: hex(), name: 'v' }), hex(), ({ ok }) => resolve(ok)))
  fs.fdatasync = fdatasync
  t.equal(made, false)
  await stop(shell)
  shell = await open()
  t.not(boot(shell), before)
  t.equal(boot(shell), bootOf(path.join(indexDir, disk.diskUuid)))
  await stop(shell)
  releaseDisk(disk)
})
