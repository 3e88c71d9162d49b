/**
 * What the copies of a volume hold when all nodes have stopped, read from the logs on their disks, without their
 * indexes and without what serves them: every block as its newest record has it, its bytes checked.
 */
import { createProgress } from '../../cli/offline/progress.ts'
import { openDisk } from '../../cli/offline/disk-image.ts'
import { readCatalog } from '../../cli/offline/volume-catalog.ts'
import { layersOf } from '../../cli/offline/volume-image.ts'
import { createOutput } from '../../cli/output.ts'
import { crc32c } from '../../dataplane/checksum.ts'

export interface Look {
  volumeId: string
  /** Of a snapshot, which is seen then; the volume as it is unless given. */
  viewSeq?: number | undefined
}

/**
 * Of each look by block: which version with which bytes, as they are stored; a block that cannot be read says why, and
 * so does one that cannot be unpacked. Zeroes and holes are not there. The log is read once for all of them.
 */
export function contentsOnDisk(diskPath: string, looks: readonly Look[]): Array<Map<number, string>> {
  const image = openDisk(diskPath, createOutput(true))
  try {
    const progress = createProgress()
    const catalog = readCatalog([image], progress)
    return looks.map(({ volumeId, viewSeq }) => {
      const volume = catalog.volumes.get(volumeId)
      const content = new Map<number, string>()
      if (volume === undefined) return content
      const [layer] = layersOf(catalog, volume, progress, viewSeq).layers
      layer!.eachLive(() => true, ({ lba, stored, reason }) => {
        const { epoch, seq } = layer!.entry(lba)!
        const isRead = stored !== undefined && reason !== 'transform'
        content.set(lba, `${epoch}.${seq} ${isRead ? crc32c(stored) >>> 0 : reason}`)
      }, progress)
      return content
    })
  } finally {
    image.close()
  }
}

export const contentOnDisk = (diskPath: string, volumeId: string): Map<number, string> =>
  contentsOnDisk(diskPath, [{ volumeId }])[0]!

/** Words about the first few differences. */
export function differences(one: Map<number, string>, other: Map<number, string>): string[] {
  const found: string[] = []
  for (const lba of new Set([...one.keys(), ...other.keys()])) {
    if (one.get(lba) === other.get(lba)) continue
    found.push(`block ${lba}: ${one.get(lba) ?? 'nothing'} and ${other.get(lba) ?? 'nothing'}`)
  }
  return found
}
