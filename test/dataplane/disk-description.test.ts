/** What the disks of a node say of copies, with and without an index, and of what they cannot say. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { clock } from '../../dataplane/clock.ts'
import { describeDisks } from '../../dataplane/disk-description.ts'
import type { DisksDescription } from '../../dataplane/disk-description.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import type { PreparedDisk } from '../../dataplane/disk-preparation.ts'
import { openStore } from '../../dataplane/store-shell.ts'
import type { StoreShell } from '../../dataplane/store-shell.ts'
import { segmentOffsetBytes } from '../../engine/log/geometry.ts'
import type { LogPort } from '../../engine/ports.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import type { OpenCopy } from '../../engine/volume/copy-store.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { configOf, hex, specOf } from './copy/hosts.ts'

const log: LogPort = { event: () => undefined }

class Disks {
  readonly paths: string[]
  readonly indexDir: string

  constructor(t: Parameters<typeof temporaryFolder>[0]) {
    const dir = temporaryFolder(t)
    this.paths = ['a', 'b'].map((name) => path.join(dir, name))
    this.indexDir = path.join(dir, 'index')
  }

  private prepare(): PreparedDisk[] {
    const identity = { nodeName: 'n1', nodeId: '1'.repeat(32), clusterId: 'c'.repeat(32) }
    return this.paths.map((disk, at) => {
      const option = { path: disk, sizeBytes: 300 * MIB, pool: at === 0 ? 'default' : 'other', tags: [] }
      const prepared = prepareDisk(option, identity, 1)
      if (!prepared.ok) throw prepared.error
      return prepared.value
    })
  }

  async use(run: (shell: StoreShell) => Promise<void>): Promise<void> {
    const disks = this.prepare()
    const barrier = new SharedArrayBuffer(4)
    const opened = await openStore({ disks, indexDir: this.indexDir, worker: 0, workers: 1, barrier, clock, log })
    if (!opened.ok) throw opened.error
    await run(opened.value)
    await new Promise<void>((resolve) => opened.value.stop(() => resolve()))
    for (const disk of disks) releaseDisk(disk)
  }

  async describe(): Promise<DisksDescription> {
    const disks = this.prepare()
    const found = await describeDisks({ disks, indexDir: this.indexDir, log })
    for (const disk of disks) releaseDisk(disk)
    if (!found.ok) throw found.error
    return found.value
  }
}

const answer = <T>(ask: (done: (result: Result<T>) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => ask((result) => (result.ok ? resolve(result.value) : reject(result.error))))

t.test('copies, as they are, were taken away, or cannot be read', async (t) => {
  const disks = new Disks(t)
  const [kept, gone, other] = [specOf({ name: 'kept' }), specOf({ name: 'gone' }), specOf({ pool: 'other' })]
  const config = configOf(kept.id, { n1: 'c1', n2: 'c2' })
  const noted = { config, record: undefined }
  await disks.use(async ({ store }) => {
    const make = (spec: typeof kept, copyId: string) =>
      answer<OpenCopy>((done) => store.createCopy(spec, copyId, done))
    const { copy } = await make(kept, 'c1')
    await new Promise<void>((resolve) => {
      copy.onEvent = ({ type }) => type === 'kept' && resolve()
      const attach = { brokenGeneration: 0, incarnations: [[4, 9]], open: [['n2', 5, 7]] } as const
      copy.keep(1, { promise: { epoch: 3, primary: 'n2' }, attach })
    })
    t.ok(await new Promise((resolve) => copy.note({ config }, resolve)))
    await make(gone, 'c3')
    await answer<void>((done) => store.removeCopy(gone.id, done))
    await make(other, hex())
  })
  for (const index of ['there', 'lost']) {
    if (index === 'lost') rmSync(disks.indexDir, { recursive: true })
    const { disks: found, copies } = await disks.describe()
    t.same(found, disks.paths.map((disk) => ({ path: disk, failure: '' })), index)
    t.equal(copies.length, 3)
    t.match(copies.find(({ volumeId }) => volumeId === kept.id), {
      copyId: 'c1', isErased: false, failure: '', isConsistent: true, isWhole: true, lostSlices: 0, lastEpoch: 0,
      tail: 0, promise: { epoch: 3, primary: 'n2' }, generation: 5, incarnation: 9, noted, spec: { name: 'kept' },
    })
    t.match(copies.find(({ volumeId }) => volumeId === gone.id), { copyId: 'c3', isErased: true, failure: '' })
    t.match(copies.find(({ volumeId }) => volumeId === other.id), { isErased: false, promise: { epoch: 0 } })
  }
  let segments: [bytes: number, count: number] = [0, 0]
  await disks.use(async ({ store }) => {
    const { segmentBytes, segmentCount } = store.streams()[1]!.context
    segments = [segmentBytes, segmentCount]
  })
  rmSync(disks.indexDir, { recursive: true })
  const fd = openSync(disks.paths[1]!, 'r+')
  const ones = Buffer.alloc(BLOCK_BYTES, 0xff)
  for (let segment = 0; segment < segments[1]; segment++) {
    writeSync(fd, ones, 0, BLOCK_BYTES, segmentOffsetBytes(segments[0], segment) + BLOCK_BYTES)
  }
  closeSync(fd)
  const { disks: [, bad], copies } = await disks.describe()
  t.match(bad!.failure, /damaged/, 'a disk that cannot say what it has says that')
  t.equal(copies.length, 2)
})
