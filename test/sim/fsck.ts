/**
 * Checks an open, idle store against itself and against its disks (reliability.md 3.3). Every page of every map is
 * folded on the way. Answers sentences, none when all is well.
 *
 *   L2  every entry of head and history points to a record of its volume, LBA, epoch and seq, and its bytes fit its crc
 *   L3  no two entries share units; live units of each segment = sum over all maps
 *   L4  a segment that is free, or not this stream's, is referenced by nothing; grants and table agree
 *   L10 versions of a block have different ids, and no history version is newer than the head unless a rollback hides
 *   it L12 a record that an entry points to belongs to the entry's volume
 *   with rollbacks: no head entry is older than a zero or trim over it that the log has and no rollback hides
 *   G1-G3 what changed between snapshots is told by the log of changes (change-check.ts)
 */
import { uuidToHex } from '../../engine/log/bytes.ts'
import { hexToUuid } from '../../engine/log/bytes.ts'
import {
  compareVersions,
  crcOf,
  ENTRY_KIND,
  ENTRY_WORDS,
  epochOf,
  kindOf,
  segmentOf,
  seqOf,
  storedUnitsOf,
  unitsOf,
} from '../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../engine/log/geometry.ts'
import { blockIdentity, recordSeed, volumeTag } from '../../engine/log/identity.ts'
import { LogReader, type ReadBatch } from '../../engine/log/log-reader.ts'
import type { ExtentMap } from '../../engine/log/extent-map.ts'
import { loadPage, visitPages } from '../../engine/log/page-visitor.ts'
import { OPERATION, RECORD_KIND, type RecordHeader } from '../../engine/log/record.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import { readHistory } from '../../engine/log/version-history.ts'
import { PAGES_MAX, type VolumeMap } from '../../engine/log/volume-map.ts'
import { runTask, until, type Task } from '../../engine/task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { generationOfSlice } from '../../engine/volume/descriptor.ts'
import { checkChanges } from './change-check.ts'
import type { StoreWorld } from './store-world.ts'

/** One version of one block, as some map shows it. */
export interface MappedEntry {
  volumeId: string
  lba: number
  where: 'head' | 'history'
  words: Uint32Array
}

export function fsck(world: StoreWorld): string[] {
  const problems: string[] = []
  for (const stream of world.store!.streams()) if (!stream.failed) checkStream(world, stream, problems)
  return problems
}

/** All entries of a stream's maps, every page folded. Undefined when the index cannot be read. */
export function mapEntries(world: StoreWorld, stream: StoreStream): MappedEntry[] | undefined {
  const entries: MappedEntry[] = []
  const add = (volume: VolumeMap, lba: number, where: 'head' | 'history', words: Uint32Array): void =>
    void entries.push({ volumeId: volume.descriptor.spec.id, lba, where, words })
  const { map, context } = stream
  const ok = world.await<boolean>((done) =>
    runTask(
      (function* () {
        for (const volume of [...map.volumes.values()]) {
          // A page may have older versions only; whoever visits pages is not believed to find it.
          if (volume.views.hasRollbacks && !(yield* loadOlder(map, volume))) return false
          const heads = new Map<number, Uint32Array[]>()
          const range = { map, index: context.index, volume, firstPage: 0, endPage: PAGES_MAX }
          if (
            !(yield* visitPages(range, (page) => {
              const list: Uint32Array[] = []
              for (let i = 0; i < PAGE_BLOCKS; i++)
                list.push(page.words.slice(i * ENTRY_WORDS, (i + 1) * ENTRY_WORDS))
              heads.set(page.page, list)
            }))
          )
            return false
          for (const [page, list] of heads)
            list.forEach((words, i) => {
              if (words[0] !== 0) add(volume, page * PAGE_BLOCKS + i, 'head', words)
            })
          const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
            readHistory(map, volume, 0, 2 ** 40, resume),
          )
          if (history === undefined) return false
          for (const [lba, versions] of history) for (const words of versions) add(volume, lba, 'history', words)
        }
        return true
      })(),
      done,
    ),
  )
  return ok ? entries : undefined
}

