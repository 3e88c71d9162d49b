/**
 * What the store wrote, the offline tools read: random work on a simulated store with two disks, a cleaner that has to
 * run, and a crash at a random moment. The salvaged image is the one the reopened store serves, and verify is content.
 */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { superblockOffsetBytes } from '../../engine/log/geometry.ts'
import { encodeSuperblock } from '../../engine/log/superblock.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { crc32c } from '../../dataplane/checksum.ts'
import type { CrashChoice } from '../sim/disk.ts'
import { Random } from '../sim/random.ts'
import { stamped, StoreWorld } from '../sim/store-world.ts'
import { offline, salvage } from './offline-run.ts'

const SEEDS = Number(process.env.OFFLINE_SEEDS ?? 10)
const FIRST_SEED = Number(process.env.OFFLINE_SEED ?? 1)
const VOLUMES = ['a', 'b', 'c']
const SIZE_BYTES = MIB
const DAMAGES_PER_SEED = 8

type Test = Parameters<Parameters<typeof t.test>[0]>[0]

/** The disks as files, with superblocks, which the simulated store does not have. */
function save(world: StoreWorld, folder: string): string[] {
  return world.disks.map((disk, i) => {
    const bytes = Buffer.from(disk.peek(0, disk.sizeBytes))
    const { segmentBytes, segments } = world.options
    const superblock = encodeSuperblock({
      featuresCompatible: 0, featuresReadOnly: 0, featuresIncompatible: 0, clusterId: '0'.repeat(32),
      nodeId: '1'.repeat(32), diskUuid: (i + 1).toString(16).padStart(32, '0'), generation: 1, createdMs: 0,
      segmentBytes, segmentCount: segments,
      streamCount: 1, nodeName: 'n1', pool: 'default', tags: [],
    }, crc32c)
    for (let copy = 0; copy < 4; copy++) bytes.set(superblock, superblockOffsetBytes(copy))
    const file = path.join(folder, `disk${i}`)
    fs.writeFileSync(file, bytes)
    return file
  })
}

function crashOf(random: Random): CrashChoice | 'kill' {
  const seed = random.u32()
  const unitBytes = random.pick([512, 4096] as const)
  return random.pick<CrashChoice | 'kill'>([
    'kill', { kind: 'all' }, { kind: 'synced' }, { kind: 'subset', seed }, { kind: 'shredded', unitBytes, seed },
  ])
}

function work(world: StoreWorld, random: Random, rounds: number): void {
  let stamp = random.u32() >>> 1
  let waiting = 0
  const done = (errno: number): void => {
    if (errno !== 0) throw new Error(`errno ${errno}`)
    waiting--
  }
  for (let round = 0; round < rounds; round++) {
    for (let i = random.between(1, 6); i > 0; i--) {
      const device = world.store!.device(random.pick(VOLUMES))!
      const lba = random.int(device.sizeBytes / BLOCK_BYTES - 16)
      const blocks = random.between(1, 16)
      waiting++
      const kind = random.int(10)
      if (kind === 0) device.trim(lba * BLOCK_BYTES, blocks * BLOCK_BYTES, false, done)
      else if (kind === 1) {
        device.writeZeroes(lba * BLOCK_BYTES, blocks * BLOCK_BYTES, { noHole: false, fua: false }, done)
      } else {
        const data = Buffer.concat(Array.from({ length: random.between(1, 3) }, () => stamped(++stamp)))
        device.write(lba * BLOCK_BYTES, data, random.chance(0.3), done)
      }
    }
    // The last round is left in flight for the crash.
    if (round < rounds - 1) world.clock.runUntil(() => waiting === 0)
    else for (let turns = random.int(6); turns > 0; turns--) world.clock.step()
  }
}

/** One sector at a time: what differs from the whole image is in the damage map. */
async function damageEverywhere(t: Test, world: StoreWorld, random: Random): Promise<void> {
  const folder = fs.mkdtempSync(path.join(t.testdir(), 'x'))
  const paths = save(world, folder)
  const whole = new Map<string, Buffer>()
  for (const name of VOLUMES) whole.set(name, (await salvage(folder, paths, name)).image)
  for (let i = 0; i < DAMAGES_PER_SEED; i++) {
    const [disk, file] = random.pick(world.disks.map((disk, at) => [disk, paths[at]!] as const))
    const sector = random.pick(disk.writtenSectors())
    const fd = fs.openSync(file, 'r+')
    const before = Buffer.alloc(512)
    fs.readSync(fd, before, 0, 512, sector)
    const bytes = Buffer.from(before)
    const way = random.int(3)
    if (way === 0) bytes[random.int(512)]! ^= 1 << random.int(8)
    else bytes.fill(way === 1 ? 0 : 0xff)
    fs.writeSync(fd, bytes, 0, 512, sector)
    for (const name of VOLUMES) {
      const said = await salvage(folder, paths, name)
      const unmarked = differing(said.image, whole.get(name)!).filter((lba) => !said.ranges.some((range) =>
        range.offsetBytes <= lba * BLOCK_BYTES && lba * BLOCK_BYTES < range.offsetBytes + range.lengthBytes))
      if (unmarked.length === 0) continue
      t.fail(`${file}, sector at ${sector}, way ${way}: ${name} is wrong at ${unmarked.join()}`)
    }
    fs.writeSync(fd, before, 0, 512, sector)
    fs.closeSync(fd)
  }
  t.pass('no wrong byte outside the damage map')
}

/** The blocks in which two images of a volume differ. */
function differing(one: Uint8Array, other: Uint8Array): number[] {
  const block = (bytes: Uint8Array, lba: number): Uint8Array =>
    bytes.subarray(lba * BLOCK_BYTES, (lba + 1) * BLOCK_BYTES)
  return Array.from({ length: SIZE_BYTES / BLOCK_BYTES }, (_, lba) => lba)
    .filter((lba) => Buffer.compare(block(one, lba), block(other, lba)) !== 0)
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
  t.test(`seed ${seed} (again: OFFLINE_SEED=${seed} OFFLINE_SEEDS=1)`, async (t) => {
    const random = new Random(seed)
    let world = new StoreWorld({ seed, disks: 2, segments: 24 })
    const store = world.open()
    for (const name of VOLUMES) {
      world.await((done) => store.createVolume(world.spec(name, SIZE_BYTES), done))
    }
    for (let life = 0; life < 3; life++) {
      work(world, random, random.between(20, 60))
      const folder = fs.mkdtempSync(path.join(t.testdir(), 'x'))
      world = world.crash(crashOf(random), random.chance(0.3) ? 'lost' : { kind: 'synced' })
      const paths = save(world, folder)
      const verified = await offline('verify', ...paths)
      t.equal(verified.code, 0, verified.text.join('\n'))
      const images = []
      for (const name of VOLUMES) images.push(await salvage(folder, paths, name))
      world.open()
      const refused = world.events.filter(({ level }) => level === 'error').map(({ fields }) => fields)
      t.same(refused, [], 'the store opens')
      if (refused.length > 0) return
      for (const [i, name] of VOLUMES.entries()) {
        const { image, ranges } = images[i]!
        const served = new Uint8Array(SIZE_BYTES)
        t.equal(world.await<number>((done) => world.store!.device(name)!.read(0, served, done)), 0)
        t.same(differing(served, image), [], `life ${life}, volume ${name}: the blocks that differ`)
        t.same(ranges, [])
      }
    }
    // Idle for so long that everything is below the watermark: then no damage passes for a torn tail.
    world.clock.advance(5000)
    await damageEverywhere(t, world, random)
  })
}
