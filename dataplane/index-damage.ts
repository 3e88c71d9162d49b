/**
 * Marks beside an index folder that say: discard it at the next start. LevelDB maps its tables, so a damaged file or a
 * failing medium below it may end the process by a signal instead of an error; the mark breaks that circle.
 */
import fs from 'node:fs'
import path from 'node:path'

export const damageMark = (folder: string): string => `${folder}.damaged`

/** Mark every index below `indexDir` (`<disk uuid>/<stream>`). They are rebuilt from the log. */
export function markAllDamaged(indexDir: string): void {
  if (!fs.existsSync(indexDir)) return
  for (const disk of fs.readdirSync(indexDir)) {
    const folder = path.join(indexDir, disk)
    for (const stream of fs.readdirSync(folder))
      if (/^\d+$/.test(stream)) fs.writeFileSync(damageMark(path.join(folder, stream)), '')
  }
}