/** Every page of which there are older versions. False when the index cannot be read. */
function* loadOlder(map: ExtentMap, volume: VolumeMap): Task<boolean> {
  const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
    readHistory(map, volume, 0, 2 ** 40, resume),
  )
  if (history === undefined) return false
  for (const page of new Set([...history.keys()].map((lba) => Math.floor(lba / PAGE_BLOCKS))))
    if ((yield* loadPage(map, volume, page)) === undefined) return false
  return true
}

interface FoundRecord {
  record: RecordHeader
  /** Of the first blob, from the segment's start. */
  units: number
  batch: number
}

function checkStream(world: StoreWorld, stream: StoreStream, problems: string[]): void {
  const { context, segments } = stream
  const { crc32c, segmentBytes, grants } = context
  const disk = world.disks[world.disks.indexOf(context.disk as never)]!
  const name = `disk ${context.diskUuid.slice(-2)}`
  world.clock.runUntilIdle()
  const entries = mapEntries(world, stream)
  if (entries === undefined) return void problems.push(`${name}: the index cannot be read`)

  const records = new Map<number, FoundRecord[]>()
  const recordsOf = (segment: number): FoundRecord[] => {
    let found = records.get(segment)
    if (found === undefined) records.set(segment, (found = readRecords(world, stream, segment)))
    return found
  }
  const live = new Uint32Array(segments.count)
  const used = new Map<string, MappedEntry>()
  const versionsOf = new Map<string, MappedEntry[]>()
  for (const entry of entries) {
    const { words, lba, volumeId, where } = entry
    const segment = segmentOf(words, 0)
    const what = `${name}: ${where} entry of volume ${volumeId.slice(-6)} block ${lba} (epoch ${epochOf(words, 0)} ` +
      `seq ${seqOf(words, 0)}, segment ${segment})`
    const key = `${volumeId}/${lba}`
    versionsOf.set(key, [...(versionsOf.get(key) ?? []), entry])
    const state = segments.state[segment]
    if (segment >= segments.count || state === SEGMENT_STATE.none || state === SEGMENT_STATE.givenBack) {
      problems.push(`${what}: L4 the segment is not in use (state ${state})`)
      continue
    }
    if (state === SEGMENT_STATE.cleaned) problems.push(`${what}: L4 the segment was cleaned`)
    const isIt = ({ record }: FoundRecord): boolean =>
      uuidToHex(record.volumeId) === volumeId &&
      record.epoch === epochOf(words, 0) &&
      record.seq === seqOf(words, 0) &&
      lba >= record.lba &&
      lba < record.lba + record.blockCount
    if (kindOf(words, 0) !== ENTRY_KIND.data) {
      if (
        !recordsOf(segment).some(
          (found) =>
            isIt(found) && (found.record.kind === RECORD_KIND.zero || found.record.kind === RECORD_KIND.trim),
        )
      )
        problems.push(`${what}: L2 no zero or trim record of it lies there`)
      continue
    }
    const stored = storedUnitsOf(words, 0)
    live[segment] = live[segment]! + stored
    const place = unitsOf(words, 0)
    const unitKey = `${segment}/${place}`
    const other = used.get(unitKey)
    if (other !== undefined)
      problems.push(
        `${what}: L3 units ${place} also belong to block ${other.lba} of ${other.volumeId.slice(-6)} (${other.where})`,
      )
    used.set(unitKey, entry)
    const fits = recordsOf(segment).some((found) => {
      if (!isIt(found) || found.record.kind !== RECORD_KIND.write) return false
      let at = found.units
      for (let i = 0; i < lba - found.record.lba; i++) at += found.record.storedUnits[i]!
      return at === place
    })
    if (!fits) problems.push(`${what}: L2 no record of it lies at units ${place}`)
    const from = segmentOffsetBytes(segmentBytes, segment) + place * UNIT_BYTES
    const firstBlock = Math.floor(from / BLOCK_BYTES) * BLOCK_BYTES
    const bytes = disk.peek(
      firstBlock,
      Math.ceil((from + stored * UNIT_BYTES - firstBlock) / BLOCK_BYTES) * BLOCK_BYTES,
    )
    const blob = bytes.subarray(from - firstBlock, from - firstBlock + stored * UNIT_BYTES)
    const seed = recordSeed(volumeTag(crc32c, hexToUuid(volumeId)), epochOf(words, 0), seqOf(words, 0))
    if ((crc32c(blob) ^ blockIdentity(seed, lba)) >>> 0 !== crcOf(words, 0))
      problems.push(`${what}: L2 its bytes do not fit its checksum`)
  }
  for (let segment = 0; segment < segments.count; segment++) {
    if (segments.state[segment] === SEGMENT_STATE.none) {
      if (grants.generation(segment) !== 0 && segments.live[segment] !== 0)
        problems.push(`${name}: L4 free segment ${segment} has ${segments.live[segment]} live units`)
      continue
    }
    if (segments.live[segment] !== live[segment])
      problems.push(
        `${name}: L3 segment ${segment} (state ${segments.state[segment]}) counts ` +
          `${segments.live[segment]} live units, its entries have ${live[segment]}`,
      )
    if (grants.generation(segment) !== segments.generation[segment])
      problems.push(
        `${name}: segment ${segment} has generation ${segments.generation[segment]}, the grants say ` +
          `${grants.generation(segment)}`,
      )
    if (segments.readers[segment] !== 0)
      problems.push(`${name}: segment ${segment} has ${segments.readers[segment]} readers though nothing reads`)
  }
  let mapped = 0
  for (const volume of stream.map.volumes.values()) {
    let usedUnits = 0
    let usedBlocks = 0
    for (const { volumeId, words } of entries)
      if (volumeId === volume.descriptor.spec.id && storedUnitsOf(words, 0) > 0) {
        usedUnits += storedUnitsOf(words, 0)
        usedBlocks++
      }
    if (usedBlocks !== volume.usedBlocks)
      problems.push(`${name}: ${volume.usedBlocks} blocks are counted, there are entries of ${usedBlocks}`)
    if (usedUnits !== volume.usedUnits)
      problems.push(
        `${name}: volume ${volume.descriptor.spec.id.slice(-6)} counts ${volume.usedUnits} used ` +
          `units, its entries have ${usedUnits}`,
      )
    mapped++
    const { controlSegment } = volume
    if (
      controlSegment >= 0 &&
      !recordsOf(controlSegment).some(
        ({ record }) =>
          record.kind === RECORD_KIND.control &&
          uuidToHex(record.volumeId) === volume.descriptor.spec.id &&
          record.lba === volume.descriptor.revision,
      )
    )
      problems.push(
        `${name}: the control record ${volume.descriptor.revision} of volume ` +
          `${volume.descriptor.spec.id.slice(-6)} is not in segment ${controlSegment}`,
      )
    for (const [revision, { leaf, segment }] of volume.copy?.leaves.places ?? []) {
      const isThere = recordsOf(segment).some(
        ({ record }) =>
          record.operation === OPERATION.snapshotLeaf &&
          uuidToHex(record.volumeId) === volume.descriptor.spec.id &&
          record.lba === revision &&
          record.bodyCrc === leaf.crc,
      )
      if (!isThere)
        problems.push(
          `${name}: the snapshot leaf ${revision} of volume ${volume.descriptor.spec.id.slice(-6)} is not in ` +
            `segment ${segment}`,
        )
    }
  }
  if (mapped !== stream.volumesById.size) problems.push(`${name}: ${mapped} maps, ${stream.volumesById.size} ids`)
  for (const volume of stream.map.volumes.values())
    if (volume.views.hasRollbacks)
      checkZeroes(segments, volume, { entries, recordsOf, tell: (why) => problems.push(`${name}: ${why}`) })
  for (const [key, versions] of versionsOf) checkOrder(stream, name, key, versions, problems)
  for (const problem of checkChanges(world, stream, entries)) problems.push(`${name}: ${problem}`)
}

