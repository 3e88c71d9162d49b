/** Damaged tables of a closed LevelDB database, found before LevelDB opens it and may compact them. */
import type { Crc32c } from '../ports.ts'
import { liveTables } from './manifest.ts'
import { tableDamage } from './table-blocks.ts'

/** The content of a file of the database's folder, undefined when there is none. */
export type ReadFile = (name: string) => Uint8Array | undefined

/**
 * The first damage in words that name the file, undefined when every table that is there is whole. What is missing, and
 * damage of other files, which have checksums that LevelDB looks at, is left to LevelDB. Reads the whole database, one
 * table in memory at a time.
 */
export function databaseDamage(read: ReadFile, crc32c: Crc32c): string | undefined {
  const current = read('CURRENT')
  if (current === undefined) return undefined
  const name = /^(MANIFEST-\d+)\n$/.exec(String.fromCharCode(...current.subarray(0, 100)))?.[1]
  const manifest = name === undefined ? undefined : read(name)
  if (manifest === undefined) return undefined
  for (const number of liveTables(manifest, crc32c)) {
    const digits = String(number).padStart(6, '0')
    // The second is what LevelDB called tables until 2013, and still reads.
    for (const file of [`${digits}.ldb`, `${digits}.sst`]) {
      const table = read(file)
      if (table === undefined) continue
      const damage = tableDamage(table, crc32c)
      if (damage !== undefined) return `${file}: ${damage}`
      break
    }
  }
  return undefined
}
