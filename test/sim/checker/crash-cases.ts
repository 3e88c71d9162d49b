/**
 * Crash tests that are exhaustive over something small (reliability.md 3.4): power cuts at every disk operation of a
 * scripted run (C1), of all short sequences of operations (C2), and while the store comes back, three deep (C3).
 */
import type { CrashChoice, SimDisk } from '../disk.ts'
import { Random } from '../random.ts'
import type { Operation, OperationKind } from './operations.ts'
import { StoreRun, type RunOptions } from './store-run.ts'

export interface CrashCounts {
  runs: number
  images: number
  seconds: number
}

/** A small disk, so that segments fill, are cleaned and come back within a short script. */
const SMALL: RunOptions = {
  seed: 1,
  timeTravel: true,
  fill: 0.12,
  volumesMax: 2,
  world: {
    disks: 1,
    segments: 12,
    segmentBytes: 64 * 1024,
    pagesMax: 3,
    checkpointBytes: 64 * 1024,
    pendingMax: 20,
    syncsMax: 2,
  },
}

const op = (kind: OperationKind, y: number, z: number, turns = 2): Operation => ({ kind, x: 0, y, z, turns })
/**
 * What the numbers of `StoreRun` mean for a write: y the place (first window, sector y / 16); z % 20 whole blocks or
 * narrow, z / 32 the length, bits 20 to 22 zero for FUA. Multiples of 160 change the length alone, of 3840 nothing
 * but the high bits.
 */
const place = (block: number, sector = 0): number => (block * 8 + sector) * 16
const PLAIN_BITS = 3840 * 360
const FUA_BITS = 3840 * 100
const wide = (blocks: number, bits = PLAIN_BITS): number => bits + 160 * ((5 * (blocks - 1)) % 6)
const narrow = (sectors: number): number => PLAIN_BITS + 12 + 160 * ((5 * (sectors - 1)) % 24)

/** Everything once, in an order that leaves work for checkpoint, cleaner and sweeps. */
export const SCRIPT: Operation[] = [
  op('write', place(0), wide(6)),
  op('write', place(6), wide(6)),
  op('write', place(3, 2), narrow(5)),
  op('snapshot', 0, 0),
  op('write', place(0), wide(4)),
  op('trim', place(2), wide(3)),
  op('flush', 0, 0),
  op('checkpoint', 0, 0, 30),
  op('write', place(8), wide(6)),
  op('zero', place(10), wide(2)),
  op('write', place(4), wide(6), 8),
  op('clean', 0, 0, 60),
  op('write', place(0), wide(5)),
  op('clone', 0, 0),
  op('write', place(1), wide(2)),
  op('rollback', 0, 0),
  op('write', place(7), wide(3)),
  op('read', place(0), wide(6)),
  op('unsnapshot', 0, 0, 30),
  op('resize', 0, 0),
  op('write', place(5, 3), narrow(3)),
  op('clean', 0, 0, 60),
  op('pause', 0, 0),
  op('delete', 0, 0, 30),
  op('write', place(2), wide(6)),
  op('checkpoint', 0, 0, 30),
  op('write', place(0), wide(1, FUA_BITS)),
]

/** Overwrites that fill, clean and reuse segments without a restart between. */
export const CYCLE: Operation[] = Array.from({ length: 24 }, (_, i) => {
  const write = op('write', place((i * 5) % 12), wide(6), 4)
  return i % 6 < 5 ? [write] : [write, op('checkpoint', 0, 0, 40), op('clean', 0, 0, 60)]
}).flat()

export interface ImageOptions {
  seed?: number
  /** Choices of what of the unsynced writes stays, at each operation. */
  choicesMost: number
  /** Of the disk operations every so many, beginning with `first`. */
  stride: number
  first?: number
  depth?: number
  indexes?: ReadonlyArray<'all' | 'synced' | 'subset' | 'lost'>
  options?: Partial<RunOptions>
}

/** C1 and C3: run a script and open images at its disk operations. Throws the first thing that is wrong. */
export function cutEverywhere(script: readonly Operation[], how: ImageOptions, counts: CrashCounts): void {
  const startedMs = performance.now()
  const random = new Random(`cut ${how.seed ?? 0}`)
  const run = new StoreRun({ ...SMALL, ...how.options, seed: how.seed ?? 1 })
  let operations = 0
  let inside = false
  for (const disk of run.world.disks)
    disk.onOperation = (what) => {
      // At a start a write is there or not, as it is among the choices; its end adds a choice only for syncs.
      if (inside || what === 'sync-start') return
      if ((operations++ + (how.first ?? 0)) % how.stride !== 0) return
      inside = true
      for (const choice of [...disk.crashChoices(random, how.choicesMost)])
        for (const index of how.indexes ?? ['all', 'synced', 'lost'])
          run.tryImage({
            random: random.fork('image'),
            disk: (one: SimDisk) => (one === disk ? choice : other(one, random)),
            index,
            check: operations % 7 === 0,
            depth: how.depth ?? 0,
            stride: 3,
          })
      inside = false
    }
  const calm = script.map((one) => ({ ...one }))
  try {
    run.runCalmly(calm)
  } finally {
    counts.runs++
    counts.images += run.counts.images
    counts.seconds += (performance.now() - startedMs) / 1000
  }
}

const other = (disk: SimDisk, random: Random): CrashChoice => random.pick([...disk.crashChoices(random, 4)])

/** C2: the kinds a sequence is made of. */
export const ALPHABET: Record<string, Operation> = {
  write: op('write', place(0), wide(3)),
  overwrite: op('write', place(1), wide(4)),
  narrow: op('write', place(1, 3), narrow(4)),
  trim: op('trim', place(0), wide(2)),
  zero: op('zero', place(2), wide(2)),
  flush: op('flush', 0, 0),
  fua: op('write', place(4), wide(1, FUA_BITS)),
  snapshot: op('snapshot', 0, 0),
  drop: op('unsnapshot', 0, 0, 30),
  clone: op('clone', 0, 0),
  rollback: op('rollback', 0, 0),
  delete: { ...op('delete', 0, 0, 30), x: 1 },
  resize: op('resize', 0, 0),
  checkpoint: op('checkpoint', 0, 0, 20),
  clean: op('clean', 0, 0, 60),
}

/** All sequences of this length, as lists of letters. */
export function* sequences(length: number): Generator<string[]> {
  if (length === 0) return yield []
  for (const shorter of sequences(length - 1)) for (const letter of Object.keys(ALPHABET)) yield [...shorter, letter]
}

/** Begin with something there: data in two blocks, a snapshot of it, and newer data. */
const BEGINNING: Operation[] = [
  op('write', place(0), wide(2), 30),
  op('snapshot', 0, 0, 30),
  op('write', place(1), wide(1), 30),
  op('settle', 0, 0),
]

export function trySequence(letters: readonly string[], how: ImageOptions, counts: CrashCounts): void {
  const script = letters.map((letter) => ALPHABET[letter]!)
  cutEverywhere([...BEGINNING, ...script], { ...how, options: { ...SMALL, ...how.options } }, counts)
}
