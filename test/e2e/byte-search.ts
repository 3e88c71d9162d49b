/** Looks for bytes, in every form in which they are written down, wherever a process may have left them. */
import fs from 'node:fs'
import path from 'node:path'
import { MIB } from '../../engine/units.ts'

export type Wanted = readonly [name: string, bytes: Buffer]

/** A key as it is, and as text. */
export const formsOf = (name: string, key: Buffer): Wanted[] => [
  [name, key],
  [`${name}, hex`, Buffer.from(key.toString('hex'))],
  [`${name}, base64`, Buffer.from(key.toString('base64').slice(0, 40))],
]

/** Every file of a folder, or one file. */
export function filesOf(where: string): string[] {
  if (!fs.statSync(where).isDirectory()) return [where]
  return fs.readdirSync(where, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => path.join(parentPath, name))
}

/** What runs meanwhile takes files away. */
function openedOrGone(file: string): number | undefined {
  try {
    return fs.openSync(file, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** @param where  a folder, a file, or several files */
export function search(
  where: string | readonly string[], wanted: readonly Wanted[],
): { bytes: number; hits: Set<string> } {
  const hits = new Set<string>()
  let bytes = 0
  const buffer = Buffer.alloc(8 * MIB + 256)
  for (const file of typeof where === 'string' ? filesOf(where) : where) {
    const fd = openedOrGone(file)
    if (fd === undefined) continue
    for (let at = 0, got = 1; got > 0; at += 8 * MIB) {
      got = fs.readSync(fd, buffer, 0, buffer.length, at)
      bytes += Math.min(got, 8 * MIB)
      const part = buffer.subarray(0, got)
      for (const [name, what] of wanted) if (!hits.has(name) && part.includes(what)) hits.add(name)
    }
    fs.closeSync(fd)
  }
  return { bytes, hits }
}
