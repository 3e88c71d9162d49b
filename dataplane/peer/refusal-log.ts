/** Events about what was refused: of each kind the first, then how many there were (told-kinds.ts). */
import type { ClockPort, LogPort } from '../../engine/ports.ts'
import { ToldKinds } from '../../engine/told-kinds.ts'

export class RefusalLog {
  readonly #log: LogPort
  readonly #clock: Pick<ClockPort, 'nowMs'>
  readonly #kinds: ToldKinds

  constructor(options: { log: LogPort; clock: Pick<ClockPort, 'nowMs'>; everyMs: number }) {
    this.#log = options.log
    this.#clock = options.clock
    this.#kinds = new ToldKinds(options.everyMs)
  }

  /** @param kind what is the same about them: node or address, and what they did */
  refused(message: string, kind: string, fields: Record<string, string | number>): void {
    const untold = this.#kinds.tell(kind, this.#clock.nowMs())
    if (untold === undefined) return
    this.#log.event('warn', message, untold > 0 ? { ...fields, moreSinceLast: untold } : fields)
  }
}