function checkZeroes(
  segments: StoreStream['segments'],
  volume: VolumeMap,
  o: {
    entries: readonly MappedEntry[]
    recordsOf(segment: number): FoundRecord[]
    tell(why: string): void
  },
): void {
  const { views, descriptor } = volume
  const { id } = descriptor.spec
  if (volume.keepsZeroes || descriptor.deleted) return
  const heads = o.entries.filter((one) => one.where === 'head' && one.volumeId === id)
  for (let segment = 0; segment < segments.count; segment++) {
    const isSealed = segments.state[segment] === SEGMENT_STATE.sealed
    if (!isSealed && segments.state[segment] !== SEGMENT_STATE.open) continue
    for (const { record, batch } of o.recordsOf(segment)) {
      // What an opening cut lies behind the last one.
      if (isSealed && batch > segments.lastBatch[segment]!) continue
      const { kind, epoch, seq, lba: first, blockCount } = record
      if (kind !== RECORD_KIND.zero && kind !== RECORD_KIND.trim) continue
      if (uuidToHex(record.volumeId) !== id || views.isVoid(epoch, seq) || views.hidden(Infinity, seq)) continue
      if (seq > volume.appliedSeq) continue
      if (record.sliceGeneration !== generationOfSlice(descriptor, Math.floor(first / SLICE_BLOCKS))) continue
      for (const { lba, words } of heads)
        if (lba >= first && lba < first + blockCount && seqOf(words, 0) < seq)
          o.tell(`block ${lba} of volume ${id.slice(-6)} shows version ${seqOf(words, 0)}, over which lies zero ${seq}`)
    }
  }
}

