/** What `image/install.sh` says it takes, and what the Dockerfile builds on. */
import { readFileSync } from 'node:fs'
import path from 'node:path'

export const ROOT = path.resolve(import.meta.dirname, '../..')
export const INSTALL = path.join(ROOT, 'image/install.sh')

const textOf = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

function wordsOf(name: string): string[] {
  const found = new RegExp(`^${name}='([^']*)'$`, 'm').exec(textOf('image/install.sh'))
  if (found === null) throw new Error(`image/install.sh has no ${name}`)
  return found[1]!.split(' ')
}

/** Folders and files of the repository. */
export const shippedParts = (): string[] => wordsOf('SHIPPED')
/** Debian packages. */
export const debianPrograms = (): string[] => wordsOf('PROGRAMS')

/** E.g. `{ suite: 'bookworm', day: '20250520' }`. */
export function baseImage(): { suite: string; day: string } {
  const found = /^ARG BASE=\S+\/debian:([a-z]+)-(\d{8})-slim$/m.exec(textOf('image/Dockerfile'))
  if (found === null) throw new Error('image/Dockerfile names no base with a day')
  return { suite: found[1]!, day: found[2]! }
}

export const isShipped = (file: string, parts = shippedParts()): boolean =>
  parts.some((part) => file === part || file.startsWith(`${part}/`))
