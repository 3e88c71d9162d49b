/**
 * What became of older versions of one volume since the last durable checkpoint: where they lie now, or that they are
 * gone. A pass of the cleaner puts one for each block that it moves, and asks for each several times, so they lie in
 * one flat array, chained by block, and a table of places finds a version by its numbers.
 *
 * An entry in `words` is valid until the next `put` or `drop`: that may move all of them, or write over this one.
 * Memory: 48 to 96 B a change, and a number for each block that has any.
 */
import type { IndexOperation } from '../ports.ts'
import { copyEntry, ENTRY_BYTES, ENTRY_WORDS, epochOf, seqOf } from './entry.ts'
import { HISTORY_KEY_BYTES, putHistoryKey } from './index-keys.ts'

/** Slot: the block's former slot + 1, 1 if it is gone, the entry (of one that is gone epoch and seq count). */
const STRIDE = ENTRY_WORDS + 2
const FIRST_SLOTS = 64
const NO_WORDS = new Uint32Array(0)
const NO_LBAS = new Float64Array(0)
const NO_PLACES = new Int32Array(0)

/** Changes of all volumes of a stream that no checkpoint has taken yet. */
export interface HistoryTally {
  changes: number
}

export class HistoryChanges {
  words = NO_WORDS
  private readonly tally: HistoryTally
  private lbas = NO_LBAS
  /** Slot + 1 at the first free place from the version's hash on; a power of two, at least twice as many as slots. */
  private places = NO_PLACES
  /** Newest slot of each block. */
  private readonly heads = new Map<number, number>()
  private slots = 0

  constructor(tally: HistoryTally = { changes: 0 }) {
    this.tally = tally
  }

  /** Changes. */
  get size(): number {
    return this.slots
  }

  /** @returns where the entry stands in `words` */
  put(lba: number, entry: Uint32Array, entryAt = 0): number {
    const at = this.slotOf(lba, entry, entryAt)
    this.words[at - 1] = 0
    return at
  }

  /** Also when the index still has it. */
  drop(lba: number, entry: Uint32Array, entryAt = 0): void {
    const at = this.slotOf(lba, entry, entryAt)
    this.words[at - 1] = 1
  }

  /** Where the change of exactly this version stands in `words`; negative: it has none. */
  find(lba: number, epoch: number, seq: number): number {
    const { words, places, lbas } = this
    if (this.slots === 0) return -1
    const mask = places.length - 1
    for (let place = hashOf(lba, seq) & mask; ; place = (place + 1) & mask) {
      const slot = places[place]! - 1
      if (slot < 0) return -1
      const at = slot * STRIDE + 2
      if (lbas[slot] === lba && epochOf(words, at) === epoch && seqOf(words, at) === seq) return at
    }
  }

  isGone(at: number): boolean {
    return this.words[at - 1] === 1
  }

  /** All, in the order in which versions were changed first. */
  each(visit: (lba: number, at: number) => void): void {
    for (let slot = 0; slot < this.slots; slot++) visit(this.lbas[slot]!, slot * STRIDE + 2)
  }

  /** Those of blocks `first .. end - 1`. */
  eachWithin(first: number, end: number, visit: (lba: number, at: number) => void): void {
    if (end - first > this.slots) {
      this.each((lba, at) => {
        if (lba >= first && lba < end) visit(lba, at)
      })
      return
    }
    for (let lba = first; lba < end; lba++)
      for (let slot = this.heads.get(lba) ?? -1; slot >= 0; slot = this.words[slot * STRIDE]! - 1)
        visit(lba, slot * STRIDE + 2)
  }

  /**
   * What the index of a checkpoint gets of it. Key and value are used again for the next one, and nothing may be put or
   * dropped before the end.
   */
  *operations(volume: number): Generator<IndexOperation> {
    const { words } = this
    const view = new DataView(new ArrayBuffer(HISTORY_KEY_BYTES))
    const key = new Uint8Array(view.buffer)
    const bytes = new Uint8Array(words.buffer)
    const value = new Uint8Array(ENTRY_BYTES)
    for (let slot = 0; slot < this.slots; slot++) {
      const at = slot * STRIDE + 2
      putHistoryKey(view, 0, { volume, lba: this.lbas[slot]!, epoch: epochOf(words, at), seq: seqOf(words, at) })
      if (this.isGone(at)) {
        yield { type: 'del', key }
        continue
      }
      for (let i = 0; i < ENTRY_BYTES; i++) value[i] = bytes[at * 4 + i]!
      yield { type: 'put', key, value }
    }
  }

  /** Of keys and values of those. */
  operationBytes(): number {
    let gone = 0
    for (let slot = 0; slot < this.slots; slot++) gone += this.words[slot * STRIDE + 1]!
    return this.slots * (HISTORY_KEY_BYTES + ENTRY_BYTES) - gone * ENTRY_BYTES
  }

  clear(): void {
    this.heads.clear()
    this.slots = 0
    this.words = NO_WORDS
    this.lbas = NO_LBAS
    this.places = NO_PLACES
  }

  private slotOf(lba: number, entry: Uint32Array, entryAt: number): number {
    const found = this.find(lba, epochOf(entry, entryAt), seqOf(entry, entryAt))
    if (found >= 0) {
      copyEntry(entry, entryAt, this.words, found)
      return found
    }
    const slot = this.slots++
    this.tally.changes++
    if (this.slots > this.lbas.length) this.grow()
    const at = slot * STRIDE + 2
    this.words[at - 2] = (this.heads.get(lba) ?? -1) + 1
    copyEntry(entry, entryAt, this.words, at)
    this.lbas[slot] = lba
    this.heads.set(lba, slot)
    this.place(slot)
    return at
  }

  private place(slot: number): void {
    const { places } = this
    const mask = places.length - 1
    let place = hashOf(this.lbas[slot]!, seqOf(this.words, slot * STRIDE + 2)) & mask
    while (places[place] !== 0) place = (place + 1) & mask
    places[place] = slot + 1
  }

  private grow(): void {
    const slots = Math.max(FIRST_SLOTS, 2 * this.lbas.length)
    const { words, lbas } = this
    this.words = new Uint32Array(slots * STRIDE)
    this.lbas = new Float64Array(slots)
    this.places = new Int32Array(2 * slots)
    this.words.set(words)
    this.lbas.set(lbas)
    for (let slot = 0; slot < lbas.length; slot++) this.place(slot)
  }
}

/** Of the low 32 bits of both; epochs of one seq are few. */
function hashOf(lba: number, seq: number): number {
  const h = Math.imul(Math.imul(lba, 0x9e3779b1) ^ Math.imul(seq, 0xc2b2ae35), 0x85ebca6b)
  return h ^ (h >>> 15)
}
