/**
 * Work that is done every so often and as soon as somebody asks for it, never twice at a time. What is asked for while
 * it is under way is done once more afterwards, and what comes soon behind it a moment later, together: who rests
 * begins at once, and who is asked all the time begins every `GAP_MS`.
 */
import type { Pulse } from '../pulse.ts'

const GAP_MS = 10

export interface WorkLoopOptions {
  work: () => Promise<void>
  /** It begins at its beats, but for the first time and when somebody asks. */
  pulse: Pulse
  /** Not more than that from the end of one to the next; undefined: as the pulse. */
  everyMs?: number
  onBug: (error: unknown) => void
}

export class WorkLoop {
  private readonly work: () => Promise<void>
  private readonly everyMs: number
  private readonly onBug: (error: unknown) => void
  private readonly pulse: Pulse
  private cancel: () => void = () => undefined
  private running: Promise<void> | undefined
  private isAsked = false
  private isStopped = false
  private endedAtMs = -Infinity

  /** Begins with the first work at once. `work` rejects for bugs only. */
  constructor(options: WorkLoopOptions) {
    const { work, pulse, everyMs = pulse.everyMs, onBug } = options
    this.work = work
    this.pulse = pulse
    this.everyMs = everyMs
    this.onBug = onBug
    this.begin()
  }

  wake(): void {
    if (this.isAsked || this.isStopped) return
    this.isAsked = true
    if (this.running === undefined) this.schedule()
  }

  /** No more of it; what is under way is waited for. */
  async stop(): Promise<void> {
    this.isStopped = true
    this.cancel()
    await this.running
  }

  private schedule(): void {
    this.cancel()
    const begin = (): void => this.begin()
    if (this.isAsked) {
      const timer = setTimeout(begin, Math.max(0, this.endedAtMs + GAP_MS - performance.now()))
      this.cancel = () => clearTimeout(timer)
    } else this.cancel = this.pulse.next(begin, this.everyMs)
  }

  private begin(): void {
    this.isAsked = false
    this.running = this.work().catch(this.onBug).then(() => {
      this.running = undefined
      this.endedAtMs = performance.now()
      if (!this.isStopped) this.schedule()
    })
  }
}
