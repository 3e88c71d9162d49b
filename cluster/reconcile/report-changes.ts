/**
 * What the next report of a node tells of its copies: all that changed since the last one that was taken, but of
 * copies that are being written only as many as the elected node wants to hear of, in turn. A second of a large cluster
 * changes the seq of every volume, and taking in a copy costs the elected node 20 us.
 *
 * Invariant: what anything is decided by is told in the report behind its change. Of the figures that is whether
 * anything was ever written, since what holds nothing gets a file system (csi/SPEC.md S4).
 */
import type { CopyStatus, NodeStatus } from '../../engine/control/node-status.ts'
import { isSameCopy } from './node-calls.ts'
import type { ReportAnswer } from './node-calls.ts'

/** Copies of which nothing but figures changed that all nodes together tell of in a second, of up to 500 nodes. */
const FIGURES_MAX = 2000
/** By one node, however many there are. */
const FIGURES_LEAST = 4

/** How many a report of one of so many nodes may tell of. */
export const figuresShare = (nodes: number): number => Math.max(FIGURES_LEAST, Math.floor(FIGURES_MAX / nodes))

/**
 * They follow from each write, and are for people: also what a forced promotion is said to cost. For what a copy will
 * take of another node `usedBytes` is an estimate as it is; what a disk has left is told in each report.
 */
type Figures = Pick<CopyStatus, 'seq' | 'commitSeq' | 'usedBytes' | 'logicalBytes' | 'heldRequests'>

export interface Changes {
  status: NodeStatus
  isWhole: boolean
  gone: string[]
}

export class ReportedCopies {
  /** By volume, as the elected node took them last; undefined: it knows nothing, or perhaps. */
  #told: Map<string, CopyStatus> | undefined
  /** Of copies with figures alone; 0: all. */
  #share = 0
  /** Where among the copies the next turn begins. */
  #turn = 0

  changes(status: NodeStatus): Changes {
    const told = this.#told
    if (told === undefined) return { status, isWhole: true, gone: [] }
    let known = 0
    const copies: CopyStatus[] = []
    const figures: number[] = []
    for (const [index, copy] of status.copies.entries()) {
      const before = told.get(copy.volumeId)
      if (before !== undefined) known++
      if (before !== undefined && isSameCopy(before, copy)) continue
      if (before === undefined || copy.isVirgin || isEmpty(before) !== isEmpty(copy)) copies.push(copy)
      else if (!isSameCopy(withFigures(before, copy), copy)) copies.push(copy)
      else figures.push(index)
    }
    for (const index of this.#inTurn(figures)) copies.push(status.copies[index]!)
    const gone = known === told.size ? [] : goneOf(told, status)
    return { status: { ...status, copies }, isWhole: false, gone }
  }

  /** What was told is known there from now on, or nothing is. */
  answered({ status, isWhole, gone }: Changes, { isTaken, figures }: ReportAnswer): void {
    if (!isTaken) return void (this.#told = undefined)
    this.#share = figures
    if (isWhole) this.#told = new Map()
    const told = this.#told!
    for (const volumeId of gone) told.delete(volumeId)
    for (const copy of status.copies) told.set(copy.volumeId, copy)
  }

  #inTurn(indices: readonly number[]): readonly number[] {
    if (this.#share === 0 || indices.length <= this.#share) return indices
    const first = indices.findIndex((index) => index >= this.#turn)
    const from = Math.max(0, first)
    const chosen = [...indices.slice(from), ...indices.slice(0, from)].slice(0, this.#share)
    this.#turn = chosen.at(-1)! + 1
    return chosen
  }
}

const isEmpty = ({ logicalBytes }: CopyStatus): boolean => logicalBytes === 0

/** As it was, with the figures of now. */
function withFigures(before: CopyStatus, now: CopyStatus): CopyStatus {
  const { seq, commitSeq, usedBytes, logicalBytes, heldRequests } = now
  const figures: Figures = { seq, commitSeq, usedBytes, logicalBytes, heldRequests }
  return { ...before, ...figures }
}

function goneOf(told: ReadonlyMap<string, CopyStatus>, { copies }: NodeStatus): string[] {
  const there = new Set(copies.map(({ volumeId }) => volumeId))
  return [...told.keys()].filter((volumeId) => !there.has(volumeId))
}