function checkOrder(
  stream: StoreStream,
  name: string,
  key: string,
  versions: MappedEntry[],
  problems: string[],
): void {
  const map = stream.volumesById.get(key.split('/')[0]!)!
  const head = versions.find(({ where }) => where === 'head')
  const shown = map.views.shownBySnapshots(versions.map(({ words }) => seqOf(words, 0)).sort((a, b) => a - b))
  // With rollbacks a version may stay until its page is loaded the next time.
  for (const { where, words } of versions)
    if (where === 'history' && !map.sweepHistory && !map.views.hasRollbacks && !shown.has(seqOf(words, 0)))
      problems.push(
        `${name}: block ${key} keeps version ${seqOf(words, 0)}, which no view shows ` +
          `(snapshots ${map.views.snapshotSeqs}, rollbacks ${JSON.stringify(map.descriptor.rollbacks)}, ` +
          `versions ${versions.map((v) => `${v.where} ${seqOf(v.words, 0)}`)})`,
      )
  versions.forEach((one, i) => {
    for (const other of versions.slice(i + 1))
      if (compareVersions(one.words, 0, other.words, 0) === 0)
        problems.push(`${name}: L10 block ${key} has version ${seqOf(one.words, 0)} twice`)
    if (map.views.isVoid(epochOf(one.words, 0), seqOf(one.words, 0)))
      problems.push(`${name}: L10 block ${key} shows version ${seqOf(one.words, 0)}, which was cut`)
    if (head === undefined || one === head) return
    if (seqOf(one.words, 0) > seqOf(head.words, 0) && !map.views.hidden(Infinity, seqOf(one.words, 0)))
      problems.push(
        `${name}: L10 block ${key} has history ${seqOf(one.words, 0)} newer than its head ${seqOf(head.words, 0)}`,
      )
  })
}

function readRecords(world: StoreWorld, stream: StoreStream, segment: number): FoundRecord[] {
  const { context, segments } = stream
  const reader = new LogReader(context)
  const batches = world.await<ReadBatch[]>((done) =>
    runTask(
      reader.scan({ segment, generation: segments.generation[segment]! } as never, { failed: false, durableBatch: 0 }),
      done,
    ),
  )
  return batches.flatMap((batch) =>
    batch.records.map((record) => ({
      record,
      units: batch.startBlock * UNITS_PER_BLOCK + record.payloadUnits,
      batch: batch.header.batch,
    })),
  )
}
