/**
 * Which blocks of a volume got other versions in one stream, so that what differs between two snapshots is known
 * without a look at what did not change: noted when a version comes into the map, written by the checkpoint that writes
 * the version, read by `change-reading.ts`, kept short by `change-merging.ts`.
 *
 *   version applied -> note --checkpoint--> `d` values of the index, one for each slice and checkpoint
 *
 * Invariants
 * - G1 a version behind a mark (`Views.markBelow`) is noted in the turn in which it enters the map, and the checkpoint
 *   that takes it takes the note.
 * - G2 all that one `d` value tells lies between two neighbouring marks, where its key's seq lies.
 * - G3 as written it tells only what was written last; where that depends on an order it says `look` (change-set.ts).
 * Memory: 16 B a note since the last checkpoint; a record makes one at most.
 */
import { SLICE_BLOCKS } from '../units.ts'
import type { Views } from '../volume/views.ts'
import { CHANGE, ChangePaint, encodeChanges, type Change } from './change-set.ts'
import { ENTRY_KIND, type EntryKind } from './entry.ts'
import { changeKey } from './index-keys.ts'

const NOTE_WORDS = 4
const FIRST_NOTES = 64
/** So many values of a slice are looked at together. */
const VALUES_MAX = 16

/** What came behind one mark, in order of seq or in any order. */
interface Group {
  mark: number
  isOrdered: boolean
  /** Of the key: a seq between the marks. */
  seq: number
}

interface Edit {
  slice: number
  key: Uint8Array
  /** Undefined: the key goes. */
  value: Uint8Array | undefined
}

export class ChangeLog {
  /** Slice, first block of it, 2 * blocks + (look ? 1 : 0), number of the group. */
  private notes = new Uint32Array(FIRST_NOTES * NOTE_WORDS)
  private count = 0
  private groups: Group[] = []
  /** By mark, of what comes in any order. */
  private readonly unordered = new Map<number, number>()
  private orderedGroup = -1
  /** Changes of `d` values that wait for a checkpoint, by key. */
  private edits = new Map<string, Edit>()
  editBytes = 0
  /** Values of a slice since they were last looked at. */
  private readonly values = new Map<number, number>()
  /** Slices were forgotten: what was read before counts for nothing. */
  losses = 0

  /** Live, in order of seq. */
  noteOrdered(views: Views, what: { lba: number; count: number; seq: number; kind: EntryKind }): void {
    const mark = views.markBelow(what.seq)
    if (mark === undefined) return
    if (this.orderedGroup < 0 || this.groups[this.orderedGroup]!.mark !== mark) {
      this.orderedGroup = this.groups.push({ mark, isOrdered: true, seq: what.seq }) - 1
    }
    this.push(what, this.orderedGroup)
  }

  /**
   * A version that is not the newest of all, but the newest of its block between two marks.
   * @param appliedSeq  marks behind it are not known yet: what lies there is told by its own seq
   */
  noteUnordered(
    views: Views,
    appliedSeq: number,
    what: { lba: number; count: number; seq: number; kind: EntryKind },
  ): void {
    const mark = what.seq > appliedSeq ? what.seq : views.markBelow(what.seq)
    if (mark === undefined) return
    let group = this.unordered.get(mark)
    if (group === undefined) {
      group = this.groups.push({ mark, isOrdered: false, seq: what.seq }) - 1
      this.unordered.set(mark, group)
    }
    const { seq } = this.groups[group]!
    this.groups[group]!.seq = Math.min(seq, what.seq)
    this.push(what, group)
  }

  private push({ lba, count, kind }: { lba: number; count: number; kind: EntryKind }, group: number): void {
    const slice = Math.floor(lba / SLICE_BLOCKS)
    const first = lba - slice * SLICE_BLOCKS
    const look = kind === ENTRY_KIND.data ? 0 : 1
    const { notes } = this
    const last = (this.count - 1) * NOTE_WORDS
    if (last >= 0 && notes[last] === slice && notes[last + 3] === group) {
      const size = notes[last + 2]!
      if ((size & 1) === look && notes[last + 1]! + (size >>> 1) === first) {
        notes[last + 2] = size + 2 * count
        return
      }
    }
    const at = last + NOTE_WORDS
    if (at === notes.length) {
      this.notes = new Uint32Array(notes.length * 2)
      this.notes.set(notes)
    }
    this.notes[at] = slice
    this.notes[at + 1] = first
    this.notes[at + 2] = 2 * count + look
    this.notes[at + 3] = group
    this.count++
  }

