/**
 * A node's disk with a volume whose map holds any number of blocks, made without writing the blocks: a sparse file,
 * entries put through the store's own map and checkpoints. Sealed segments are registered whose payload was never
 * written and so reads as zeroes, with checksums that say so. Entries come in the order of the volume, as after a
 * sequential write, so that every page of the index is full.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { crc32c } from '../../dataplane/checksum.ts'
import { prepareDisk, releaseDisk, type PreparedDisk } from '../../dataplane/disk-preparation.ts'
import { makeFolder, nodeIdentity, nodePaths } from '../../dataplane/node-folder.ts'
import { openStore, type StoreShell } from '../../dataplane/store-shell.ts'
import { assert } from '../../engine/assert.ts'
import { hexToUuid } from '../../engine/log/bytes.ts'
import { diskBytesFor, SEGMENT_BYTES_DEFAULT } from '../../engine/log/geometry.ts'
import { blockIdentity, recordSeed, volumeTag } from '../../engine/log/identity.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import type { MapPage, VolumeMap } from '../../engine/log/volume-map.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, UNITS_PER_BLOCK } from '../../engine/units.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import type { VolumeSpec, VolumeStatus } from '../../engine/volume/volume-spec.ts'

/** Of 32: what headers, summary and trailer take of a real segment. */
const PAGES_PER_SEGMENT = 31
const PAGES_AT_ONCE = 512

export interface MappedVolume {
  name: string
  pages: number
  /** Of the whole file, sparse. */
  diskBytes: number
  seconds: number
}

/**
 * @param dir  of the node, which is started from it afterwards with the disk `DIR/disk0`
 * @param freeSegments  room for what is written later
 */
export async function makeMappedDisk(
  dir: string,
  { name, pages, freeSegments }: { name: string; pages: number; freeSegments: number },
  progress: (pagesDone: number) => void,
): Promise<MappedVolume> {
  const beganMs = performance.now()
  const paths = nodePaths(dir, 'n1')
  makeFolder(paths.folder)
  const diskPath = path.join(dir, 'disk0')
  const segments = Math.ceil(pages / PAGES_PER_SEGMENT)
  // The reserve is a share of all segments.
  const diskBytes = diskBytesFor(Math.ceil((segments + freeSegments) * 1.06), SEGMENT_BYTES_DEFAULT)
  fs.closeSync(fs.openSync(diskPath, 'w', 0o600))
  fs.truncateSync(diskPath, diskBytes)
  const identity = { ...nodeIdentity(paths.identity), nodeName: 'n1' }
  const disk = valueOf(
    prepareDisk({ path: diskPath, sizeBytes: undefined, pool: 'default', tags: [] }, identity, 1),
  )
  const shell = await open(disk, paths.index)
  const spec: VolumeSpec = {
    id: randomBytes(16).toString('hex'), name, sizeBytes: pages * PAGE_BLOCKS * BLOCK_BYTES, blockSizeBytes: 4096,
    replicas: 0, durability: 'durable', onFull: 'hold', ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
  }
  await new Promise<Result<VolumeStatus>>((resolve) => shell.createVolume(spec, resolve)).then(valueOf)
  await fill(shell.store.streams()[0]!, spec, pages, progress)
  await new Promise<Result<void>>((resolve) => shell.stop(resolve)).then(valueOf)
  releaseDisk(disk)
  return { name, pages, diskBytes, seconds: (performance.now() - beganMs) / 1000 }
}

async function open(disk: PreparedDisk, indexDir: string): Promise<StoreShell> {
  const log = { event: () => {} }
  const barrier = new SharedArrayBuffer(4)
  return valueOf(await openStore({ disks: [disk], indexDir, worker: 0, workers: 1, barrier, log }))
}

async function fill(
  stream: StoreStream,
  spec: VolumeSpec,
  pages: number,
  progress: (pagesDone: number) => void,
): Promise<void> {
  const map = stream.volumesById.get(spec.id)!
  const run = sequentialRuns(stream, spec, map)
  for (let page = 0; page < pages;) {
    const end = Math.min(pages, page + PAGES_AT_ONCE)
    const loads: Array<Promise<MapPage | undefined>> = []
    for (let next = page; next < end; next++)
      loads.push(new Promise((resolve) => stream.map.load(map, next, resolve)))
    // The entries go into pages in memory, as a fold leaves them; none of these was in the index before.
    const loaded = await Promise.all(loads)
    assert(loaded.every((one) => one !== undefined), 'a new index can be read')
    for (; page < end; page++) stream.map.applyRun(map, run(page))
    if (stream.wantsCheckpoint) assert(await new Promise((done) => stream.makeCheckpoint(done)), 'a checkpoint is made')
    progress(page)
  }
  map.changed = true
}

/** One record of 256 blocks after the other, filling segment after segment. */
function sequentialRuns(stream: StoreStream, spec: VolumeSpec, map: VolumeMap) {
  const { context, segments } = stream
  const tag = volumeTag(crc32c, hexToUuid(spec.id))
  const zeroCrc = crc32c(new Uint8Array(BLOCK_BYTES))
  const storedUnits = new Uint8Array(PAGE_BLOCKS).fill(UNITS_PER_BLOCK)
  const crcs = new Uint32Array(PAGE_BLOCKS)
  const epoch = map.descriptor.epoch
  let segment = -1
  let inSegment = PAGES_PER_SEGMENT
  return (page: number) => {
    if (inSegment === PAGES_PER_SEGMENT) {
      segment = addSealedSegment()
      inSegment = 0
    }
    const lba = page * PAGE_BLOCKS
    const seq = map.appliedSeq + 1
    const seed = recordSeed(tag, epoch, seq)
    for (let i = 0; i < PAGE_BLOCKS; i++) crcs[i] = (zeroCrc ^ blockIdentity(seed, lba + i)) >>> 0
    map.appliedSeq = seq
    map.previousSeq = seq
    // Behind the segment's header block.
    const units = (1 + inSegment++ * PAGE_BLOCKS) * UNITS_PER_BLOCK
    return { lba, count: PAGE_BLOCKS, epoch, seq, transform: 0, segment, units, crcs, storedUnits }
  }

  function addSealedSegment(): number {
    const granted = context.grants.grant(context.streamId)
    assert(granted !== undefined, 'the disk has room for the map')
    const generation = 1
    context.grants.setGeneration(granted, generation)
    context.grants.setInitialised(granted)
    // The volume's first control record is in batch 1, applied: no roll-forward looks at these.
    const batch = 1
    segments.adopt(granted, {
      state: SEGMENT_STATE.sealed, generation, firstBatch: batch, lastBatch: batch, live: 0, oldestBorn: batch,
    })
    return granted
  }
}

function valueOf<T>(result: Result<T>): T {
  if (!result.ok) throw result.error
  return result.value
}
