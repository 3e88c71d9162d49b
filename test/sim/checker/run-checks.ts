/** What a run compares: every block of every view, the store with itself (fsck), and a restart with what was before. */
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { fsck, mapEntries } from '../fsck.ts'
import { entryKinds } from './entries.ts'
import { comeBack, replaceWorld } from './run-crashes.ts'
import { readViewBlock } from './run-views.ts'
import type { ModelledVolume, StoreRun } from './store-run.ts'
import { BLOCK_SECTORS, ModelError, SECTOR_BYTES, stampedBytes, stampsOf, type Stamps } from './volume-model.ts'

const UNDER_WAY_MAX = 3_000_000

/** Wait until nothing is under way. */
export function settle(run: StoreRun): void {
  run.world.clock.runUntilIdle(UNDER_WAY_MAX)
  const held = run.volumes.reduce((sum, { name }) => sum + (run.world.store!.volume(name)?.heldRequests ?? 0), 0)
  if (run.underWay > 0)
    throw new ModelError(
      `${run.underWay} requests are not answered though nothing is under way (${held} held): ${spaceText(run)}`,
    )
}

function spaceText(run: StoreRun): string {
  return run.world
    .store!.streams()
    .map(
      (s) =>
        `free ${s.freeSegments} reserve ${s.reserveSegments} states ${s.segments.state.join('')} ` +
          `live ${s.segments.live.join(',')}`,
    )
    .join('; ')
}

export function compareAll(run: StoreRun): void {
  for (const volume of run.volumes) {
    if (volume.state !== 'live') continue
    const read = volume.model.beginRead()
    for (const [lba, stamps] of readAll(run, volume)) {
      const bytes = new Uint8Array(BLOCK_BYTES)
      for (let s = 0; s < BLOCK_SECTORS; s++) bytes.set(stampedBytes(stamps[s]!, 1), s * SECTOR_BYTES)
      volume.model.endRead(read, lba * BLOCK_SECTORS, bytes)
    }
    for (const view of volume.views) for (const lba of lbasOf(run, volume)) readViewBlock(run, volume, view, lba)
    settle(run)
  }
}

export function lbasOf(run: StoreRun, volume: ModelledVolume): number[] {
  return volume.windows.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i))
}

export function readAll(run: StoreRun, volume: ModelledVolume): Map<number, Stamps> {
  const found = new Map<number, Stamps>()
  for (const { first, count } of volume.windows) {
    const into = new Uint8Array(count * BLOCK_BYTES).fill(0xa5)
    const errno = run.world.await<number>((done) => run.device(volume).read(first * BLOCK_BYTES, into, done))
    if (errno !== 0)
      volume.model.fail(
        `blocks ${first}..${first + count - 1} cannot be read, errno ${errno}: ` +
          `${JSON.stringify(run.world.events.filter((e) => e.level === 'error').slice(-3))}`,
      )
    for (let i = 0; i < count; i++) found.set(first + i, stampsOf(into, i * BLOCK_BYTES))
    run.counts.blocksCompared += count
  }
  return found
}

export function checkStore(run: StoreRun): void {
  settle(run)
  run.counts.fscks++
  const problems = fsck(run.world)
  if (problems.length > 0)
    throw new ModelError(
      `fsck: ${problems.slice(0, 5).join('\n')}${problems.length > 5 ? `\n... ${problems.length} in all` : ''}`,
    )
}

/** L11: what a restart finds is what was in memory, with the index and without it. */
export function reopenAndCompare(run: StoreRun): void {
  for (const index of ['synced', 'lost'] as const) {
    const before = run.world.store!.streams().map((stream) => entryKinds(mapEntries(run.world, stream)!, stream))
    settle(run)
    replaceWorld(
      run,
      () => 'kill',
      () => index,
      true,
    )
    comeBack(run)
    settle(run)
    checkStore(run)
    const after = run.world.store!.streams().map((stream) => entryKinds(mapEntries(run.world, stream)!, stream))
    before.forEach((one, i) => {
      for (const entry of one)
        if (!after[i]!.has(entry)) throw new ModelError(`L11: after a restart (index ${index}) ${entry} is missing`)
      for (const entry of after[i]!)
        if (!one.has(entry)) throw new ModelError(`L11: after a restart (index ${index}) ${entry} is new`)
    })
    compareAll(run)
  }
}

/** Let the cleaner look for a victim, the open segment included, as if writers waited for space. */
export function cleanNow(run: StoreRun): void {
  for (const { stream, maintenance } of run.world.store!['parts'].disks.entries) {
    stream.log.sealOpen()
    stream.makeCheckpoint(() => {
      maintenance.shortOfSpace = true
      maintenance.kick()
    })
  }
}
