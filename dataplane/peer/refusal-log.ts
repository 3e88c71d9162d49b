/**
 * Events about what was refused, so that they are seen and cannot flood: the first of a kind is written at once, more
 * of the same within `everyMs` are counted, and the next line says how many there were. Kinds are bounded too; beyond
 * that strangers share one.
 */
import type { ClockPort, LogPort } from '../../engine/ports.ts'

const KINDS_MAX = 256
const OTHERS = '(others)'

export class RefusalLog {
  readonly #log: LogPort
  readonly #clock: Pick<ClockPort, 'nowMs'>
  readonly #everyMs: number
  readonly #kinds = new Map<string, { lastMs: number; unsaid: number }>()

  constructor(options: { log: LogPort; clock: Pick<ClockPort, 'nowMs'>; everyMs: number }) {
    this.#log = options.log
    this.#clock = options.clock
    this.#everyMs = options.everyMs
  }

  /** @param kind what is the same about them: node or address, and what they did */
  refused(message: string, kind: string, fields: Record<string, string | number>): void {
    const nowMs = this.#clock.nowMs()
    let known = this.#kinds.get(kind)
    if (known === undefined && this.#kinds.size >= KINDS_MAX) this.#forget(nowMs)
    if (known === undefined && this.#kinds.size >= KINDS_MAX) known = this.#kinds.get((kind = OTHERS))
    if (known !== undefined && nowMs - known.lastMs < this.#everyMs) {
      known.unsaid++
      return
    }
    const unsaid = known?.unsaid ?? 0
    this.#kinds.set(kind, { lastMs: nowMs, unsaid: 0 })
    this.#log.event('warn', message, unsaid > 0 ? { ...fields, moreSinceLast: unsaid } : fields)
  }

  /** Those that were quiet for long. */
  #forget(nowMs: number): void {
    for (const [kind, { lastMs }] of this.#kinds) if (nowMs - lastMs >= this.#everyMs) this.#kinds.delete(kind)
  }
}
