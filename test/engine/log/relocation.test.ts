/** Risk: a zero or trim of a whole slice brings all that snapshots keep of the slice into memory at once. */
import t from 'tap'
import { eachZero } from '../../../engine/log/relocation.ts'
import { runTask } from '../../../engine/task.ts'
import { createSnapshot } from '../../../engine/volume/time-travel.ts'
import { stamped, StoreWorld } from '../../sim/store-world.ts'

const PAGES = 4
const BLOCKS = PAGES * 256
const ROUNDS = 3

t.test('what refers to a trim is looked for page by page', (t) => {
  const world = new StoreWorld({ seed: 8, segments: 200, checkpointBytes: 1 << 30 })
  world.open()
  world.await((done) => world.store!.createVolume(world.spec('v', BLOCKS * 4096), done))
  const volume = world.store!.volumeObject('v')!
  const stream = world.store!.streams()[0]!
  const map = [...stream.map.volumes.values()][0]!
  const data = new Uint8Array(16 * 4096)
  const fill = (stamp: number): void => {
    for (let i = 0; i < 16; i++) data.set(stamped(stamp), i * 4096)
    for (let lba = 0; lba < BLOCKS; lba += 16)
      world.await<number>((done) => volume.write(lba * 4096, data.slice(), false, done))
  }
  fill(1)
  world.await<number>((done) => volume.trim(0, BLOCKS * 4096, false, done))
  const { epoch } = map.descriptor
  const seq = map.appliedSeq
  for (let round = 0; round < ROUNDS; round++) {
    world.await((done) => createSnapshot(volume, `s${round}`, done))
    fill(2 + round)
  }
  world.await<boolean>((done) => stream.makeCheckpoint(done))
  world.clock.runUntilIdle()
  const [index] = world.indexes
  const range = index!.range.bind(index)
  let most = 0
  index!.range = (options, done) =>
    range(options, (ok, entries) => {
      most = Math.max(most, entries.length)
      done(ok, entries)
    })
  const found: number[] = []
  const record = { lba: 0, blockCount: BLOCKS, epoch, seq }
  const visit = { tombstone() {}, page() {}, history: (lba: number) => void found.push(lba) }
  t.ok(world.await<boolean>((done) => runTask(eachZero(stream, map, record, visit), done)))
  t.same(found.sort((a, b) => a - b), Array.from({ length: BLOCKS }, (_, lba) => lba), 'the first snapshot shows it')
  t.ok(most <= 256 * ROUNDS, `${most} entries in one answer`)
  t.end()
})
