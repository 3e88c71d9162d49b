/**
 * Planted bugs: each is a text replaced in one source file by a module loader hook, so that production code has no
 * switch for them. Two ways to meet one:
 *
 *   importMutant(mutant, path)      in this process, beside the real modules: the hook adds `?mutant=...` to everything
 *                                   that is imported from a module that has it
 *   node --import ./test/sim/mutants.ts FILE, with PLANTED_BUG=NAME    a whole process, for a test file as it is
 *
 * A text that does not occur exactly once is an error, not a mutant.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { STORE_PLANTED } from '../conformance/cluster-store/planted-bugs.ts'
import { NEMESIS_PLANTED } from '../nemesis/planted-bugs.ts'
import { POWER_PLANTED } from '../power/planted-bugs.ts'
import { PLANTED as REPLICATION_PLANTED } from './cluster/planted-bugs.ts'
import { PLANTED, type STORE_PROMISES } from './checker/planted-bugs.ts'
import type { Hunt } from './mutants-hunt.ts'

export interface Edit {
  /** Relative to the root. */
  file: string
  replace: string
  by: string
}

export interface Mutant extends Edit {
  /** What the bug does. */
  name: string
  /** Another change that is none by itself, so that the bug is met at all. */
  and?: Edit
  /** What else is to be changed for the bug. */
  also?: readonly Edit[]
  /** The smallest run that finds it. */
  hunt: Hunt
  /** Of what a store promises (STORE_PROMISES in checker/planted-bugs.ts), the first that is seen to be broken. */
  promise?: keyof typeof STORE_PROMISES
}

const root = dirname(dirname(import.meta.dirname))
const MARK = '?mutant='
const mutants = new Map<string, Omit<Mutant, 'hunt'>>()
const ofProcess: Omit<Mutant, 'hunt'> | undefined =
  [...PLANTED, ...STORE_PLANTED, ...REPLICATION_PLANTED, ...POWER_PLANTED, ...NEMESIS_PLANTED]
    .find(({ name }) => name === process.env.PLANTED_BUG)

/** Import a module of the repository as a mutant has it. */
export function importMutant<T>(mutant: Omit<Mutant, 'hunt'>, path: string): Promise<T> {
  const mark = mutant.name.replace(/[^a-z0-9]+/gi, '-')
  mutants.set(mark, mutant)
  return import(`${pathToFileURL(join(root, path)).href}${MARK}${mark}`) as Promise<T>
}

export const editsOf = (mutant: Omit<Mutant, 'hunt'>): Edit[] => [
  mutant,
  ...(mutant.and === undefined ? [] : [mutant.and]),
  ...(mutant.also ?? []),
]

/** Why the mutant cannot be made, undefined when it can. */
export function misfit({ file, replace, by }: Edit): string | undefined {
  const found = readFileSync(join(root, file), 'utf8').split(replace).length - 1
  if (found !== 1) return `its text occurs ${found} times in ${file}`
  return replace === by ? 'it changes nothing' : undefined
}

registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context)
    const mark = context.parentURL?.indexOf(MARK) ?? -1
    const isOurs = resolved.url.startsWith('file:') && !/\/node_modules\/|\?/.test(resolved.url)
    return mark < 0 || !isOurs ? resolved : { ...resolved, url: resolved.url + context.parentURL!.slice(mark) }
  },
  load(url, context, next) {
    const at = url.indexOf(MARK)
    const plain = at < 0 ? url : url.slice(0, at)
    const mutant = at < 0 ? ofProcess : mutants.get(url.slice(at + MARK.length))
    const loaded = next(plain, context)
    let edited = loaded
    for (const edit of mutant === undefined ? [] : editsOf(mutant)) {
      if (plain !== pathToFileURL(join(root, edit.file)).href) continue
      const problem = misfit(edit)
      if (problem !== undefined) throw new Error(`${mutant!.name}: ${problem}`)
      edited = { ...edited, source: String(edited.source).replace(edit.replace, () => edit.by) }
    }
    return edited
  },
})
if (process.env.PLANTED_BUG !== undefined && ofProcess === undefined)
  throw new Error(`there is no planted bug "${process.env.PLANTED_BUG}"`)
