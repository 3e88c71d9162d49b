/**
 * What the clients of one volume ask for on this node, and how long it takes: counted where requests are given to the
 * volume and where they end, over all connections.
 *
 *   begin  parsed and admitted (D3) -> given to the volume      end  the volume answered      left  the reply is out
 *
 * Unanswered requests form a list in order of arrival, so that the oldest is known at any moment. I/O is *held* while
 * the oldest waits for longer than a second. Between two ends the oldest one does not change, so the time is added up
 * at each end, and when somebody looks; no timer runs for it.
 */
import type { AttachmentFigures } from '../../cluster/metrics/figures.ts'
import type { ClockPort } from '../../engine/ports.ts'
import {
  NBD_CMD_BLOCK_STATUS, NBD_CMD_CACHE, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES,
} from '../nbd/protocol.ts'
import { LatencyHistogram } from './latency-histogram.ts'

/** A request that waits for longer counts as held: nothing but a state that passes takes a volume so long. */
export const HELD_AFTER_MS = 1000

const OPERATIONS: ReadonlyArray<[command: number, operation: string]> = [
  [NBD_CMD_READ, 'read'], [NBD_CMD_WRITE, 'write'], [NBD_CMD_FLUSH, 'flush'], [NBD_CMD_TRIM, 'trim'],
  [NBD_CMD_WRITE_ZEROES, 'zero'], [NBD_CMD_CACHE, 'cache'], [NBD_CMD_BLOCK_STATUS, 'block-status'],
]
const COMMANDS = 1 + Math.max(...OPERATIONS.map(([command]) => command))

/** Part of a request under way: the meter's while it is. */
export interface MeteredRequest {
  readonly type: number
  readonly lengthBytes: number
  beganMs: number
  older: MeteredRequest | undefined
  newer: MeteredRequest | undefined
}

export class RequestMeter {
  readonly reply = new LatencyHistogram()
  readonly #clock: ClockPort
  readonly #requests = new Float64Array(COMMANDS)
  readonly #errors = new Float64Array(COMMANDS)
  readonly #bytes = new Float64Array(COMMANDS)
  readonly #latencies = Array.from({ length: COMMANDS }, () => new LatencyHistogram())
  /** The clock, as it was looked at last: two looks a request would be a fortieth of what a read costs. */
  #nowMs = 0
  #oldest: MeteredRequest | undefined
  #newest: MeteredRequest | undefined
  #unanswered = 0
  #heldMs = 0
  /** Until when held time is in `#heldMs`. */
  #heldUntilMs = 0

  constructor(clock: ClockPort) {
    this.#clock = clock
  }

  /** Before the requests of one event begin; each begins when the one before it ended, if that did meanwhile. */
  look(): void {
    this.#nowMs = this.#clock.nowMs()
  }

  begin(request: MeteredRequest): void {
    request.beganMs = this.#nowMs
    request.older = this.#newest
    request.newer = undefined
    if (this.#newest === undefined) this.#oldest = request
    else this.#newest.newer = request
    this.#newest = request
    this.#unanswered++
  }

  /** @returns the time, for `left` */
  end(request: MeteredRequest, isError: boolean): number {
    const nowMs = this.#nowMs = this.#clock.nowMs()
    this.#addHeld(nowMs)
    if (request.older === undefined) this.#oldest = request.newer
    else request.older.newer = request.newer
    if (request.newer === undefined) this.#newest = request.older
    else request.newer.older = request.older
    request.older = request.newer = undefined
    this.#unanswered--
    const { type } = request
    this.#requests[type]!++
    if (isError) this.#errors[type]!++
    if (type !== NBD_CMD_FLUSH) this.#bytes[type]! += request.lengthBytes
    this.#latencies[type]!.observe(nowMs - request.beganMs)
    return nowMs
  }

  /** The kernel has the replies of requests that ended at these times. */
  left(endedMs: readonly number[]): void {
    const nowMs = this.#clock.nowMs()
    for (const atMs of endedMs) this.reply.observe(nowMs - atMs)
  }

  figures(): Omit<AttachmentFigures, 'volumeId' | 'volume' | 'admit' | 'qosWaitedMs' | 'compression'> {
    const nowMs = this.#clock.nowMs()
    this.#addHeld(nowMs)
    return {
      operations: OPERATIONS.map(([command, operation]) => ({
        operation,
        requests: this.#requests[command]!,
        errors: this.#errors[command]!,
        bytes: this.#bytes[command]!,
        latency: this.#latencies[command]!.figures(),
      })),
      reply: this.reply.figures(),
      heldMs: this.#heldMs,
      unanswered: this.#unanswered,
      oldestMs: this.#oldest === undefined ? 0 : nowMs - this.#oldest.beganMs,
    }
  }

  #addHeld(nowMs: number): void {
    if (this.#oldest === undefined) return
    const fromMs = this.#oldest.beganMs + HELD_AFTER_MS
    if (nowMs <= fromMs) return
    this.#heldMs += nowMs - Math.max(fromMs, this.#heldUntilMs)
    this.#heldUntilMs = nowMs
  }
}
