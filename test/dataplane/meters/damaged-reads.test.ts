/** A block of a copy that rots on its disk is counted for that disk, while its reader gets it from another copy. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { damagedReadsOf, withDamagedReads } from '../../../dataplane/meters/copy-figures.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { MemoryConfigs } from '../copy/memory-configs.ts'
import { configOf, hex, Host, specOf, until } from '../copy/hosts.ts'

/** Where the first segments of a small disk lie. */
const LOOKED_THROUGH_BYTES = 160 * 2 ** 20

t.test('one bit of a block on the disk of the primary', async (t) => {
  const configs = new MemoryConfigs()
  const dirs = ['n1', 'n2'].map((node) => ({ node, dir: temporaryFolder(t) }))
  const hosts = dirs.map(({ node, dir }) => new Host({ node, dir, configs }))
  for (const host of hosts) t.teardown(() => host.stop())
  for (const host of hosts) await host.start()
  for (const host of hosts) host.meet(hosts)
  const spec = specOf({ replicas: 1 })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  const [n1, n2] = hosts as [Host, Host]
  await until(() => n1.role(spec.id) === 'primary')
  const device = n2.attach(spec)
  const written = randomBytes(BLOCK_BYTES)
  t.equal(await device.write(0, written), 0)
  const checksumErrors = (host: Host) => {
    const statuses = withDamagedReads(host.shell.disks(), damagedReadsOf(host.worker.copies.copies()))
    const [disk] = host.shell.diskFigures(statuses)
    t.equal(disk!.checksumErrors, statuses[0]!.checksumErrors, 'in metrics as in the status')
    return disk!.checksumErrors
  }
  t.equal(checksumErrors(n1), 0)

  const fd = fs.openSync(path.join(dirs[0]!.dir, 'disk'), 'r+')
  const bytes = Buffer.alloc(LOOKED_THROUGH_BYTES)
  fs.readSync(fd, bytes, 0, bytes.length, 0)
  const at = bytes.indexOf(written)
  t.ok(at > 0, `it lies at ${at}`)
  fs.writeSync(fd, Buffer.from([written[0]! ^ 1]), 0, 1, at)
  fs.closeSync(fd)

  const read = Buffer.alloc(BLOCK_BYTES)
  t.equal(await device.read(0, read), 0)
  t.ok(read.equals(written), 'from the other copy')
  t.ok(checksumErrors(n1) > 0, `${checksumErrors(n1)} on the disk that rots`)
  t.equal(checksumErrors(n2), 0)
  const after = checksumErrors(n1)
  t.equal(await device.read(0, read), 0)
  t.equal(checksumErrors(n1), after, 'it was repaired')
})
