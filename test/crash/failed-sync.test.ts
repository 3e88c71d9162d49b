/**
 * A sync fails, the process dies, and a start in the same boot finds in the page cache what the medium never got. What
 * that start shows, and says is durable, has to outlive a power cut: so it takes nothing from memory that was there
 * before it. What was acknowledged before the failure is there all the same.
 */
import t from 'tap'
import { SimDisk } from '../sim/disk.ts'
import { Random } from '../sim/random.ts'
import { stamped, stampOf, StoreWorld } from '../sim/store-world.ts'

const SEEDS = 60
const BLOCKS = 24
const POWER_CUT = [{ kind: 'synced' }, { kind: 'synced' }] as const

/** What a store shows of the volume; -1: that cannot be read. */
function shownBy(world: StoreWorld): number[] {
  const volume = world.store!.volumeObject('v')!
  return Array.from({ length: BLOCKS }, (_, lba) => {
    const into = new Uint8Array(4096)
    return world.await<number>((done) => volume.read(lba * 4096, into, done)) === 0 ? stampOf(into) : -1
  })
}

function problemsOf(seed: number): string[] {
  const random = new Random(`failed sync ${seed}`)
  let world = new StoreWorld({ seed, segments: 24 })
  world.open()
  world.await<unknown>((done) => world.store!.createVolume(world.spec('v', 1 << 20), done))
  const volume = world.store!.volumeObject('v')!
  const acknowledged = new Array<number>(BLOCKS).fill(0)
  world.disks[0]!.failAt('sync', random.between(2, 12))
  for (let stamp = 1; !world.disks[0]!.hasFailed; stamp++) {
    const lba = random.int(BLOCKS)
    volume.write(lba * 4096, stamped(stamp), false, (errno) => {
      if (errno === 0) acknowledged[lba] = stamp
    })
    if (random.chance(0.7)) world.clock.advance(random.int(6))
  }
  world.clock.advance(20)
  world = world.crash('kill', { kind: 'all' })
  world.open()
  const shown = shownBy(world)
  const flushed = world.await<number>((done) => world.store!.volumeObject('v')!.flush(done))
  if (flushed !== 0) return [`seed ${seed}: a flush after the start ends with errno ${flushed}`]
  world = world.crash(...POWER_CUT)
  world.open()
  const left = shownBy(world)
  return left.flatMap((stamp, lba) => {
    if (stamp !== shown[lba]) return `seed ${seed}: block ${lba} showed ${shown[lba]}, and shows ${stamp}`
    return stamp < acknowledged[lba]! ? `seed ${seed}: block ${lba} shows ${stamp}, not ${acknowledged[lba]}` : []
  })
}

t.test('what a start shows after a failed sync outlives the power', (t) => {
  const wrong: string[] = []
  for (let seed = 1; seed <= SEEDS; seed++) wrong.push(...problemsOf(seed))
  t.same(wrong.slice(0, 12), [])
  t.end()
})

t.test('the simulated disk keeps what a failed sync lost in memory alone, until that is dropped', (t) => {
  const { clock, random } = new StoreWorld({ seed: 1 })
  const seen = new Set<string>()
  for (let run = 0; run < 20; run++) {
    let disk = new SimDisk({ sizeBytes: 1 << 20, clock, random: random.fork(`${run}`), writeNowChance: 1 })
    const stampAt = (at: number): number => stampOf(disk.peek(at, 4096))
    const call = (start: (done: (ok: boolean) => void) => void): boolean => {
      let answer: boolean | undefined
      start((ok) => (answer = ok))
      clock.runUntilIdle()
      return answer!
    }
    disk.write(0, [stamped(1)], () => {})
    disk.failAt('sync')
    t.equal(call((done) => disk.sync(done)), false)
    disk = disk.kill()
    t.equal(stampAt(0), 1)
    t.equal(call((done) => disk.sync(done)), true, 'it speaks of nothing that was lost before')
    disk.write(4096, [stamped(2)], () => {})
    disk = disk.kill()
    t.same([stampAt(0), stampAt(4096)], [1, 2], 'another process later')
    const afterCut = stampOf(new SimDisk({ sizeBytes: 1 << 20, clock, random, image: disk.image({ kind: 'synced' }) })
      .peek(0, 4096))
    t.equal(call((done) => disk.dropCache(done)), true)
    t.same([stampAt(0), stampAt(4096)], [afterCut, 2], 'what is dirty stays')
    seen.add(`${afterCut}`)
  }
  t.same([...seen].sort(), ['0', '1'], 'some of it was written')
  t.end()
})
