/** Work that is never done twice at a time, and once more when it is asked for meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Pulse } from '../../../cluster/pulse.ts'
import { clock } from '../../../dataplane/clock.ts'
import { WorkLoop } from '../../../cluster/reconcile/work-loop.ts'

/** Work that ends when the test says so. */
class Work {
  begun = 0
  atOnce = 0
  private end: () => void = () => {}
  private begin: () => void = () => {}

  run = async (): Promise<void> => {
    this.begun++
    this.atOnce++
    this.begin()
    await new Promise<void>((resolve) => (this.end = resolve))
    this.atOnce--
  }

  /** The next one. */
  begins(): Promise<void> {
    return new Promise<void>((resolve) => (this.begin = resolve))
  }

  /** Ends what is under way, and waits for what comes next. */
  async step(): Promise<void> {
    const next = this.begins()
    this.finish()
    await next
  }

  finish(): void {
    this.end()
  }
}

/** Of the loop, from the end of one to the next that is asked for. */
const GAP_MS = 10
const onBug = (error: unknown) => t.fail(String(error))

t.test('what is asked for while it is under way is done once more', async (t) => {
  const work = new Work()
  const loop = new WorkLoop({ work: work.run, pulse: new Pulse(3_600_000, clock), onBug })
  t.equal(work.begun, 1, 'it begins at once')
  for (let i = 0; i < 10; i++) loop.wake()
  t.same([work.begun, work.atOnce], [1, 1])
  await work.step()
  t.same([work.begun, work.atOnce], [2, 1], 'ten wishes, one more turn')
  loop.wake()
  const stopped = loop.stop()
  work.finish()
  await stopped
  t.same([work.begun, work.atOnce], [2, 0], 'a loop that is stopped begins nothing more')
})

t.test('it begins at once when it rested, and a moment later when it did not', async (t) => {
  const work = new Work()
  const loop = new WorkLoop({ work: work.run, pulse: new Pulse(3_600_000, clock), onBug })
  work.finish()
  await sleep(2 * GAP_MS)
  loop.wake()
  // Timers fire in the order of their times, however late.
  await sleep(GAP_MS / 2)
  t.equal(work.begun, 2)
  const beforeMs = performance.now()
  work.finish()
  await sleep(0)
  loop.wake()
  await work.begins()
  // A timer may be a millisecond early.
  t.ok(performance.now() - beforeMs >= GAP_MS - 1, 'what comes soon behind it is gathered')
  const stopped = loop.stop()
  work.finish()
  await stopped
})

t.test('it goes on by itself', async (t) => {
  const work = new Work()
  const loop = new WorkLoop({ work: work.run, pulse: new Pulse(1, clock), onBug })
  for (let turn = 2; turn <= 4; turn++) {
    await work.step()
    t.equal(work.begun, turn)
  }
  const stopped = loop.stop()
  work.finish()
  await stopped
})

t.test('a bug is told, and the loop goes on', async (t) => {
  let turns = 0
  const bug = new Error('the work has a bug')
  const told: unknown[] = []
  await new Promise<void>((resolve) => {
    const work = async () => {
      if (++turns === 1) throw bug
      resolve()
    }
    const loop = new WorkLoop({ work, pulse: new Pulse(1, clock), onBug: (error) => told.push(error) })
    t.teardown(() => loop.stop())
  })
  t.same(told, [bug])
})
