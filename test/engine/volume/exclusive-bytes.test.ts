/**
 * Risk: users delete the wrong snapshot, because what it would give back is not what they were told. Held against what
 * its deletion gives back in random histories, with rollbacks, trims and blobs of all lengths.
 */
import t from 'tap'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { runTask } from '../../../engine/task.ts'
import { CopyScrub, type ScrubTodo } from '../../../engine/volume/copy-scrub.ts'
import type { Snapshot } from '../../../engine/volume/descriptor.ts'
import { usageOf } from '../../../engine/volume/usage.ts'
import { CopyWorld, mixedWrite, write } from '../../sim/copy-world.ts'
import { Random } from '../../sim/random.ts'

const PASS_MS = 5_000_000

class History {
  readonly world: CopyWorld
  private readonly random: Random
  private seq = 1
  private names = 0

  constructor(seed: number, operations: number) {
    this.random = new Random(`alone ${seed}`)
    this.world = new CopyWorld({ seed, segments: 48, disks: 1 + (seed % 2) }, { sizeBytes: 4 << 20 })
    this.world.open()
    this.world.epoch(1, 1)
    this.goOn(operations)
  }

  get snapshots(): readonly Snapshot[] {
    return this.world.copy.bodies.now.snapshots
  }

  get usedBytes(): number {
    return usageOf(this.world.copy.targets).storedBytes
  }

  goOn(operations: number, mayRollBack = true): void {
    for (let i = 0; i < operations; i++) this.operate(mayRollBack)
    this.applied()
  }

  delete(id: string): void {
    this.change({ operation: 'snapshot-delete', id })
    this.applied()
    // What nobody shows is swept in the background.
    for (let i = 0; i < 4000; i++) this.world.world.clock.step()
  }

  private operate(mayRollBack: boolean): void {
    const { random, snapshots } = this
    const dice = random.int(100)
    const lba = random.pick([0, 3, 240, 600]) + random.int(8)
    if (dice < 60) {
      const stamps = Array.from({ length: 1 + random.int(5) }, () => 1 + random.int(1 << 20))
      return this.append(mixedWrite(1, ++this.seq, lba, stamps))
    }
    const run = { epoch: 1, request: undefined, lba, blockCount: 1 + random.int(6) }
    if (dice < 70) return this.append({ ...run, seq: ++this.seq, kind: random.pick(['trim', 'zero']) })
    if (dice < 88 || snapshots.length === 0) return this.change({ operation: 'snapshot', id: `s${++this.names}` })
    this.applied()
    if (dice < 95) return this.change({ operation: 'snapshot-delete', id: random.pick(this.snapshots).id })
    if (!mayRollBack) return
    const kept = random.chance(0.5) ? { kept: { id: `s${++this.names}` } } : {}
    this.change({ operation: 'rollback', to: random.pick(this.snapshots).id, ...kept })
  }

  private append(record: ReplicatedRecord): void {
    this.world.append(record)
  }

  private change(change: Parameters<CopyWorld['control']>[2]): void {
    this.world.control(1, ++this.seq, change)
  }

  private applied(): void {
    this.world.settle()
    this.world.copy.apply(this.seq, {})
  }
}

function scrubbed({ world }: History, how: ScrubTodo = 'anew', goesOn = true): CopyScrub {
  const scrub = new CopyScrub(world.copy, {
    wallMs: () => PASS_MS,
    pace: (_bytes, go) => go(goesOn),
    onProblem: (problem) => t.fail(problem),
  })
  let isOver = false
  runTask(scrub.openTask(), () => runTask(scrub.passTask('light', () => how), () => (isOver = true)))
  world.world.clock.runUntil(() => isOver)
  return scrub
}

const aloneOf = (scrub: CopyScrub, { world }: History, seq: number) => scrub.exclusive.of(world.copy.bodies.now, seq)

t.test('it is what the deletion gives back', (t) => {
  let some = 0
  for (let seed = 1; seed <= 12; seed++) {
    const { snapshots } = new History(seed, 150)
    for (const { id } of snapshots.slice(0, 6)) {
      const history = new History(seed, 150)
      const scrub = scrubbed(history)
      const { seq } = history.snapshots.find((one) => one.id === id)!
      const { bytes, atMs } = aloneOf(scrub, history, seq)
      t.equal(atMs, PASS_MS)
      const before = history.usedBytes
      history.delete(id)
      t.equal(before - history.usedBytes, bytes, `seed ${seed}, snapshot ${id}`)
      if (bytes > 0) some++
    }
  }
  t.ok(some > 12, `${some} of them had some`)
  t.end()
})

t.test('later it gives back no less, whatever was written and deleted since', (t) => {
  for (let seed = 21; seed <= 32; seed++) {
    const history = new History(seed, 120)
    const scrub = scrubbed(history)
    const known = new Map(history.snapshots.map(({ id, seq }) => [id, aloneOf(scrub, history, seq).bytes]))
    history.goOn(60, false)
    const anew = scrubbed(history)
    for (const { id, seq } of history.snapshots) {
      const now = aloneOf(anew, history, seq).bytes
      const former = aloneOf(scrub, history, seq)
      if (known.has(id)) t.ok(former.atMs === PASS_MS && now >= former.bytes, `seed ${seed}, snapshot ${id}`)
      else t.equal(former.atMs, 0, 'one that was made since is not known')
    }
  }
  t.end()
})

t.test('it is not known before a whole scrub, nor behind a rollback; a clone that reads it shows all of it', (t) => {
  const history = new History(3, 150)
  const [first] = history.snapshots
  const ended = scrubbed(history, 'anew', false)
  t.equal(aloneOf(ended, history, first!.seq).atMs, 0, 'it was ended')
  ended.exclusive.end()
  t.equal(aloneOf(ended, history, first!.seq).atMs, 0, 'and nothing of it is kept')
  t.equal(aloneOf(scrubbed(history, 'nothing'), history, first!.seq).atMs, 0)
  const scrub = scrubbed(history)
  const { now } = history.world.copy.bodies
  t.equal(scrub.exclusive.of(now, first!.seq).atMs, PASS_MS)
  const pinned = { ...now, copy: { ...now.copy, pins: [['c', first!.seq] as const] } }
  t.same(scrub.exclusive.of(pinned, first!.seq), { bytes: 0, atMs: PASS_MS })
  const back = { ...now, rollbacks: [...now.rollbacks, [first!.seq, 1000] as [number, number]] }
  t.equal(scrub.exclusive.of(back, first!.seq).atMs, 0)
  t.equal(scrub.exclusive.of({ ...now, copy: { ...now.copy, fills: 7 } }, first!.seq).atMs, 0)
  t.end()
})

t.test('of a block that was rolled back, too', (t) => {
  const history = new History(40, 0)
  const { world } = history
  world.append(write(1, 2, 7, [200]))
  world.control(1, 3, { operation: 'snapshot', id: 'a' })
  world.append(write(1, 4, 7, [400]))
  world.control(1, 5, { operation: 'snapshot', id: 'b' })
  world.control(1, 6, { operation: 'rollback', to: 'a' })
  world.settle()
  world.copy.apply(6, {})
  t.same(world.readStamps(7, 1), [200])
  const before = history.usedBytes
  t.equal(aloneOf(scrubbed(history), history, 5).bytes, 4096)
  world.control(1, 7, { operation: 'snapshot-delete', id: 'b' })
  world.settle()
  world.copy.apply(7, {})
  world.world.clock.runUntilIdle()
  t.equal(before - history.usedBytes, 4096)
  t.end()
})
