/**
 * What the layout promises: who may import whom, a pure engine, and no arithmetic that cuts positions to 32 bits.
 */
import { dirname, join } from 'node:path/posix'
import { codeOnly, withoutComments } from './code-text.ts'
import { everyMatch, isTypeScript, lineOf } from './rule.ts'
import type { Rule } from './rule.ts'

/** Folder -> folders it may import from besides itself. Nothing production imports `test` or `bench`. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  engine: [],
  proto: [],
  dataplane: ['engine', 'proto', 'cluster'],
  cluster: ['engine', 'proto'],
  csi: ['engine', 'proto', 'cluster'],
  cli: ['engine', 'proto', 'dataplane', 'cluster', 'csi'],
  bench: ['engine', 'proto', 'dataplane', 'cluster', 'csi', 'cli', 'test'],
  test: ['engine', 'proto', 'dataplane', 'cluster', 'csi', 'cli', 'bench', 'bin'],
}

const IMPORT = /\b(?:from|import)\s*\(?\s*(['"])([^'"\n]+)\1/g

export const importDirections: Rule = {
  name: 'imports follow the layout',
  check({ path, text }) {
    const folder = path.split('/')[0] ?? ''
    const allowed = MAY_IMPORT[folder]
    if (!isTypeScript(path) || allowed === undefined) return []
    const code = withoutComments(text)
    return [...code.matchAll(IMPORT)].flatMap((match) => {
      const specifier = match[2] ?? ''
      const line = lineOf(code, match.index)
      if (!specifier.startsWith('.')) {
        if (folder !== 'engine') return []
        return [{ line, problem: `engine/ imports ${specifier}; it may import nothing but engine/` }]
      }
      const target = join(dirname(path), specifier).split('/')[0] ?? ''
      if (target === folder || allowed.includes(target)) return []
      return [{ line, problem: `${folder}/ may not import from ${target}/ (${specifier})` }]
    })
  },
}

/** The host and its time, randomness and turns: all of them reach the engine as ports. */
const IMPURE = new RegExp(
  [
    '\\b(?:Date|Promise|setTimeout|setInterval|setImmediate|queueMicrotask|structuredClone|Buffer|globalThis)\\b',
    '\\b(?:async|await)\\b',
    '\\bMath\\.random\\b',
    '(?<![.#\\w])(?:process|console|performance|crypto|require)\\s*[.(]',
  ].join('|'),
  'g',
)

export const pureEngine: Rule = {
  name: 'engine/ is pure',
  check({ path, text }) {
    if (!path.startsWith('engine/') || !isTypeScript(path)) return []
    return everyMatch(codeOnly(text), IMPURE, ([found]) => {
      const word = found.replace(/\s*[.(]$/, '')
      return `${word} in engine/; use a port (engine/ports.ts)`
    })
  },
}

const POSITION = '(?:lba|seq|batch|[a-z]\\w*(?:Lba|Seq|Batch))'
/** As the right operand it may be a property (`x.lba`), but not what a property or a result is taken from. */
const OPERAND = `(?:\\w+\\.)*${POSITION}\\b(?![.(])`
const BITWISE = new RegExp(
  [
    `\\b${POSITION}\\s*(?:<<|>>>?|&(?!&)|\\|(?!\\|)|\\^)`,
    `(?:<<|>>>?|(?<!&)&|(?<!\\|)\\||\\^)=?\\s*${OPERAND}`,
    `~\\s*${OPERAND}`,
  ].join('|'),
  'g',
)

export const noBitwisePositions: Rule = {
  name: 'no bitwise operator on an LBA, a seq or a batch number',
  check({ path, text }) {
    if (!isTypeScript(path)) return []
    return everyMatch(codeOnly(text), BITWISE, ([found]) => `\`${found.trim()}\`: these exceed 32 bits, use arithmetic`)
  },
}
