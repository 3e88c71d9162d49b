/**
 * The index as it was at its last checkpoint, brought into memory: segments, volumes, tombstones and what waits. Pages
 * of the map are not read; they come when they are asked for.
 */
import type { IndexPort } from '../ports.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../units.ts'
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import { eachValue } from './change-reading.ts'
import { decodeSegmentValue, parseJson, type CheckpointMeta, type VolumeIndexValue } from './checkpoint.ts'
import type { ExtentMap } from './extent-map.ts'
import { withList } from '../volume/snapshot-leaves.ts'
import { metaKey, numberOfKey, parseChangeKey, parseLeafKey, rangeOf } from './index-keys.ts'
import { LeafTable, type LeafIndexValue } from './leaf-table.ts'
import type { Root } from './root.ts'
import type { StreamContext } from './store-stream.ts'
import { decodeWaiting } from './waiting-records.ts'

/** Fill map and segments from the index; undefined when it is missing, foreign, stale or damaged. */
export function* loadIndex(context: StreamContext, map: ExtentMap, root: Root): Task<CheckpointMeta | undefined> {
  const { index, diskUuid, streamId } = context
  const bytes = yield* until<Uint8Array | undefined>((resume) =>
    index.getMany([metaKey()], (ok, [value]) => resume(ok ? value : undefined)),
  )
  if (bytes === undefined) return undefined
  const meta = parseJson(bytes) as CheckpointMeta | undefined
  if (meta === undefined || meta.format !== 1 || meta.diskUuid !== diskUuid || meta.streamId !== streamId)
    return undefined
  if (meta.indexUuid !== root.indexUuid) return undefined
  if (meta.checkpoint !== root.checkpoint && meta.checkpoint !== root.checkpoint + 1) return undefined
  const entries = (kind: 'segment' | 'generation' | 'volume' | 'tombstone' | 'waiting' | 'leaf') =>
    until<Array<[Uint8Array, Uint8Array]> | undefined>((resume) =>
      index.range({ ...rangeOf(kind), limit: 1 << 24 }, (ok, found) => resume(ok ? found : undefined)),
    )
  const segments = yield* entries('segment')
  const generations = yield* entries('generation')
  const volumes = yield* entries('volume')
  const tombstones = yield* entries('tombstone')
  const waiting = yield* entries('waiting')
  if (segments === undefined || generations === undefined || volumes === undefined || tombstones === undefined)
    return undefined
  const leaves = leavesOf(yield* entries('leaf'))
  if (waiting === undefined || leaves === undefined) return undefined
  for (const [key, value] of segments) {
    const segment = decodeSegmentValue(value)
    if (segment === undefined || numberOfKey(key) >= context.segmentCount) return undefined
    map.segments.adopt(numberOfKey(key), segment)
  }
  for (const [key, value] of generations) {
    const segment = numberOfKey(key)
    const generation = new DataView(value.buffer, value.byteOffset).getUint32(0, true)
    if (segment >= context.segmentCount) return undefined
    context.grants.setGeneration(segment, Math.max(generation, context.grants.generation(segment)))
    context.grants.setInitialised(segment)
  }
  for (const [key, value] of volumes) {
    const stored = parseJson(value) as (VolumeIndexValue & { descriptor: VolumeDescriptor }) | undefined
    if (stored === undefined) return undefined
    const own = leaves.get(numberOfKey(key)) ?? new LeafTable()
    const whole = withList(stored.descriptor, (name) => own.find(name))
    if (whole === undefined) return undefined
    const volume = map.addVolume(numberOfKey(key), whole.descriptor)
    own.setCut(whole.leaves)
    if (volume.copy !== undefined) volume.copy.leaves = own
    const { appliedSeq, previousSeq, usedUnits, usedBlocks } = stored
    const { controlSegment, controlBornBatch, emptied, sweepHistory } = stored
    Object.assign(volume, {
      appliedSeq,
      previousSeq,
      usedUnits,
      // Of before it was counted, when no block was compressed.
      usedBlocks: usedBlocks ?? Math.floor((usedUnits * UNIT_BYTES) / BLOCK_BYTES),
      controlSegment,
      controlBornBatch,
      emptied,
      sweepHistory,
      changed: false,
    })
    if (meta.changes === 1) volume.changesFrom = stored.changesFrom ?? 0
    else {
      // It was written by a version that noted nothing; what is kept of a former log of changes lies below.
      volume.changesFrom = appliedSeq
      volume.changed = true
    }
    if (volume.copy !== undefined) {
      volume.copy.wiping = stored.wiping ?? []
      volume.copy.hintSeq = stored.hintSeq ?? 0
    }
  }
  for (const [key, value] of tombstones) {
    const view = new DataView(key.buffer, key.byteOffset)
    const volume = map.volumes.get(view.getUint32(1))
    const stored = parseJson(value) as
      { endPage: number; kind: 2 | 3; segment: number; bornBatch: number } | undefined
    if (volume === undefined || stored === undefined) return undefined
    volume.tombstones.push({
      epoch: view.getUint32(5),
      seq: view.getUint16(9) * 2 ** 32 + view.getUint32(11),
      firstPage: view.getUint32(15),
      ...stored,
    })
  }
  for (const [key, value] of waiting) {
    const copy = map.volumes.get(numberOfKey(key))?.copy
    const record = decodeWaiting(value)
    if (record === undefined) return undefined
    copy?.waiting.adopt(record, map.segments)
  }
  if (meta.changes !== 1 && !(yield* dropChanges(index, map))) return undefined
  map.segments.takeChanged()
  return meta
}

/** What an earlier version noted before one that knows no log of changes wrote here: it may tell of what was wiped. */
function* dropChanges(index: IndexPort, map: ExtentMap): Task<boolean> {
  return yield* eachValue(index, rangeOf('change'), (key) => {
    const { volume, slice } = parseChangeKey(key)
    map.volumes.get(volume)?.changes.edit(slice, key, undefined)
  })
}

/** By volume; undefined when one is damaged. */
function leavesOf(entries: Array<[Uint8Array, Uint8Array]> | undefined): Map<number, LeafTable> | undefined {
  if (entries === undefined) return undefined
  const found = new Map<number, LeafTable>()
  for (const [key, value] of entries) {
    const stored = parseJson(value) as LeafIndexValue | undefined
    if (stored === undefined) return undefined
    const { volume, revision } = parseLeafKey(key)
    const { segment, crc, snapshots } = stored
    const own = found.get(volume) ?? new LeafTable()
    found.set(volume, own)
    own.adopt({ revision, crc, snapshots }, segment)
  }
  return found
}
