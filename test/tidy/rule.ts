/**
 * A tidy rule looks at one file at a time and answers with violations. What it must know of the rest of the tree comes
 * in as `Tree`, so that its own test can plant a violation without a file system.
 */
export interface Source {
  /** Relative to the root, with slashes. */
  path: string
  text: string
}

export interface Tree {
  /** Whether a file or folder with that path, relative to the root, is there. */
  exists(path: string): boolean
  /** The files right in a folder, by path. */
  files(folder: string): string[]
  read(path: string): string
}

export interface Violation {
  line: number
  problem: string
}

export interface Rule {
  name: string
  check(source: Source, tree: Tree): Violation[]
}

export const lineOf = (text: string, index: number): number => text.slice(0, index).split('\n').length

/** One violation for each match. */
export function everyMatch(text: string, pattern: RegExp, problem: (match: RegExpExecArray) => string): Violation[] {
  return [...text.matchAll(pattern)].map((match) => ({ line: lineOf(text, match.index), problem: problem(match) }))
}

export const isTypeScript = (path: string): boolean => path.endsWith('.ts')
export const isCode = (path: string): boolean => /\.(ts|mjs)$/.test(path)
