/**
 * Risk: between two checkpoints one page gets more versions than its value in the index can count, and can then not be
 * read any more. Zeroes of 255 blocks make 255 entries each.
 */
import t, { type Test } from 'tap'
import { decodePageValue, encodePageValue } from '../../../engine/log/index-keys.ts'
import { ENTRY_WORDS } from '../../../engine/log/entry.ts'
import { fsck } from '../../sim/fsck.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

/** 76,500 entries. */
const ZEROES = 300

function hotPage(t: Test): StoreWorld {
  const world = new StoreWorld({ seed: 5, pendingMax: 1_000_000, checkpointBytes: 1 << 30, segments: 40 })
  const store = world.open()
  world.await((done) => store.createVolume(world.spec('v', 2 << 20), done))
  const device = store.device('v')!
  let answered = 0
  const done = (errno: number): void => void (answered += errno === 0 ? 1 : 0)
  device.write(0, stamped(1), false, done)
  device.write(255 * 4096, stamped(2), false, done)
  for (let i = 0; i < ZEROES; i++) device.writeZeroes(0, 255 * 4096, { noHole: true, fua: false }, done)
  device.write(4096, stamped(3), false, done)
  world.clock.runUntilIdle()
  t.equal(answered, ZEROES + 3)
  return world
}

function shows(t: Test, world: StoreWorld, what: string): void {
  const into = new Uint8Array(256 * 4096)
  const errno = world.await<number>((done) => world.store!.device('v')!.read(0, into, done))
  const stamps = [0, 1, 254, 255].map((block) => stampOf(into.subarray(block * 4096, (block + 1) * 4096)))
  t.same([errno, ...stamps], [0, 0, 3, 0, 2], what)
  t.strictSame(fsck(world), [], `${what}: fsck`)
}

t.test('a value counts as many entries as a stream keeps', (t) => {
  for (const count of [0, 1, 65_535, 65_536, 200_000]) {
    const indexes = Uint8Array.from({ length: count }, (_, i) => i % 251)
    const words = Uint32Array.from({ length: count * ENTRY_WORDS }, (_, i) => i)
    const back = decodePageValue(encodePageValue({ base: false, resolved: false, indexes, words }))
    t.equal(back?.indexes.length, count)
    t.equal(Buffer.compare(back!.indexes, indexes), 0)
    t.equal(Buffer.compare(new Uint8Array(back!.words.buffer), new Uint8Array(words.buffer)), 0)
  }
  t.end()
})

t.test('a page overwritten without end is read after its checkpoint', (t) => {
  const world = hotPage(t)
  const [stream] = world.store!.streams()
  t.equal(
    world.await<boolean>((done) => stream!.makeCheckpoint(done)),
    true,
  )
  shows(t, world, 'after a checkpoint')
  t.end()
})

t.test('and when the index is rebuilt', (t) => {
  const world = hotPage(t).crash('kill', 'lost')
  world.open()
  shows(t, world, 'after a rebuild')
  t.end()
})
