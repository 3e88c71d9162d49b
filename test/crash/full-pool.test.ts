/**
 * A full pool (C6): writes are held in order and go on when space comes back, reads, trims and deletes always work, a
 * hundred cycles leave nothing behind, and nothing is lost by a crash at the brim.
 */
import t, { type Test } from 'tap'
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { fsck } from '../sim/fsck.ts'
import { stamped, stampOf, StoreWorld } from '../sim/store-world.ts'

const SEGMENTS = 16
const SIZE_BYTES = 4 << 20
const CHUNK_BLOCKS = 8

class Pool {
  world = new StoreWorld({
    seed: 11,
    segments: SEGMENTS,
    segmentBytes: 128 * 1024,
    checkpointBytes: 128 * 1024,
    pagesMax: 4,
  })
  model = new Array<number>(SIZE_BYTES / 4096).fill(0)
  stamp = 1
  private readonly t: Test

  constructor(t: Test, change: Partial<VolumeSpec> = {}) {
    this.t = t
    this.world.open()
    this.create(change)
  }

  create(change: Partial<VolumeSpec> = {}, name = 'v'): void {
    const result = this.world.await<{ ok: boolean }>((done) =>
      this.world.store!.createVolume(this.world.spec(name, SIZE_BYTES, change), done),
    )
    this.t.ok(result.ok, `volume ${name} is created`)
    this.model.fill(0)
  }

  get device() {
    return this.world.store!.device('v')!
  }

  get held(): number {
    return this.world.store!.volume('v')!.heldRequests
  }

  /** Start a write of some blocks; the model has it when it is answered. */
  write(lba: number, count: number, answered: (errno: number) => void): void {
    const data = new Uint8Array(count * 4096)
    const first = this.stamp
    this.stamp += count
    for (let i = 0; i < count; i++) data.set(stamped(first + i), i * 4096)
    this.device.write(lba * 4096, data, false, (errno) => {
      if (errno === 0) for (let i = 0; i < count; i++) this.model[lba + i] = first + i
      answered(errno)
    })
  }

  /** Write from the front on until a write is held; answers how many blocks were taken. */
  fill(answers: number[] = []): number {
    let lba = 0
    while (this.held === 0 && lba < this.model.length) {
      this.write(lba, CHUNK_BLOCKS, (errno) => answers.push(errno))
      this.world.clock.runUntilIdle()
      if (this.held === 0) lba += CHUNK_BLOCKS
    }
    this.t.ok(this.held > 0, `the pool is full at ${lba} blocks`)
    return lba
  }

  trim(lba: number, count: number): void {
    this.t.equal(
      this.world.await<number>((done) => this.device.trim(lba * 4096, count * 4096, false, done)),
      0,
      'trim works when it is full',
    )
    this.model.fill(0, lba, lba + count)
  }

  verify(what: string): void {
    const into = new Uint8Array(SIZE_BYTES)
    this.t.equal(
      this.world.await<number>((done) => this.device.read(0, into, done)),
      0,
      `${what}: everything can be read`,
    )
    const wrong = this.model.findIndex((stamp, lba) => stampOf(into.slice(lba * 4096, (lba + 1) * 4096)) !== stamp)
    this.t.equal(wrong, -1, `${what}: every block is right`)
    this.t.strictSame(fsck(this.world), [], `${what}: fsck`)
  }
}

t.test('writes are held, reads go on, a trim lets them through', (t) => {
  const pool = new Pool(t)
  const answers: number[] = []
  const full = pool.fill(answers)
  t.ok(full >= (SEGMENTS - 8) * 28, 'most of the disk was used')
  const status = pool.world.store!.volume('v')!
  t.match(status, { health: 'suspended', healthReason: /pool-full/ }, 'and says so')
  const before = answers.length
  pool.world.clock.advance(30_000)
  t.equal(answers.length, before, 'it is held, not refused')
  pool.trim(0, 64)
  pool.world.clock.runUntilIdle()
  t.equal(pool.held, 0, 'it went on')
  t.equal(answers.length, before + 1)
  t.ok(
    answers.every((errno) => errno === 0),
    'no write failed',
  )
  t.equal(pool.world.store!.volume('v')!.health, 'healthy')
  pool.verify('after the trim')
  t.end()
})

t.test('what a deletion frees is given back in few checkpoints, so that who is held is held once', (t) => {
  const pool = new Pool(t)
  pool.fill()
  pool.create({}, 'w')
  const [stream] = pool.world.store!.streams()
  let checkpoints = 0
  const makeCheckpoint = stream!.makeCheckpoint.bind(stream)
  stream!.makeCheckpoint = (done) => {
    checkpoints++
    makeCheckpoint(done)
  }
  let answer: number | undefined
  pool.world.store!.device('w')!.write(0, stamped(1), false, (errno) => (answer = errno))
  pool.world.clock.runUntilIdle()
  t.equal(answer, undefined, 'a write of another volume is held, too')
  const freeBefore = stream!.freeSegments
  pool.world.await((done) => pool.world.store!.deleteVolume('v', done))
  pool.world.clock.runUntil(() => answer !== undefined)
  t.equal(answer, 0)
  t.ok(stream!.freeSegments - freeBefore >= SEGMENTS / 2, `free: ${freeBefore}, then ${stream!.freeSegments}`)
  t.ok(checkpoints <= 4, `after ${checkpoints} checkpoints`)
  t.end()
})

