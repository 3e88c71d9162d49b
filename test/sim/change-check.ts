/**
 * G1 to G3 (engine/log/change-log.ts): of every version that lies behind a snapshot the log of changes tells that its
 * block changed between the two marks beside it, and as written only what was written last there.
 *
 * Nothing has to be told between marks where the snapshots and the head see all, or none of them anything: what came
 * there while no snapshot was left is not noted, though an end of a rollback may lie below it. No difference reads it:
 * snapshots to come see there what the head sees, or a snapshot to which it is rolled back.
 */
import { ChangePaint, CHANGE } from '../../engine/log/change-set.ts'
import { readChanges } from '../../engine/log/change-reading.ts'
import { ENTRY_KIND, kindOf, seqOf } from '../../engine/log/entry.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import type { VolumeMap } from '../../engine/log/volume-map.ts'
import { runTask } from '../../engine/task.ts'
import { BLOCK_BYTES, SLICE_BLOCKS } from '../../engine/units.ts'
import type { MappedEntry } from './fsck.ts'
import type { StoreWorld } from './store-world.ts'

export function checkChanges(world: StoreWorld, stream: StoreStream, entries: readonly MappedEntry[]): string[] {
  const problems: string[] = []
  for (const volume of stream.map.volumes.values()) {
    if (volume.isDeleted || (volume.copy?.wiping.length ?? 0) > 0) continue
    const own = entries.filter(({ volumeId }) => volumeId === volume.descriptor.spec.id)
    const { listSeqs } = volume.views
    const marks = listSeqs.length === 0 ? [] : volume.views['marks']()
    marks.forEach((mark, i) => {
      if (mark < volume.changesFrom || !isCompared(volume, mark + 1)) return
      const interval: [number, number] = [mark, marks[i + 1] ?? Infinity]
      for (const problem of checkInterval(world, stream, volume, own, interval))
        problems.push(`volume ${volume.descriptor.spec.id.slice(-6)}: ${problem}`)
    })
  }
  return problems
}

/** Whether of the snapshots and the head some see a version of this seq and others do not. */
function isCompared({ views }: VolumeMap, seq: number): boolean {
  const all = views.headExists ? [Infinity, ...views.listSeqs] : views.listSeqs
  const isHidden = views.hidden(all[0]!, seq)
  return all.some((view) => views.hidden(view, seq) !== isHidden)
}

function checkInterval(
  world: StoreWorld,
  stream: StoreStream,
  volume: VolumeMap,
  entries: readonly MappedEntry[],
  interval: [above: number, upTo: number],
): string[] {
  const problems: string[] = []
  const [above, upTo] = interval
  const newest = new Map<number, Uint32Array>()
  for (const { lba, words } of entries) {
    const seq = seqOf(words, 0)
    if (seq <= above || seq > upTo) continue
    const known = newest.get(lba)
    if (known === undefined || seqOf(known, 0) < seq) newest.set(lba, words)
  }
  // Of what no view ends behind, the last version may be dead.
  const isShown = upTo === Infinity || (volume.views.listSeqs.includes(upTo) && !volume.views.hidden(upTo, upTo))
  const slices = Math.ceil(volume.descriptor.spec.sizeBytes / BLOCK_BYTES / SLICE_BLOCKS)
  const paint = new ChangePaint()
  for (let slice = 0; slice < slices; slice++) {
    const ok = world.await<boolean>((done) =>
      runTask(readChanges(stream.map, volume, { slice, intervals: [interval] }, paint), done),
    )
    if (!ok) return ['G1 the log of changes cannot be read']
    for (const [lba, words] of newest) {
      if (Math.floor(lba / SLICE_BLOCKS) !== slice) continue
      const told = paint.kinds[lba % SLICE_BLOCKS]
      const isRight = told === CHANGE.look || (told === CHANGE.written && kindOf(words, 0) === ENTRY_KIND.data)
      if (!isRight) problems.push(`G1 between ${above} and ${upTo} block ${lba} has ${seqOf(words, 0)}, told ${told}`)
    }
    paint.eachRun(0, SLICE_BLOCKS, (first, count, kind) => {
      for (let i = first; i < first + count && kind === CHANGE.written && isShown; i++) {
        const words = newest.get(slice * SLICE_BLOCKS + i)
        if (words === undefined || kindOf(words, 0) !== ENTRY_KIND.data)
          problems.push(`G3 between ${above} and ${upTo} block ${slice * SLICE_BLOCKS + i} was not written last`)
      }
    })
  }
  return problems
}
