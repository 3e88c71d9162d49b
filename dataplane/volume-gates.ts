/**
 * The gates of the volumes that clients of this worker use (engine/volume/qos-gate.ts), by volume id. A gate stays when
 * the last connection goes, so that nobody gets a full bucket by connecting again.
 */
import type { ClockPort } from '../engine/ports.ts'
import { QosGate } from '../engine/volume/qos-gate.ts'
import type { QosLimit } from '../engine/volume/qos-gate.ts'
import type { QosLimits } from '../engine/volume/qos-limits.ts'

export class VolumeGates {
  readonly #clock: Pick<ClockPort, 'nowMs' | 'after'>
  readonly #byId = new Map<string, QosGate>()

  constructor(clock: Pick<ClockPort, 'nowMs' | 'after'>) {
    this.#clock = clock
  }

  /** @param limits  to begin with, when it is asked for the first time */
  of(volumeId: string, limits?: QosLimits): QosGate {
    const known = this.#byId.get(volumeId)
    if (known !== undefined) return known
    const gate = new QosGate(this.#clock)
    gate.change(limits)
    this.#byId.set(volumeId, gate)
    return gate
  }

  change(volumeId: string, limits: QosLimits | undefined): void {
    this.of(volumeId).change(limits)
  }

  /** It is no volume of this worker any more. */
  forget(volumeId: string): void {
    this.#byId.delete(volumeId)
  }

  /** Time in which requests waited for its limits, by which. */
  waitedMs(volumeId: string): Record<QosLimit, number> {
    return this.#byId.get(volumeId)?.waitedMs() ?? { iops: 0, bandwidth: 0 }
  }
}
