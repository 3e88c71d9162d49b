/**
 * A network as the protocol has to expect it: messages are lost, delayed, repeated, reordered (or kept in order, as a
 * stream of bytes does), and ways are cut one by one, each direction of its own. What is under way when a way is cut
 * may still arrive.
 */
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'

export interface NetworkOptions {
  delayMs: [least: number, most: number]
  lossRate: number
  duplicateRate: number
  /** How often a message takes up to ten times as long. */
  lateRate: number
  /** Each way delivers in the order of sending. */
  inOrder: boolean
}

export class Network {
  options: NetworkOptions
  readonly counts = { sent: 0, lost: 0, cut: 0, duplicated: 0 }
  private readonly clock: SimClock
  private readonly random: Random
  private readonly cuts = new Set<string>()
  /** Ways on which everything takes so much longer. */
  private readonly slow = new Map<string, number>()
  private readonly lastArrivalMs = new Map<string, number>()

  constructor(clock: SimClock, random: Random, options: NetworkOptions) {
    this.clock = clock
    this.random = random
    this.options = options
  }

  send(from: string, to: string, deliver: () => void): void {
    this.counts.sent++
    if (from === to) {
      this.clock.after(0, deliver)
      return
    }
    if (this.cuts.size > 0 && this.isCut(from, to)) {
      this.counts.cut++
      return
    }
    if (this.random.chance(this.options.lossRate)) {
      this.counts.lost++
      return
    }
    this.pass(from, to, deliver)
    if (this.random.chance(this.options.duplicateRate)) {
      this.counts.duplicated++
      this.pass(from, to, deliver)
    }
  }

  cut(from: string, to: string): void {
    this.cuts.add(`${from}>${to}`)
  }

  heal(from: string, to: string): void {
    this.cuts.delete(`${from}>${to}`)
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`)
  }

  /** All ways between the groups, in both directions. */
  partition(groups: ReadonlyArray<readonly string[]>): void {
    for (const one of groups) {
      for (const other of groups) {
        if (one !== other) for (const from of one) for (const to of other) this.cut(from, to)
      }
    }
  }

  /** 0: as fast as the others again. */
  slowDown(from: string, to: string, byMs: number): void {
    this.slow.set(`${from}>${to}`, byMs)
  }

  healAll(): void {
    this.cuts.clear()
    this.slow.clear()
  }

  private pass(from: string, to: string, deliver: () => void): void {
    const { delayMs, lateRate, inOrder } = this.options
    const least = delayMs[0]
    const most = delayMs[1]
    let atMs = this.clock.nowMs() + least + this.random.float() * (most - least)
    if (this.slow.size > 0) atMs += this.slow.get(`${from}>${to}`) ?? 0
    if (this.random.chance(lateRate)) atMs += this.random.float() * most * 10
    if (inOrder) {
      const way = `${from}>${to}`
      atMs = Math.max(atMs, this.lastArrivalMs.get(way) ?? 0)
      this.lastArrivalMs.set(way, atMs)
    }
    this.clock.after(atMs - this.clock.nowMs(), deliver)
  }
}
