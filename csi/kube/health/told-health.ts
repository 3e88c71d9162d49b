/**
 * Which volumes' health is to be told now (SPEC.md M2, M3). Pure: what was told last, and what is.
 *
 * Invariant: of a volume nothing is told twice in a row, nothing sooner than 30 s after the last, and what is true when
 * nothing changes any more has been told, but for `healthy` of one of which nothing was ever told.
 */
import type { VolumeHealth } from '../../../engine/volume/volume-spec.ts'
import { HEALTH_ORDER } from '../../../engine/control/health.ts'

export const TOLD_EVERY_MS = 30_000

export interface Told {
  health: VolumeHealth
  atMs: number
}

export interface SeenVolume {
  id: string
  health: VolumeHealth
}

export interface DueVolume<V extends SeenVolume> {
  volume: V
  isWorse: boolean
}

const rank = (health: VolumeHealth): number => HEALTH_ORDER.indexOf(health)

export class ToldHealth {
  readonly #told = new Map<string, Told>()

  /** Also of what somebody else told, before we began. */
  tell(id: string, told: Told): void {
    this.#told.set(id, told)
  }

  isKnown(id: string): boolean {
    return this.#told.has(id)
  }

  /** The worst first. @param volumes  all that there are; others are forgotten */
  due<V extends SeenVolume>(volumes: readonly V[], nowMs: number): Array<DueVolume<V>> {
    const there = new Set(volumes.map(({ id }) => id))
    for (const id of this.#told.keys()) if (!there.has(id)) this.#told.delete(id)
    const due = volumes.map((volume) => this.dueOf(volume, nowMs)).filter((one) => one !== undefined)
    return due.sort((a, b) => rank(b.volume.health) - rank(a.volume.health))
  }

  /** Undefined: nothing is to be told of it now. */
  dueOf<V extends SeenVolume>(volume: V, nowMs: number): DueVolume<V> | undefined {
    const { health, atMs } = this.#told.get(volume.id) ?? { health: 'healthy', atMs: -Infinity }
    if (health === volume.health || nowMs - atMs < TOLD_EVERY_MS) return undefined
    return { volume, isWorse: rank(volume.health) > rank(health) }
  }
}
