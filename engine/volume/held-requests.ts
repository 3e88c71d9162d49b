/**
 * Requests that wait for space in the pool, in order of arrival; what needs none (a trim) does not wait behind what
 * does. After the volume's time-out they fail; later ones are held anew.
 */
import { NBD_ERRNO } from '../errors.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { ClockPort } from '../ports.ts'
import type { Done } from './block-device.ts'

export interface Held {
  isData: boolean
  shortOf(): StoreStream | undefined
  run: () => void
  done: Done
  sinceMs: number
}

export interface HeldRequestsOptions {
  clock: ClockPort
  ioTimeoutMs(): number
  /** The first one waits for space in this stream. */
  onShort(stream: StoreStream | undefined): void
}

export class HeldRequests {
  private readonly o: HeldRequestsOptions
  private held: Held[] = []
  private timer: { cancel(): void } | undefined

  constructor(options: HeldRequestsOptions) {
    this.o = options
  }

  get count(): number {
    return this.held.length
  }

  hold(one: Held): void {
    this.held.push(one)
    this.o.onShort(this.held[0]!.shortOf())
    const timeoutMs = this.o.ioTimeoutMs()
    if (timeoutMs === 0 || this.timer !== undefined) return
    this.timer = this.o.clock.after(timeoutMs, () => this.expire())
  }

  /** What was held for the time-out fails; what comes later is held anew. */
  private expire(): void {
    this.timer = undefined
    const timeoutMs = this.o.ioTimeoutMs()
    const now = this.o.clock.nowMs()
    const expired = this.held.filter((held) => now - held.sinceMs >= timeoutMs)
    this.held = this.held.filter((held) => now - held.sinceMs < timeoutMs)
    if (this.held.length > 0)
      this.timer = this.o.clock.after(Math.max(1, this.held[0]!.sinceMs + timeoutMs - now), () => this.expire())
    for (const held of expired) held.done(NBD_ERRNO.ENOSPC)
  }

  /** Space may have come back. */
  retry(): void {
    for (;;) {
      const next = this.held.findIndex((one, i) => (i === 0 || !one.isData) && one.shortOf() === undefined)
      if (next < 0) break
      this.held.splice(next, 1)[0]!.run()
    }
    if (this.held.length > 0) return this.o.onShort(this.held[0]!.shortOf())
    this.timer?.cancel()
    this.timer = undefined
  }

  close(): void {
    this.timer?.cancel()
    for (const held of this.held.splice(0)) held.done(NBD_ERRNO.ESHUTDOWN)
  }
}

/** Room for so many blocks of data behind what is queued; without data down to the last segments. */
export function roomFor(stream: StoreStream, blocks: number, isData: boolean): boolean {
  const { log } = stream
  const spare = stream.freeSegments - (isData ? stream.context.holdSegments : 1)
  if (spare <= 0) return isData ? false : log.openBlocksLeft > 4 || spare > 0
  const queued = log.queuedBlocks + Math.ceil(log.queuedBlocks / 8) + 8
  return spare * (log.segmentBlocks - 4) + log.openBlocksLeft >= queued + blocks + Math.ceil(blocks / 8)
}