  /** Add what is noted of a slice with a seq in `above < seq <= upTo`, ends of which are marks. */
  addTo(paint: ChangePaint, slice: number, above: number, upTo: number): void {
    for (let at = 0; at < this.count * NOTE_WORDS; at += NOTE_WORDS) {
      if (this.notes[at] !== slice) continue
      const { seq } = this.groups[this.notes[at + 3]!]!
      if (seq > above && seq <= upTo) paint.add(...this.noteAt(at))
    }
  }

  private noteAt(at: number): [first: number, count: number, kind: Change] {
    const size = this.notes[at + 2]!
    return [this.notes[at + 1]!, size >>> 1, (size & 1) === 1 ? CHANGE.look : CHANGE.written]
  }

  /** Whether `d` values of this slice are about to change. */
  hasEdits(slice: number): boolean {
    for (const edit of this.edits.values()) if (edit.slice === slice) return true
    return false
  }

  /** @param value  undefined: the key goes */
  edit(slice: number, key: Uint8Array, value: Uint8Array | undefined): void {
    this.edits.set(key.join(), { slice, key, value })
    this.editBytes += key.length + (value?.length ?? 0)
  }

  /** Nothing of slices `first .. end - 1` is of this volume any more. What the index has of them is for the caller. */
  forget(first: number, end: number): void {
    this.losses++
    const { notes } = this
    let to = 0
    for (let at = 0; at < this.count * NOTE_WORDS; at += NOTE_WORDS) {
      if (notes[at]! >= first && notes[at]! < end) continue
      notes.copyWithin(to, at, at + NOTE_WORDS)
      to += NOTE_WORDS
    }
    this.count = to / NOTE_WORDS
    for (const [id, { slice }] of this.edits) if (slice >= first && slice < end) this.edits.delete(id)
    for (const slice of this.values.keys()) if (slice >= first && slice < end) this.values.delete(slice)
  }

  /** What a checkpoint writes of it. @param onPile  a slice has so many values that they should be merged */
  collect(
    { volume, checkpoint }: { volume: number; checkpoint: number },
    put: (key: Uint8Array, value: Uint8Array) => void,
    del: (key: Uint8Array) => void,
    onPile: (slice: number) => void,
  ): void {
    for (const { key, value } of this.edits.values()) {
      if (value === undefined) del(key)
      else put(key, value)
    }
    this.edits.clear()
    this.editBytes = 0
    if (this.count === 0) return
    for (const [slice, lists] of this.bySlice()) {
      for (const [group, list] of lists) {
        const { isOrdered, seq } = this.groups[group]!
        for (const at of list) {
          if (isOrdered) collectedPaint.put(...this.noteAt(at))
          else collectedPaint.add(...this.noteAt(at))
        }
        put(changeKey({ volume, slice, seq, checkpoint }), encodeChanges(collectedPaint))
        collectedPaint.clear()
      }
      const values = (this.values.get(slice) ?? 0) + lists.size
      this.values.set(slice, values >= VALUES_MAX ? 0 : values)
      if (values >= VALUES_MAX) onPile(slice)
    }
    this.count = 0
    this.groups = []
    this.unordered.clear()
    this.orderedGroup = -1
    if (this.notes.length > 65_536 * NOTE_WORDS) this.notes = new Uint32Array(FIRST_NOTES * NOTE_WORDS)
  }

  /** Where the notes lie, by slice and group, in order. */
  private bySlice(): Map<number, Map<number, number[]>> {
    const slices = new Map<number, Map<number, number[]>>()
    for (let at = 0; at < this.count * NOTE_WORDS; at += NOTE_WORDS) {
      const slice = this.notes[at]!
      const group = this.notes[at + 3]!
      let lists = slices.get(slice)
      if (lists === undefined) slices.set(slice, (lists = new Map<number, number[]>()))
      const list = lists.get(group)
      if (list === undefined) lists.set(group, [at])
      else list.push(at)
    }
    return slices
  }
}

/** Empty between two uses; a checkpoint is collected in one turn. */
const collectedPaint = new ChangePaint()
