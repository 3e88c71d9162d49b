/**
 * The cluster store as its users have to expect it: one key, replaced by linearizable compare-and-swap on an opaque
 * version; everything else is unsure. A CAS whose answer does not come (`unknown`) was applied, was not, or will be
 * later, after others came between or not. A read sees every CAS that ended before it began. Watches are hints: late,
 * out of order, repeated; lost with the watch, which is renewed some time later, and whoever missed something, and
 * nobody else, is told what is there by then. While it is out, nothing is applied and nobody is answered but with
 * `unknown`.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'

export type CasOutcome = { outcome: 'won' | 'lost' | 'unknown'; version: string | undefined }

export interface ClusterStoreOptions {
  delayMs: [least: number, most: number]
  /** A user is told `unknown` when nothing came by then. */
  timeoutMs: number
  requestLossRate: number
  answerLossRate: number
  /** A request that is applied long after its user gave up. */
  lateRate: number
  hintLossRate: number
  hintDelayMs: [least: number, most: number]
}

export class ClusterStore {
  options: ClusterStoreOptions
  readonly counts = { reads: 0, won: 0, lost: 0, unknown: 0, unknownApplied: 0, late: 0 }
  /** Every value that was ever there, in order. */
  readonly history: VersionedConfig[]
  onWon: ((value: VersionedConfig, by: string) => void) | undefined
  /** Users whose way to the store is cut. */
  readonly unreachableFor: Set<string>
  private readonly outage: { isOut: boolean }
  private readonly clock: SimClock
  private readonly renewMs: number
  private readonly random: Random
  private readonly watchers = new Map<string, (value: VersionedConfig) => void>()
  /** Who missed something, and was not told anew since. */
  private readonly missed = new Set<string>()
  private versions = 1

  /**
   * @param renewMs  until a watch that lost something is renewed
   * @param beside  another key of the same store: it is out, or out of reach, together with that one
   */
  constructor(
    clock: SimClock,
    random: Random,
    options: ClusterStoreOptions,
    initial: VolumeConfig,
    renewMs: number,
    beside?: ClusterStore,
  ) {
    this.unreachableFor = beside?.unreachableFor ?? new Set()
    this.outage = beside?.outage ?? { isOut: false }
    this.clock = clock
    this.renewMs = renewMs
    this.random = random
    this.options = options
    this.history = [{ config: initial, version: 'v1' }]
  }

  get isOut(): boolean {
    return this.outage.isOut
  }

  set isOut(isOut: boolean) {
    this.outage.isOut = isOut
  }

  get current(): VersionedConfig {
    return this.history.at(-1)!
  }

  watch(user: string, hint: (value: VersionedConfig) => void): void {
    this.watchers.set(user, hint)
  }

  read(user: string, ended: (value: VersionedConfig | undefined) => void): void {
    this.counts.reads++
    let isOver = false
    const end = (value: VersionedConfig | undefined) => {
      if (isOver) return
      isOver = true
      ended(value)
    }
    this.clock.after(this.options.timeoutMs, () => end(undefined))
    if (this.isLost(user, this.options.requestLossRate)) return
    this.clock.after(this.delayMs(), () => {
      if (this.isOut) return
      const value = this.current
      if (!this.isLost(user, this.options.answerLossRate)) this.clock.after(this.delayMs(), () => end(value))
    })
  }

  compareAndSwap(user: string, version: string, config: VolumeConfig, ended: (outcome: CasOutcome) => void): void {
    let isOver = false
    let isApplied = false
    const end = (outcome: CasOutcome) => {
      if (isOver) return
      isOver = true
      this.counts[outcome.outcome]++
      if (outcome.outcome === 'unknown' && isApplied) this.counts.unknownApplied++
      ended(outcome)
    }
    this.clock.after(this.options.timeoutMs, () => end({ outcome: 'unknown', version: undefined }))
    if (this.isLost(user, this.options.requestLossRate)) return
    const isLate = this.random.chance(this.options.lateRate)
    const delayMs = isLate ? this.options.timeoutMs * (0.5 + this.random.float() * 3) : this.delayMs()
    this.clock.after(delayMs, () => {
      if (this.isOut) return
      if (isOver) this.counts.late++
      const won = this.current.version === version
      isApplied = won
      if (won) this.replace(config, user)
      const outcome: CasOutcome = won
        ? { outcome: 'won', version: this.current.version }
        : { outcome: 'lost', version: undefined }
      if (!this.isLost(user, this.options.answerLossRate)) this.clock.after(this.delayMs(), () => end(outcome))
    })
  }

  private replace(config: VolumeConfig, by: string): void {
    const value: VersionedConfig = { config, version: `v${++this.versions}` }
    this.history.push(value)
    this.onWon?.(value, by)
    for (const [user, hint] of this.watchers) {
      if (this.unreachableFor.has(user) || this.random.chance(this.options.hintLossRate)) {
        this.miss(user)
        continue
      }
      const [least, most] = this.options.hintDelayMs
      this.clock.after(least + this.random.float() * (most - least), () => hint(value))
      // Now and then something old again.
      if (this.random.chance(this.options.hintLossRate)) {
        const old = this.random.pick(this.history)
        this.clock.after(least + this.random.float() * most * 2, () => hint(old))
      }
    }
  }

  private miss(user: string): void {
    if (this.missed.has(user)) return
    this.missed.add(user)
    const renew = (): void => {
      if (this.isOut || this.unreachableFor.has(user)) return void this.clock.after(this.renewMs, renew)
      this.missed.delete(user)
      this.watchers.get(user)?.(this.current)
    }
    this.clock.after(this.renewMs, renew)
  }

  private isLost(user: string, rate: number): boolean {
    return this.isOut || this.unreachableFor.has(user) || this.random.chance(rate)
  }

  private delayMs(): number {
    const [least, most] = this.options.delayMs
    return least + this.random.float() * (most - least)
  }
}
