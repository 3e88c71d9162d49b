/**
 * One pass of the cleaner over all sealed segments of a disk, in this process, with the store's own parts: how long it
 * takes for each block that is live. Of a volume whose blocks were overwritten at random places between snapshots, or
 * of a larger one without snapshots that has as many live blocks, written in the same pieces.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import { makeFolder, nodeIdentity, nodePaths } from '../../dataplane/node-folder.ts'
import { openStore } from '../../dataplane/store-shell.ts'
import { assert } from '../../engine/assert.ts'
import { cleanSegment, newCleanerBuffer } from '../../engine/log/cleaner.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import { runTask } from '../../engine/task.ts'
import { BLOCK_BYTES, GIB, MIB, PAGE_BLOCKS, UNITS_PER_BLOCK } from '../../engine/units.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import { createSnapshot } from '../../engine/volume/time-travel.ts'
import type { VolumeSpec, VolumeStatus } from '../../engine/volume/volume-spec.ts'

const FIRST_BLOCKS = 64 * PAGE_BLOCKS
/** Of the first write of all. */
const PIECE_BLOCKS = 64

export interface PassOptions {
  dir: string
  rounds: number
  /** Of one block, in each round. */
  writes: number
  /** One behind each round; without them each write goes to a block that has none yet. */
  withSnapshots: boolean
}

/** In microseconds for each live block, the checkpoint by which the segments may go included. */
export interface PassTime {
  elapsed: number
  /** Of the processor: of the thread that cleans, and of all threads. */
  ownThread: number
  allThreads: number
}

export async function measurePass({ dir, rounds, writes, withSnapshots }: PassOptions): Promise<PassTime> {
  const paths = nodePaths(dir, 'n1')
  makeFolder(paths.folder)
  const diskPath = path.join(dir, 'disk0')
  const live = FIRST_BLOCKS + rounds * writes
  fs.closeSync(fs.openSync(diskPath, 'w', 0o600))
  fs.truncateSync(diskPath, 2 * GIB + Math.ceil((live * 4 * BLOCK_BYTES) / MIB) * MIB)
  const identity = { ...nodeIdentity(paths.identity), nodeName: 'n1' }
  const disk = valueOf(prepareDisk({ path: diskPath, sizeBytes: undefined, pool: 'default', tags: [] }, identity, 1))
  const log = { event: () => {} }
  const barrier = new SharedArrayBuffer(4)
  const shell = valueOf(
    await openStore({ disks: [disk], indexDir: paths.index, worker: 0, workers: 1, barrier, log }),
  )
  const blocks = withSnapshots ? FIRST_BLOCKS : live
  const spec: VolumeSpec = {
    id: randomBytes(16).toString('hex'), name: 'v', sizeBytes: Math.ceil(blocks / PAGE_BLOCKS) * MIB,
    blockSizeBytes: 4096, replicas: 0, durability: 'writeback', onFull: 'hold', ioTimeoutMs: 600_000, pool: 'default',
    diskTags: [],
  }
  await new Promise<Result<VolumeStatus>>((resolve) => shell.createVolume(spec, resolve)).then(valueOf)
  const volume = shell.store.volumeObject('v')!
  const write = (lba: number, count: number): Promise<void> =>
    new Promise((resolve, reject) =>
      volume.write(lba * BLOCK_BYTES, Buffer.alloc(count * BLOCK_BYTES, 1), false, (errno) =>
        errno === 0 ? resolve() : reject(new Error(`a write failed: errno ${errno}`))))
  for (let lba = 0; lba < FIRST_BLOCKS; lba += PIECE_BLOCKS) await write(lba, PIECE_BLOCKS)
  const places = placesOf(rounds * writes, withSnapshots)
  for (let round = 0; round < rounds; round++) {
    await Promise.all(places.slice(round * writes, (round + 1) * writes).map((lba) => write(lba, 1)))
    if (!withSnapshots) continue
    await new Promise<Result<number>>((resolve) => createSnapshot(volume, `s${round}`, resolve)).then(valueOf)
  }
  const took = await cleanAll(shell.store.streams()[0]!)
  await new Promise<Result<void>>((resolve) => shell.stop(resolve)).then(valueOf)
  releaseDisk(disk)
  return took
}

/** Overwritten ones at random; of new ones each once, in no order. */
function placesOf(count: number, isOverwrite: boolean): number[] {
  if (isOverwrite) return Array.from({ length: count }, () => Math.floor(Math.random() * FIRST_BLOCKS))
  const places = Array.from({ length: count }, (_, i) => FIRST_BLOCKS + i)
  for (let i = count - 1; i > 0; i--) {
    const other = Math.floor(Math.random() * (i + 1))
    ;[places[i], places[other]] = [places[other]!, places[i]!]
  }
  return places
}

async function cleanAll(stream: StoreStream): Promise<PassTime> {
  const checkpoint = async (): Promise<void> =>
    assert(await new Promise<boolean>((resolve) => stream.makeCheckpoint(resolve)), 'a checkpoint is made')
  // What is behind its position is cleaned.
  await checkpoint()
  const { segments, log } = stream
  const { batch } = log.position()
  const sealed = Array.from({ length: segments.count }, (_, segment) => segment).filter(
    (segment) => segments.state[segment] === SEGMENT_STATE.sealed && segments.lastBatch[segment]! < batch,
  )
  let liveBlocks = 0
  for (const segment of sealed) liveBlocks += segments.live[segment]! / UNITS_PER_BLOCK
  const buffer = newCleanerBuffer()
  const beganMs = performance.now()
  const [ownBegan, allBegan] = [process.threadCpuUsage(), process.cpuUsage()]
  for (const segment of sealed)
    await new Promise<boolean>((resolve) => runTask(cleanSegment(stream, segment, buffer), resolve))
  await checkpoint()
  const elapsed = ((performance.now() - beganMs) * 1000) / liveBlocks
  const [own, all] = [process.threadCpuUsage(ownBegan), process.cpuUsage(allBegan)]
  const ofCpu = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / liveBlocks
  return { elapsed, ownThread: ofCpu(own), allThreads: ofCpu(all) }
}

function valueOf<T>(result: Result<T>): T {
  if (!result.ok) throw result.error
  return result.value
}
