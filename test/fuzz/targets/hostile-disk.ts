/**
 * A disk that somebody made: a store that was killed at its work, then its structures changed, under a checksum that
 * fits everything. Promises: opening it, with its index and without, answers a store; reading what its volumes show,
 * and the store's own work after that, break no assert. What is read is not looked at: whoever makes checksums fit
 * makes data too.
 */
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import type { Crc32c } from '../../../engine/ports.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { freeze, openStore, ScriptedWork, thaw, workVolume } from '../../crash/scripted-work.ts'
import type { Frozen } from '../../crash/scripted-work.ts'
import { DiskImage } from '../../sim/disk-image.ts'
import type { Random } from '../../sim/random.ts'
import { StoreWorld } from '../../sim/store-world.ts'
import { jsonMutated } from '../json-mutation.ts'
import { DrawnFrom } from '../target.ts'
import type { Target } from '../target.ts'

/** Of a store with most of what there may be on a disk; of one that opens ten times as quickly. */
const LARGE = { segments: 10, rounds: 8, windows: [[0, 20], [250, 12]] } as const
const SMALL = { segments: 6, rounds: 2, windows: [[0, 6], [254, 3]] } as const
/** One of so many inputs is of the large one. */
const LARGE_EVERY = 64
/** Of one of so many, the store's own work that follows is looked at too. */
const WORK_EVERY = 4
const SEGMENT_BYTES = 64 * 1024
const EDITS_MAX = 5
const MAGICS = ['HFST', 'HFBT', 'HFSG', 'HFTR', '{"form']
const NUMBERS = [0, 1, 2, 3, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
const crc32c: Crc32c = () => 0

interface Scene {
  work: ScriptedWork
  frozen: Frozen
  /** Offsets of the blocks that structures lie in. */
  structures: number[]
}

function makeScene({ segments, rounds, windows }: typeof LARGE | typeof SMALL): Scene {
  const world = new StoreWorld({
    seed: 1, segments, segmentBytes: SEGMENT_BYTES, checkpointBytes: 64 * 1024, pendingMax: 40, pagesMax: 3,
  })
  openStore(world, { crc32c })
  const work = new ScriptedWork(1, [workVolume('a', 1, [windows[0]]), workVolume('b', 2, [windows[1]])])
  work.run(world, { rounds })
  world.clock.runUntilIdle()
  const frozen = freeze(world, 'kill')
  const [image] = frozen.disks
  const block = new Uint8Array(BLOCK_BYTES)
  const structures: number[] = []
  const end = segmentOffsetBytes(SEGMENT_BYTES, segments)
  for (let offset = 0; offset < end; offset += BLOCK_BYTES) {
    image!.read(offset, block)
    const begins = Buffer.from(block.subarray(0, 6)).toString('latin1')
    if (MAGICS.some((magic) => begins.startsWith(magic))) structures.push(offset)
  }
  return { work, frozen, structures }
}

let scenes: { large: Scene; small: Scene } | undefined

function changed(random: Random, image: DiskImage, structures: readonly number[]): DiskImage {
  const copy = image.clone()
  for (let i = random.between(1, EDITS_MAX); i > 0; i--) {
    const offset = random.pick(structures)
    const block = new Uint8Array(BLOCK_BYTES)
    copy.read(offset, block)
    const end = block.findLastIndex((byte) => byte !== 0) + 1
    const json = block[0] === 0x7b ? jsonOf(block.subarray(0, end)) : undefined
    if (json !== undefined) {
      block.fill(0x20, 0, end)
      block.set(Buffer.from(jsonMutated(random, json)).subarray(0, end))
    } else {
      const at = random.int(Math.max(8, end))
      if (random.int(2) === 0) block[at] = random.int(256)
      else new DataView(block.buffer).setUint32(at & ~3, random.pick(NUMBERS), true)
    }
    copy.apply(offset, [block])
  }
  return copy
}

function jsonOf(bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes).toString()
  try {
    JSON.parse(text)
    return text
  } catch {
    return undefined
  }
}

export const target: Target = {
  parsers: [
    'engine/log/log-reader.ts', 'engine/log/recovery.ts', 'engine/log/rebuild.ts', 'engine/log/roll-forward.ts',
    'engine/log/log-tail.ts', 'engine/log/index-loading.ts',
    'engine/volume/store-opening.ts', 'engine/volume/volume-set.ts', 'engine/volume/descriptor.ts',
  ],
  seeds: () => [new Uint8Array(16), new Uint8Array(64).fill(7)],
  bytesMax: 64,
  execute(input) {
    scenes ??= { large: makeScene(LARGE), small: makeScene(SMALL) }
    const random = new DrawnFrom(input)
    const { work, frozen, structures } = random.int(LARGE_EVERY) === 0 ? scenes.large : scenes.small
    const lost = random.int(2) === 1
    const hostile = { ...frozen, disks: [changed(random, frozen.disks[0]!, structures)] }
    const world = thaw(hostile, { seed: 1, lost })
    openStore(world, { crc32c })
    work.readBack(world)
    if (random.int(WORK_EVERY) > 0) return
    world.clock.advance(1500)
    world.clock.runUntilIdle(50_000)
  },
}
