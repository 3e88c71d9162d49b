/** Which volume has a name: `names/<name>`, taken before the record is written, freed when it goes to the trash. */
import { encodeJson, isVolumeId, parseRecord } from './json-value.ts'

export const NAME_PREFIX = 'names/'

export const nameKey = (name: string): string => `${NAME_PREFIX}${name}`

export const encodeName = (volumeId: string): Uint8Array => encodeJson({ volumeId })

/** The id of the volume; undefined when the value names none. */
export function decodeName(value: Uint8Array): string | undefined {
  const found = parseRecord(value)
  return isVolumeId(found?.volumeId) ? found.volumeId : undefined
}
