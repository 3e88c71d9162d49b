/**
 * Where a snapshot shows something else than another one, or holds something, as a stream of ranges: through readers of
 * this node, answer by answer of the primary. Both snapshots are in use for as long as it lasts.
 *
 * The next answer is asked for before the last one is given away, so that both ends work at once.
 */
import { shown } from '../cluster/api/names.ts'
import type { DiffPart, DiffRequest } from '../cluster/api/snapshot-diff.ts'
import { HoldfastError } from '../engine/errors.ts'
import { BLOCK_BYTES } from '../engine/units.ts'
import type { ClusterNode } from './cluster-node.ts'
import type { OpenReader } from './worker-messages.ts'

/** For whoever leads the volume, or is about to. */
const OPEN_MS = 20_000

export async function* diffSnapshots(
  node: ClusterNode, { volume, snapshot, since }: DiffRequest,
): AsyncGenerator<DiffPart> {
  const record = node.volume(volume)
  if (record === undefined) throw new HoldfastError('volume-not-found', { name: shown(volume) })
  const { spec } = record
  const readers: OpenReader[] = []
  const open = async (wanted: string): Promise<OpenReader> => {
    const { ioTimeoutMs } = spec
    const opened = await node.openSnapshot({ spec, wanted, ioTimeoutMs }, OPEN_MS)
    if (opened === null) throw new HoldfastError('snapshot-not-found', { volume, snapshot: shown(wanted) })
    readers.push(opened)
    return opened
  }
  try {
    const { reader, snapshot: { sizeBytes } } = await open(snapshot)
    const other = since === '' ? null : (await open(since)).snapshot
    const place = other && { id: other.id, epoch: other.epoch, seq: other.seq }
    const endLba = sizeBytes / BLOCK_BYTES
    const ask = (lba: number) => node.mapSnapshot(spec.id, { reader, lba, blockCount: endLba - lba, since: place })
    let next: ReturnType<typeof ask> | undefined = ask(0)
    while (next !== undefined) {
      const answer: Awaited<ReturnType<typeof ask>> = await next
      next = answer.endLba < endLba ? ask(answer.endLba) : undefined
      // Whoever ends it before this is awaited hears of no failure of it.
      next?.catch(() => undefined)
      if (answer.runs.length > 0) yield partOf(answer.runs)
    }
  } finally {
    for (const { reader } of readers) await node.closeSnapshot(spec.id, reader)
  }
}

function partOf(runs: readonly number[]): DiffPart {
  const part: DiffPart = { offsetBytes: [], lengthBytes: [], kinds: [] }
  for (let i = 0; i < runs.length; i += 3) {
    part.offsetBytes.push(runs[i]! * BLOCK_BYTES)
    part.lengthBytes.push(runs[i + 1]! * BLOCK_BYTES)
    part.kinds.push(runs[i + 2]!)
  }
  return part
}
