/**
 * The turns of a data worker. Whatever happens (a frame came, a disk answered, a timer ran, a client asked) becomes an
 * event in somebody's inbox; once a turn, in the check phase of the loop, all of it is worked off:
 *
 *   before      the links look at the clocks: who stood still must know before he judges anything (SPEC L6)
 *   drain       each member takes its inbox; what members of this worker tell each other is taken in the same turn
 *   after       messages leave, merged; calls of the cluster store begin
 *   deferred    the store forms its batch, connections write: one batch, one write to a socket, for the whole turn
 *
 * So group commit and batching need no timer: what came while the former turn ran shares the next one.
 *
 * It is the `ClockPort` of the store and of the connections of its worker: what they put off inside a turn runs at the
 * end of that turn rather than one cycle of the loop later. Put off outside of a turn, or by what was put off, it runs
 * in the next cycle.
 */
import type { ClockPort } from '../../engine/ports.ts'

/** Where the events of one machine wait. */
export class Inbox<E> {
  readonly #loop: TurnLoop
  readonly #step: (event: E, next: E | undefined) => void
  readonly #ended: () => void
  #events: E[] = []

  /**
   * @param step   runs for each event, in order, and is shown the one behind it
   * @param ended  when the inbox is empty
   */
  constructor(loop: TurnLoop, step: (event: E, next: E | undefined) => void, ended: () => void = () => undefined) {
    this.#loop = loop
    this.#step = step
    this.#ended = ended
  }

  get isEmpty(): boolean {
    return this.#events.length === 0
  }

  put(event: E): void {
    if (this.#events.push(event) === 1) this.#loop.ready(this as Inbox<unknown>)
  }

  /** Of the loop. */
  drain(): void {
    const events = this.#events
    this.#events = []
    for (let i = 0; i < events.length; i++) this.#step(events[i]!, events[i + 1])
    this.#ended()
  }
}

export class TurnLoop implements ClockPort {
  readonly #clock: ClockPort
  readonly #before: Array<() => void> = []
  readonly #after: Array<() => void> = []
  #ready: Array<Inbox<unknown>> = []
  #deferred: Array<() => void> = []
  #isDue = false
  #isRunning = false
  #isStopped = false
  /** When the turn began that runs, or ran last: for who may be late by a turn. A look at the clock costs 0.2 us. */
  turnMs = 0

  constructor(clock: ClockPort) {
    this.#clock = clock
  }

  nowMs(): number {
    return this.#clock.nowMs()
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    return this.#clock.after(delayMs, run)
  }

  defer(run: () => void): void {
    if (this.#isRunning) this.#deferred.push(run)
    else this.#clock.defer(run)
  }

  /** Of every turn that is to come. */
  beforeEach(run: () => void): void {
    this.#before.push(run)
  }

  afterEach(run: () => void): void {
    this.#after.push(run)
  }

  ready(inbox: Inbox<unknown>): void {
    this.#ready.push(inbox)
    this.askForTurn()
  }

  /** A turn although nobody got an event. */
  askForTurn(): void {
    if (this.#isDue || this.#isRunning || this.#isStopped) return
    this.#isDue = true
    this.#clock.defer(this.#turn)
  }

  /** No turn runs any more. */
  stop(): void {
    this.#isStopped = true
  }

  readonly #turn = (): void => {
    this.#isDue = false
    if (this.#isStopped) return
    this.#isRunning = true
    this.turnMs = this.#clock.nowMs()
    for (const run of this.#before) run()
    while (this.#ready.length > 0) {
      const ready = this.#ready
      this.#ready = []
      for (const inbox of ready) inbox.drain()
    }
    for (const run of this.#after) run()
    this.#isRunning = false
    if (this.#ready.length > 0) this.askForTurn()
    if (this.#deferred.length === 0) return
    const deferred = this.#deferred
    this.#deferred = []
    for (const run of deferred) run()
  }
}
