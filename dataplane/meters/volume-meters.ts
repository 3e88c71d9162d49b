/** The meters of the volumes that clients of a worker use: each lives as long as its volume is there. */
import type { AttachmentFigures } from '../../cluster/metrics/figures.ts'
import type { ClockPort } from '../../engine/ports.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { RequestMeter } from './request-meter.ts'

type Named = Pick<VolumeSpec, 'id' | 'name'>

/** `admit` and `compression` of a replicated volume. */
type FiguresBesides = Pick<AttachmentFigures, 'qosWaitedMs'> & Partial<Pick<AttachmentFigures, 'admit' | 'compression'>>

export class VolumeMeters {
  readonly #clock: ClockPort
  readonly #isThere: (volume: Named) => boolean
  readonly #byId = new Map<string, { name: string; meter: RequestMeter }>()

  /** @param isThere  whether a volume of that id still has that name */
  constructor(clock: ClockPort, isThere: (volume: Named) => boolean) {
    this.#clock = clock
    this.#isThere = isThere
  }

  of({ id, name }: Named): RequestMeter {
    const known = this.#byId.get(id)
    if (known !== undefined) return known.meter
    this.#forgetGone()
    const meter = new RequestMeter(this.#clock)
    this.#byId.set(id, { name, meter })
    return meter
  }

  /** @param besides  what others count of a volume */
  figures(besides: (volumeId: string) => FiguresBesides): AttachmentFigures[] {
    this.#forgetGone()
    return [...this.#byId].map(([volumeId, { name, meter }]) => ({
      volumeId, volume: name, ...meter.figures(), admit: undefined, compression: undefined, ...besides(volumeId),
    }))
  }

  #forgetGone(): void {
    for (const [id, { name }] of this.#byId) if (!this.#isThere({ id, name })) this.#byId.delete(id)
  }
}
