/** A stream of which everything that is sealed was moved once, whatever that wins. */
import { cleanSegment, newCleanerBuffer } from '../../engine/log/cleaner.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import { runTask } from '../../engine/task.ts'
import type { CopyWorld } from './copy-world.ts'
import type { StoreWorld } from './store-world.ts'

/** @param isKept  its last checkpoint knows where everything is */
export function cleanAll(world: StoreWorld, stream: StoreStream, isKept = true): void {
  const checkpoint = (): void => void world.await<boolean>((done) => stream.makeCheckpoint(done))
  checkpoint()
  const { segments, log } = stream
  const { batch } = log.position()
  for (let segment = 0; segment < segments.count; segment++)
    if (segments.state[segment] === SEGMENT_STATE.sealed && segments.lastBatch[segment]! < batch)
      world.await<boolean>((done) => runTask(cleanSegment(stream, segment, newCleanerBuffer()), done))
  if (!isKept) return
  checkpoint()
  world.clock.runUntilIdle()
}

/** That of a copy on one disk. */
export const cleanCopy = ({ copy, world }: CopyWorld, isKept = true): void =>
  cleanAll(world, copy.targets[0]!.stream, isKept)
