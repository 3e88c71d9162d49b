/**
 * Faults and actions that wait for a moment: each is armed with a sign (a message of a kind leaves, a CAS is asked or
 * won, a copy takes a role) and begins with the next one, so long after it, on one of the two whom the sign is about.
 * That is how a seed meets the few microseconds in which a promise is told and not yet kept. A sign that does not come
 * within a while is not waited for.
 */
import type { SimClock } from '../clock.ts'

export const SIGNS = [
  'append',
  'stored',
  'sync',
  'refused',
  'new-epoch',
  'promised',
  'fetch-log',
  'log',
  'reconcile',
  'hello',
  'release',
  'confirm',
  'confirmed',
  'fence',
  'fenced',
  'join',
  'fill-start',
  'fill-started',
  'fill',
  'filled',
  'fill-end',
  'fill-ended',
  // Of the cluster store: asked, then won.
  'cas',
  'new-primary',
  'set-grew',
  'set-shrank',
  // Roles.
  'candidate',
  'reconciling',
  'primary',
  'handing-over',
  // To clients.
  'opened',
  'reply',
] as const
export type Sign = (typeof SIGNS)[number]

export interface Aim {
  sign: Sign
  afterMs: number
  at: 'who' | 'other'
}

export interface Scene {
  who: string
  other: string
}

interface Armed {
  sign: Sign
  begin: (scene: Scene | undefined) => void
}

const KNOWN: ReadonlySet<string> = new Set(SIGNS)

export class Aims {
  private armed: Armed[] = []
  private readonly clock: SimClock

  constructor(clock: SimClock) {
    this.clock = clock
  }

  /** `begin` runs once: with the next such sign, or without one after `patienceMs`. */
  arm(sign: Sign, patienceMs: number, begin: (scene: Scene | undefined) => void): void {
    const one: Armed = { sign, begin }
    this.armed.push(one)
    this.clock.after(patienceMs, () => {
      if (!this.armed.includes(one)) return
      this.armed = this.armed.filter((other) => other !== one)
      begin(undefined)
    })
  }

  saw(sign: string, who: string, other: string): void {
    if (this.armed.length === 0 || !KNOWN.has(sign)) return
    const at = this.armed.findIndex((one) => one.sign === sign)
    if (at < 0) return
    const [one] = this.armed.splice(at, 1)
    one!.begin({ who, other })
  }

  /** Nothing is waited for any more. */
  clear(): void {
    this.armed = []
  }
}
