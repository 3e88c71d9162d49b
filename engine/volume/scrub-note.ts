/**
 * How far scrubs of a copy came on one disk, and what they found: a key of the disk's index (FORMAT.md section 5,
 * `c`), written by itself and not with a checkpoint. So it takes no room of the log, and nothing of the map depends on
 * it: lost with the index, the next scrub begins anew.
 */
import { parseJson } from '../log/checkpoint.ts'
import { scrubKey } from '../log/index-keys.ts'
import type { DamagedId, VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import type { Target } from './block-reader.ts'
import type { WalkPlace } from './deep-walk.ts'

export type ScrubKind = 'light' | 'deep'

export interface ScrubCounts {
  /** Looked at. */
  blocks: number
  /** Found damaged. */
  damaged: number
  /** Where map and segments do not agree. */
  problems: number
}

/** And where it is. */
export type RunningScrub = ScrubCounts & WalkPlace & { beganAtMs: number }

export interface ScrubTrack {
  /** Wall clock, milliseconds since 1970, of the last scrub that came to its end; 0: none did. */
  endedAtMs: number
  /** What it found. */
  last: ScrubCounts
  /** One that is under way, or was when the process ended. */
  running?: RunningScrub
}

export interface ScrubNote {
  format: 1
  /** Another copy's scrubs say nothing of this one. */
  copyId: string
  light: ScrubTrack
  deep: ScrubTrack
  /** Found by the last deep one or the one under way, and damaged still when they were looked at last. */
  left: DamagedId[]
  /** Of which every member said, when it was asked last, that it lacks it or cannot read it either (SPEC.md D4). */
  lost: VersionId[]
}

export const noCounts = (): ScrubCounts => ({ blocks: 0, damaged: 0, problems: 0 })

const newTrack = (): ScrubTrack => ({ endedAtMs: 0, last: noCounts() })

/** What is there; a new one when there is none, or it is another copy's, or cannot be read. */
export function* readScrubNote({ stream, map }: Target, copyId: string): Task<ScrubNote> {
  const bytes = yield* until<Uint8Array | undefined>((resume) =>
    stream.context.index.getMany([scrubKey(map.number)], (ok, [value]) => resume(ok ? value : undefined)),
  )
  const found = bytes === undefined ? undefined : (parseJson(bytes) as ScrubNote | undefined)
  // A version of before knew nothing of lost ones.
  if (found?.format === 1 && found.copyId === copyId) return { ...found, lost: found.lost ?? [] }
  return { format: 1, copyId, light: newTrack(), deep: newTrack(), left: [], lost: [] }
}

/** Ends when it is durable, or cannot be. */
export function* writeScrubNote({ stream, map }: Target, note: ScrubNote): Task<void> {
  if (stream.failed || map.isGone) return
  const value = new TextEncoder().encode(JSON.stringify(note))
  const key = scrubKey(map.number)
  yield* until<boolean>((resume) => stream.context.index.batch([{ type: 'put', key, value }], resume))
}
