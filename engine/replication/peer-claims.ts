/**
 * Whether what a peer says of a log can be, before anything of it is believed. A peer of our own text says nothing
 * else; one that was broken into says what it likes, and shall be refused rather than break a promise of ours. Whoever
 * has the port hears of it: to a simulation it is a bug.
 */
import { BLOCK_BYTES, VOLUME_BYTES_MAX } from '../units.ts'
import type { CopyReport, PeerMessage } from './messages.ts'
import type { EpochHistory } from './record-id.ts'
import type { ReplicatedRecord } from './record.ts'

/** What comes before a run of records. `epoch` 0: none has begun; undefined: it is not known any more. */
export interface RunStart {
  seq: number
  epoch: number | undefined
}

/** @returns why records are no part of a log that goes on behind `start`, under this epoch at most */
export function runProblem(
  records: readonly ReplicatedRecord[], start: RunStart, epochMax: number, known: EpochHistory,
): string | undefined {
  let { seq, epoch } = start
  for (const record of records) {
    if (record.seq !== ++seq) return 'I5: its records do not follow each other'
    if (record.epoch > epochMax) return 'I4: a record is of a later epoch than its message'
    if (record.kind === 'control' && record.change.operation === 'epoch') {
      const { epochs } = record.change
      const begun = epochs.at(-1)
      if (begun === undefined || begun[0] !== record.epoch || begun[1] !== seq) {
        return 'I5: an epoch does not name itself'
      }
      if (epoch !== undefined && record.epoch <= epoch) return 'I1: its epochs do not grow'
      if (isOtherHistory(epochs.slice(0, -1), known)) return 'its epochs began elsewhere'
    } else if (record.epoch === 0 || record.epoch !== (epoch ?? record.epoch)) {
      return 'I5: a record is of an epoch that has not begun'
    }
    epoch = record.epoch
  }
  return undefined
}

/** @returns why a copy with such a log cannot be one of this volume */
export function reportProblem({ epochs, tail, durableSeq }: CopyReport, known: EpochHistory): string | undefined {
  if (isOtherHistory(epochs, known)) return 'its epochs began elsewhere'
  if (durableSeq > tail || (epochs.at(-1)?.[1] ?? 0) > tail) return 'its log ends before what it has of it'
  return undefined
}

type FillStart = Extract<PeerMessage, { type: 'fill-start' }>

/** @returns why no source would fill a copy so that has committed up to there, of slices of this size */
export function fillProblem(message: FillStart, commitSeq: number, sliceBytes: number): string | undefined {
  const { epoch, fork, target, epochs, sizeBytes, slices } = message
  const { sliceCount = Math.ceil(sizeBytes / sliceBytes) } = message
  const last = epochs.at(-1)
  if (fork > target || (fork > 0 && target < commitSeq)) return 'I11: its filling ends before what is committed'
  if (last === undefined ? target > 0 : last[0] > epoch || last[1] > target) return 'its epochs end elsewhere'
  if (sizeBytes <= 0 || sizeBytes > VOLUME_BYTES_MAX || sizeBytes % BLOCK_BYTES !== 0) return 'no volume has that size'
  if (sliceCount * sliceBytes > VOLUME_BYTES_MAX) return 'no volume has so many slices'
  const isWithin = slices.every(([slice, base]) => slice < sliceCount && base <= target)
  return isWithin && new Set(slices.map(([slice]) => slice)).size === slices.length ? undefined
    : 'it fills what the volume has not'
}

/** An epoch begins at one seq. */
function isOtherHistory(epochs: EpochHistory, known: EpochHistory): boolean {
  return epochs.some(([epoch, firstSeq]) => known.some(([one, first]) => one === epoch && first !== firstSeq))
}
