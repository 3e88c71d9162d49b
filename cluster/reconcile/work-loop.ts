/**
 * Work that is done every so often and as soon as somebody asks for it, never twice at a time. What is asked for while
 * it is under way is done once more afterwards; a short pause between gathers what comes together.
 */
const GAP_MS = 10

export class WorkLoop {
  private readonly work: () => Promise<void>
  private readonly everyMs: number
  private readonly onBug: (error: unknown) => void
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | undefined
  private isAsked = false
  private isStopped = false

  /** Begins with the first work at once. `work` rejects for bugs only. */
  constructor(options: { work: () => Promise<void>; everyMs: number; onBug: (error: unknown) => void }) {
    this.work = options.work
    this.everyMs = options.everyMs
    this.onBug = options.onBug
    this.begin()
  }

  wake(): void {
    if (this.isAsked || this.isStopped) return
    this.isAsked = true
    if (this.running === undefined) this.schedule(GAP_MS)
  }

  /** No more of it; what is under way is waited for. */
  async stop(): Promise<void> {
    this.isStopped = true
    clearTimeout(this.timer)
    await this.running
  }

  private schedule(afterMs: number): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.begin(), afterMs)
  }

  private begin(): void {
    this.isAsked = false
    this.running = this.work().catch(this.onBug).then(() => {
      this.running = undefined
      if (!this.isStopped) this.schedule(this.isAsked ? GAP_MS : this.everyMs)
    })
  }
}
