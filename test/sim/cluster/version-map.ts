/**
 * The versions of blocks as a small store keeps them: per block the versions that the head or a snapshot sees, in
 * order of (epoch, seq), and traces of trims and zeroes while somebody may have missed them. Plain data; every
 * function changes the map it is given.
 *
 * Visible at a point q (the seq of a snapshot, Infinity for the head): the newest version up to q and behind the last
 * rollback `[to, at]` with at <= q; without one, what was visible at `to`.
 */
import { compareIds } from '../../../engine/replication/record-id.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'

export interface VersionMap {
  blocks: Map<number, BlockVersion[]>
  /** `sizeBlocks`: of the volume then. */
  snapshots: Array<{ id: string; seq: number; sizeBlocks?: number }>
  rollbacks: Array<[to: number, at: number]>
  /** Trims and zeroes above this keep their trace. */
  trimsKeptAbove: number
  /** The highest seq of a trim or zero whose trace is gone. */
  forgottenSeq: number
}

export function emptyVersionMap(): VersionMap {
  return { blocks: new Map(), snapshots: [], rollbacks: [], trimsKeptAbove: 0, forgottenSeq: 0 }
}

export function visibleAt(map: VersionMap, lba: number, point: number): BlockVersion | undefined {
  const versions = map.blocks.get(lba)
  if (versions === undefined) return undefined
  let upTo = point
  let i = versions.length - 1
  for (;;) {
    const last = map.rollbacks.findLast(([, at]) => at <= upTo)
    const above = last === undefined ? 0 : last[1]
    while (i >= 0 && versions[i]!.seq > upTo) i--
    if (i >= 0 && versions[i]!.seq > above) return versions[i]
    if (last === undefined) return undefined
    upTo = last[0]
  }
}

/** Where its (epoch, seq) puts it; one with the same id is there already. */
export function insertVersion(map: VersionMap, version: BlockVersion): void {
  const versions = map.blocks.get(version.lba)
  if (versions === undefined) {
    map.blocks.set(version.lba, [version])
  } else {
    let at = versions.length
    while (at > 0 && compareIds(versions[at - 1]!, version) > 0) at--
    if (at > 0 && compareIds(versions[at - 1]!, version) === 0) return
    versions.splice(at, 0, version)
  }
  settle(map, version.lba)
}

/** Forget what nobody sees any more. */
export function settleAll(map: VersionMap): void {
  for (const lba of [...map.blocks.keys()]) settle(map, lba)
}

export function wipe(map: VersionMap, firstLba: number, belowLba: number): void {
  for (const lba of [...map.blocks.keys()]) if (lba >= firstLba && lba < belowLba) map.blocks.delete(lba)
}

function settle(map: VersionMap, lba: number): void {
  const versions = map.blocks.get(lba)
  if (versions === undefined) return
  let kept = versions
  if (versions.length > 1) {
    const seen = new Set<BlockVersion>()
    const head = visibleAt(map, lba, Infinity)
    if (head !== undefined) seen.add(head)
    for (const { seq } of map.snapshots) {
      const version = visibleAt(map, lba, seq)
      if (version !== undefined) seen.add(version)
    }
    kept = versions.filter((version) => seen.has(version) || isKeptTrace(map, version))
  }
  // A trace with nothing below it says nothing that an absent block does not say, but to members that come back.
  while (kept.length > 0 && kept[0]!.kind !== 'write' && !isKeptTrace(map, kept[0]!)) {
    map.forgottenSeq = Math.max(map.forgottenSeq, kept[0]!.seq)
    kept = kept.slice(1)
  }
  if (kept.length === 0) map.blocks.delete(lba)
  else if (kept !== versions) map.blocks.set(lba, kept)
}

const isKeptTrace = (map: VersionMap, version: BlockVersion): boolean =>
  version.kind !== 'write' && version.seq > map.trimsKeptAbove
