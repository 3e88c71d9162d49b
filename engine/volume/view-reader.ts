/**
 * Reads one block as a view sees it: a snapshot, or the origin of a clone at its seq. The head page answers when its
 * entry is old enough, else the history; a clone's hole asks the origin in turn.
 */
import { runTask, until, type Task } from '../task.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, UNIT_BYTES } from '../units.ts'
import { crcOf, ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, segmentOf, seqOf, unitsOf } from '../log/entry.ts'
import { hexToUuid } from '../log/bytes.ts'
import { segmentOffsetBytes } from '../log/geometry.ts'
import { blockIdentity, recordSeed, volumeTag } from '../log/identity.ts'
import { loadPage } from '../log/page-visitor.ts'
import type { StoreStream } from '../log/store-stream.ts'
import { readHistory } from '../log/version-history.ts'
import type { VolumeMap } from '../log/volume-map.ts'

export interface ViewBlock {
  crc32c: Crc32c
  stream: StoreStream
  map: VolumeMap
  viewSeq: number
  lba: number
}

/** `done(undefined)` when the block cannot be read or its checksum does not fit. */
export function readView(block: ViewBlock, done: (bytes: Uint8Array | undefined) => void): void {
  runTask(readViewTask(block), done)
}

function* readViewTask(block: ViewBlock): Task<Uint8Array | undefined> {
  const { crc32c, stream, lba } = block
  let { map, viewSeq } = block
  for (;;) {
    const words = yield* entryOf(stream, map, viewSeq, lba)
    if (words === 'failed') return undefined
    if (words !== undefined) {
      if (kindOf(words, 0) !== ENTRY_KIND.data) return new Uint8Array(BLOCK_BYTES)
      return yield* fetch(crc32c, stream, map, lba, words)
    }
    const { origin } = map.descriptor
    if (origin === null) return new Uint8Array(BLOCK_BYTES)
    const originMap = stream.volumesById.get(origin[0])
    if (originMap === undefined) return undefined
    map = originMap
    viewSeq = origin[1]
  }
}

/** The entry the view sees, undefined for a hole. */
function* entryOf(
  stream: StoreStream,
  map: VolumeMap,
  viewSeq: number,
  lba: number,
): Task<Uint32Array | undefined | 'failed'> {
  const { rewound } = stream.map
  const page = yield* loadPage(stream.map, map, Math.floor(lba / PAGE_BLOCKS))
  if (page === undefined) return 'failed'
  const at = (lba - page.firstLba) * ENTRY_WORDS
  const head = page.words.slice(at, at + ENTRY_WORDS)
  const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
    readHistory(stream.map, map, lba, lba + 1, resume),
  )
  if (history === undefined) return 'failed'
  // A rollback took a version out of the history after the head was looked at.
  if (stream.map.rewound !== rewound) return yield* entryOf(stream, map, viewSeq, lba)
  const versions = history.get(lba) ?? []
  if (head[0] !== 0) versions.push(head)
  let best: Uint32Array | undefined
  for (const words of versions) {
    const seq = seqOf(words, 0)
    if (seq <= viewSeq && !map.views.hidden(viewSeq, seq) && (best === undefined || seq > seqOf(best, 0)))
      best = words
  }
  return best
}

function* fetch(
  crc32c: Crc32c,
  stream: StoreStream,
  map: VolumeMap,
  lba: number,
  words: Uint32Array,
): Task<Uint8Array | undefined> {
  const bytes = new Uint8Array(BLOCK_BYTES)
  const { segments, context } = stream
  const segment = segmentOf(words, 0)
  const offset = segmentOffsetBytes(context.segmentBytes, segment) + unitsOf(words, 0) * UNIT_BYTES
  const seed = recordSeed(volumeTag(crc32c, hexToUuid(map.descriptor.spec.id)), epochOf(words, 0), seqOf(words, 0))
  for (let tries = 0; tries < 2; tries++) {
    segments.readers[segment] = segments.readers[segment]! + 1
    const ok = yield* until<boolean>((resume) => context.disk.read(offset, bytes, resume))
    segments.readers[segment] = segments.readers[segment]! - 1
    if (ok && (crc32c(bytes) ^ blockIdentity(seed, lba)) >>> 0 === crcOf(words, 0)) return bytes
  }
  return undefined
}
