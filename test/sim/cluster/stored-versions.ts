/**
 * Where the versions of a copy that some view shows lie on its disks, head and history: what a scrub has to look at,
 * and what is damaged to see whether it does.
 */
import { ENTRY_KIND, epochOf, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { PAGES_MAX } from '../../../engine/log/volume-map.ts'
import { runTask, type Task } from '../../../engine/task.ts'
import { UNIT_BYTES } from '../../../engine/units.ts'
import { pagesFrom, pageVersions, type FoundVersion } from '../../../engine/volume/copy-reader.ts'
import type { LocalCopyStore } from '../../../engine/volume/copy-store.ts'

export interface StoredVersion {
  lba: number
  epoch: number
  seq: number
  diskUuid: string
  offsetBytes: number
  lengthBytes: number
}

/** @param done  gets undefined when the index cannot be read */
export function storedVersions(copy: LocalCopyStore, done: (found: StoredVersion[] | undefined) => void): void {
  runTask(storedTask(copy), done)
}

function* storedTask(copy: LocalCopyStore): Task<StoredVersion[] | undefined> {
  const all: StoredVersion[] = []
  for (const target of copy.targets) {
    const { stream, map } = target
    for (let page: number | undefined = 0; page !== undefined;) {
      const pages: number[] | undefined = yield* pagesFrom(target, page, PAGES_MAX, 16)
      if (pages === undefined) return undefined
      for (const one of pages) {
        const versions = yield* pageVersions(target, one, () => true)
        if (versions === undefined) return undefined
        for (const [lba, of] of byBlock(versions)) {
          const head = of.at(-1)!
          const shown = map.views.shownBySnapshots(of.map(({ words }) => seqOf(words, 0)))
          for (const version of of) {
            const { words } = version
            if (kindOf(words, 0) !== ENTRY_KIND.data) continue
            if (version !== head && !shown.has(seqOf(words, 0))) continue
            const { segmentBytes, diskUuid } = stream.context
            const offsetBytes = segmentOffsetBytes(segmentBytes, segmentOf(words, 0)) + unitsOf(words, 0) * UNIT_BYTES
            const lengthBytes = storedUnitsOf(words, 0) * UNIT_BYTES
            all.push({ lba, epoch: epochOf(words, 0), seq: seqOf(words, 0), diskUuid, offsetBytes, lengthBytes })
          }
        }
      }
      const last = pages.at(-1)
      page = last === undefined ? undefined : last + 1
    }
  }
  return all
}

/** Of each block its versions, in order of seq; the head is the last. */
function byBlock(versions: readonly FoundVersion[]): Map<number, FoundVersion[]> {
  const blocks = new Map<number, FoundVersion[]>()
  for (const version of versions) {
    const of = blocks.get(version.lba)
    if (of === undefined) blocks.set(version.lba, [version])
    else of.push(version)
  }
  return blocks
}
