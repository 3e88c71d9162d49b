/** The packages of package-lock.json, as lists of what is shipped need them. */
import fs from 'node:fs'
import path from 'node:path'

export const ROOT = path.dirname(import.meta.dirname)

export interface LockedPackage {
  name: string
  version: string
  /** An SPDX expression; empty: the lock file says none. */
  licence: string
  /** Of development only: not part of what is shipped. */
  isDev: boolean
  /** As the lock file has it: `sha512-...`. */
  integrity: string
}

interface LockEntry {
  version?: string
  license?: string
  dev?: boolean
  integrity?: string
  name?: string
}

const FOLDER = 'node_modules/'

/** Each name and version once, in order; shipped when it is so anywhere in the tree. */
export function lockedPackages(lockFile = path.join(ROOT, 'package-lock.json')): LockedPackage[] {
  const lock = JSON.parse(fs.readFileSync(lockFile, 'utf8')) as { packages: Record<string, LockEntry> }
  const packages = new Map<string, LockedPackage>()
  for (const [place, entry] of Object.entries(lock.packages)) {
    if (place === '') continue
    const name = entry.name ?? place.slice(place.lastIndexOf(FOLDER) + FOLDER.length)
    const { version = '', license: licence = '', integrity = '' } = entry
    const known = packages.get(`${name}@${version}`)
    const isDev = entry.dev === true && known?.isDev !== false
    packages.set(`${name}@${version}`, { name, version, licence, isDev, integrity })
  }
  return [...packages].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one)
}