t.test('a hundred cycles of full and empty', (t) => {
  const pool = new Pool(t)
  let first = 0
  for (let cycle = 0; cycle < 100; cycle++) {
    let lba = 0
    while (pool.held === 0) {
      pool.write(lba % pool.model.length, CHUNK_BLOCKS, () => {})
      pool.world.clock.runUntilIdle()
      lba += CHUNK_BLOCKS
      if (lba > 4 * pool.model.length) throw new Error(`cycle ${cycle}: it is never full`)
    }
    if (cycle === 0) first = lba
    else if (lba < first - 4 * CHUNK_BLOCKS) t.fail(`cycle ${cycle}: full at ${lba} blocks, at first it was ${first}`)
    pool.device.trim(0, SIZE_BYTES, false, () => {})
    pool.model.fill(0)
    pool.world.clock.runUntilIdle()
    if (pool.held !== 0) throw new Error(`cycle ${cycle}: the held write is not answered`)
    if (cycle % 25 === 0) {
      pool.world = pool.world.crash({ kind: 'synced' }, cycle % 50 === 0 ? 'lost' : { kind: 'all' })
      pool.world.open()
      pool.world.clock.runUntilIdle()
      t.strictSame(fsck(pool.world), [], `cycle ${cycle}: fsck after a crash`)
    }
  }
  t.pass('each holds as much as the first')
  t.end()
})

t.test('deleting gives the space back, also to a volume that waits for it', (t) => {
  const pool = new Pool(t)
  pool.create({}, 'w')
  const full = pool.fill()
  t.ok(full > 0)
  const other = pool.world.await<number>((done) => pool.world.store!.device('w')!.read(0, new Uint8Array(4096), done))
  t.equal(other, 0, 'the other volume is read')
  let answered = -1
  pool.world.store!.device('w')!.write(0, stamped(7), false, (errno) => (answered = errno))
  pool.world.clock.runUntilIdle()
  t.equal(answered, -1, 'its write waits too')
  const gone = pool.world.await<{ ok: boolean }>((done) => pool.world.store!.deleteVolume('v', done))
  t.ok(gone.ok, 'a delete works when it is full')
  pool.world.clock.runUntilIdle()
  t.equal(answered, 0, 'and the write goes on')
  t.strictSame(fsck(pool.world), [])
  t.end()
})

t.test('nothing is lost by a crash at the brim', (t) => {
  for (const index of ['synced', 'lost'] as const) {
    const pool = new Pool(t)
    pool.fill()
    for (let i = 0; i < 5; i++) {
      pool.world = pool.world.crash({ kind: 'synced' }, index === 'lost' ? 'lost' : { kind: 'synced' })
      pool.world.open()
      pool.world.clock.runUntilIdle()
    }
    pool.verify(`five crashes (index ${index})`)
    pool.trim(0, 200)
    let answered = -1
    pool.write(0, CHUNK_BLOCKS, (errno) => (answered = errno))
    pool.world.clock.runUntilIdle()
    t.equal(answered, 0, 'and it is writable again')
    pool.verify('afterwards')
  }
  t.end()
})

t.test('overwriting goes on at 95 % of what fits', (t) => {
  const pool = new Pool(t)
  const full = pool.fill()
  pool.trim(0, full + CHUNK_BLOCKS)
  pool.world.clock.runUntilIdle()
  const live = Math.floor((full * 0.95) / CHUNK_BLOCKS) * CHUNK_BLOCKS
  const random = pool.world.random.fork('overwrite')
  let failed = 0
  for (let lba = 0; lba < live; lba += CHUNK_BLOCKS) {
    pool.write(lba, CHUNK_BLOCKS, (errno) => (failed += errno))
    pool.world.clock.runUntilIdle()
  }
  for (let i = 0; i < 400; i++) {
    pool.write(random.int(live - 4), 1 + random.int(4), (errno) => (failed += errno))
    pool.world.clock.runUntilIdle()
    if (pool.held > 0) pool.world.clock.advance(1000)
    if (pool.held > 0) throw new Error(`overwrite ${i} is held for ever`)
  }
  t.equal(failed, 0)
  pool.verify('400 random overwrites')
  t.end()
})

t.test('on-full: error answers at once; a held write ends when its time is over', (t) => {
  const impatient = new Pool(t, { onFull: 'error' })
  let errno = 0
  for (let lba = 0; errno === 0 && lba < impatient.model.length; lba += CHUNK_BLOCKS) {
    impatient.write(lba, CHUNK_BLOCKS, (answer) => (errno = answer))
    impatient.world.clock.runUntilIdle()
  }
  t.equal(errno, NBD_ERRNO.ENOSPC, 'ENOSPC')
  impatient.verify('what was accepted')

  const waiting = new Pool(t, { ioTimeoutMs: 5000 })
  const answers: number[] = []
  waiting.fill(answers)
  waiting.world.clock.advance(4000)
  t.equal(answers.at(-1), 0, 'after 4 s it still waits')
  waiting.world.clock.advance(1500)
  waiting.world.clock.runUntilIdle()
  t.equal(answers.at(-1), NBD_ERRNO.ENOSPC, 'after 5 s it has failed')
  t.equal(waiting.held, 0)
  answers.length = 0
  waiting.write(0, CHUNK_BLOCKS, (answer) => answers.push(answer))
  waiting.world.clock.runUntilIdle()
  t.strictSame(answers, [], 'the next one is held anew')
  waiting.trim(0, 100)
  waiting.world.clock.runUntilIdle()
  t.strictSame(answers, [0])
  waiting.verify('after the time-out')
  t.end()
})
