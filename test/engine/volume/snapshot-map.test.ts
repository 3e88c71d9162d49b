/**
 * Risk: the map of a snapshot misses a version that lies where it was not looked for (before its page, in a delta,
 * under a range tombstone, among older versions), or ends before the end without saying so.
 */
import t, { type Test } from 'tap'
import type { SnapshotPlace } from '../../../engine/replication/messages.ts'
import { SNAPSHOT_RUN_KIND } from '../../../engine/replication/messages.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const { data, zero, hole } = SNAPSHOT_RUN_KIND
const MIB = 2 ** 20

/** A copy of 64 MiB in epoch 1, with short words for what happens to it. */
class Story {
  world: CopyWorld
  private seq = 1
  private stamp = 1
  private readonly t: Test

  constructor(t: Test, options: { segments?: number; pagesMax?: number } = {}) {
    this.t = t
    this.world = new CopyWorld({ seed: 5, segments: 60, ...options }, { sizeBytes: 64 * MIB })
    this.world.open()
    this.world.epoch(1, 1)
    this.apply()
  }

  private apply(): void {
    this.world.settle()
    this.world.copy.apply(this.seq, { at: this.seq })
  }

  write(lba: number, blockCount = 1): void {
    const stamps = Array.from({ length: blockCount }, () => this.stamp++)
    this.world.append(write(1, ++this.seq, lba, stamps))
    this.apply()
  }

  clear(kind: 'zero' | 'trim', lba: number, blockCount: number): void {
    this.world.append({ kind, epoch: 1, seq: ++this.seq, request: undefined, lba, blockCount })
    this.apply()
  }

  snapshot(id: string): void {
    this.world.control(1, ++this.seq, { operation: 'snapshot', id })
    this.apply()
  }

  back(to: string): void {
    this.world.control(1, ++this.seq, { operation: 'rollback', to })
    this.apply()
  }

  delete(id: string): void {
    this.world.control(1, ++this.seq, { operation: 'snapshot-delete', id })
    this.apply()
  }

  /** Everything is in the index, nothing in memory. */
  restart(): void {
    this.world.world.clock.runUntilIdle()
    this.world = this.world.crash('kill', { kind: 'all' })
    this.world.open()
    this.world.copy.apply(this.seq, { at: this.seq })
  }

  place(id: string): SnapshotPlace {
    const { epoch, seq } = this.world.copy.snapshot(id)!
    return { id, epoch, seq }
  }

  /** All of it, answer by answer. */
  map(id: string, sinceId?: string): { runs: number[]; answers: number } {
    const end = (64 * MIB) / 4096
    const runs: number[] = []
    const since = sinceId === undefined ? undefined : this.place(sinceId)
    let answers = 0
    for (let lba = 0; lba < end; answers++) {
      const token = this.world.begin((token) =>
        this.world.copy.mapSnapshot(token, this.place(id), { lba, blockCount: end - lba, since }))
      let event = this.world.answerTo(token)
      this.world.world.clock.runUntil(() => (event ??= this.world.answerTo(token)) !== undefined)
      if (event?.type !== 'mapped' || !event.ok) throw new Error('no map')
      runs.push(...event.runs)
      if (event.endLba <= lba) throw new Error('it does not get on')
      lba = event.endLba
    }
    return { runs, answers }
  }

  shows(id: string, sinceId: string | undefined, runs: number[], what: string): void {
    this.t.same(this.map(id, sinceId).runs, runs, what)
  }
}

t.test('what waits for its page, what is in it, and what lies in the index', (t) => {
  const story = new Story(t)
  story.write(5, 2)
  story.snapshot('a')
  story.shows('a', undefined, [5, 2, data], 'never checkpointed, no page in memory')
  story.world.readStamps(5, 1)
  story.write(6)
  story.snapshot('b')
  story.shows('b', 'a', [6, 1, data], 'in memory')
  story.restart()
  story.shows('b', 'a', [6, 1, data], 'in the index')
  story.write(7)
  story.write(5)
  story.snapshot('c')
  story.shows('c', 'b', [5, 1, data, 7, 1, data], 'beside what the index has')
  story.shows('b', 'c', [5, 1, data, 7, 1, hole], 'either way')
  story.shows('a', undefined, [5, 2, data], 'older versions')
  t.end()
})

t.test('zeroes and trims over pages that nobody looked at', (t) => {
  const story = new Story(t)
  for (const lba of [0, 300, 600, 1000]) story.write(lba)
  story.snapshot('a')
  story.restart()
  story.clear('trim', 256, 512)
  story.clear('zero', 1000, 2)
  story.clear('trim', 8000, 1024)
  story.snapshot('b')
  story.shows('b', 'a', [300, 1, hole, 600, 1, hole, 1000, 1, zero], 'only what showed something else')
  story.shows('b', undefined, [0, 1, data, 1000, 2, zero], 'what is there')
  story.restart()
  story.shows('b', 'a', [300, 1, hole, 600, 1, hole, 1000, 1, zero], 'again')
  t.end()
})

t.test('rollbacks, also one that is rolled away', (t) => {
  const story = new Story(t)
  story.write(1)
  story.snapshot('a')
  story.write(1)
  story.write(2)
  story.snapshot('b')
  story.back('a')
  story.write(3)
  story.snapshot('c')
  story.shows('c', 'a', [3, 1, data], 'what was hidden is not seen')
  story.shows('c', 'b', [1, 1, data, 2, 1, hole, 3, 1, data], 'against what was rolled away')
  story.back('b')
  story.snapshot('d')
  story.shows('d', 'b', [], 'nothing')
  story.restart()
  story.shows('d', 'c', [1, 2, data, 3, 1, hole], 'in the index')
  t.end()
})

t.test('more entries than one piece has, of pages and of older versions', (t) => {
  const story = new Story(t, { segments: 200 })
  for (let page = 0; page < 64; page++) for (let i = 0; i < 12; i++) story.write(page * 256 + 20 * i)
  story.snapshot('a')
  story.restart()
  for (let page = 0; page < 64; page++) story.write(page * 256 + 20)
  story.snapshot('b')
  story.restart()
  const all = Array.from({ length: 64 * 12 }, (_, k) => [Math.floor(k / 12) * 256 + 20 * (k % 12), 1, data]).flat()
  const changed = Array.from({ length: 64 }, (_, page) => [page * 256 + 20, 1, data]).flat()
  story.shows('a', undefined, all, 'all')
  story.shows('b', 'a', changed, 'what changed')
  t.end()
})

t.test('one that is deleted is gone, whatever is left of it', (t) => {
  const story = new Story(t)
  story.write(1)
  story.snapshot('a')
  story.write(1)
  const place = story.place('a')
  story.delete('a')
  const ask = (run: (token: number) => void) => {
    const token = story.world.begin(run)
    let event = story.world.answerTo(token)
    story.world.world.clock.runUntil(() => (event ??= story.world.answerTo(token)) !== undefined)
    return event
  }
  const { copy } = story.world
  t.match(ask((token) => copy.readSnapshot(token, place, 1, 1)), { ok: false, isGone: true })
  t.match(ask((token) => copy.mapSnapshot(token, place, { lba: 0, blockCount: 9, since: undefined })), { isGone: true })
  story.snapshot('b')
  const wrong = { ...story.place('b'), epoch: 9 }
  t.match(ask((token) => copy.readSnapshot(token, wrong, 1, 1)), { isGone: true }, 'another one of that id')
  t.end()
})
