/**
 * The words of a command line, held against what a command takes. Built on node:util's tokens, so that the usual forms
 * work (`--size 1Gi`, `--size=1Gi`, `-o json`, `--` before names that begin with a dash); everything unknown is refused
 * with the nearest known name.
 */
import { parseArgs } from 'node:util'
import { nearest } from '../cluster/api/names.ts'
import { HoldfastError } from '../engine/errors.ts'

export interface OptionSpec {
  /** What the value is called in help; none = a switch. */
  value?: string
  short?: string
  many?: boolean
  summary: string
}

export interface PositionalSpec {
  name: string
  optional?: boolean
  /** Takes all that follow. */
  many?: boolean
}

export interface Arguments {
  text(option: string): string | undefined
  texts(option: string): string[]
  flag(option: string): boolean
  positionals: string[]
}

export function usageError(problem: string, hint: string): HoldfastError {
  return new HoldfastError('usage', { problem, hint })
}

function checkPositionals(given: string[], wanted: PositionalSpec[], help: string): void {
  const missing = wanted.slice(given.length).find(({ optional }) => optional !== true)
  if (missing !== undefined) throw usageError(`${missing.name} is missing`, help)
  if (given.length > wanted.length && wanted.at(-1)?.many !== true) {
    throw usageError(`${JSON.stringify(given[wanted.length])} is one word too many`, help)
  }
}

export function parseArguments(
  words: string[],
  takes: { options: Record<string, OptionSpec>; positionals: PositionalSpec[] },
  /** Where to read on, e.g. "`holdfast help volume create` shows how". */
  help: string,
): Arguments {
  const values = new Map<string, string[]>()
  const positionals: string[] = []
  const options = Object.fromEntries(Object.entries(takes.options).map(([name, { value, short }]) => [
    name,
    { type: value === undefined ? 'boolean' as const : 'string' as const, ...(short !== undefined && { short }) },
  ]))
  const { tokens } = parseArgs({ args: words, options, strict: false, allowPositionals: true, tokens: true })
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const spec = Object.hasOwn(takes.options, token.name) ? takes.options[token.name] : undefined
    if (spec === undefined) {
      const meant = token.name.length > 1 ? nearest(token.name, Object.keys(takes.options)) : undefined
      throw usageError(`unknown option ${token.rawName}`, meant === undefined ? help : `did you mean --${meant}?`)
    }
    if (spec.value === undefined && token.value !== undefined) {
      throw usageError(`${token.rawName} takes no value`, help)
    }
    if (spec.value !== undefined && token.value === undefined) {
      throw usageError(`${token.rawName} needs a value`, `give ${token.rawName} ${spec.value}`)
    }
    const known = values.get(token.name) ?? []
    if (known.length > 0 && spec.value !== undefined && spec.many !== true) {
      throw usageError(`${token.rawName} is given twice`, 'give it once')
    }
    values.set(token.name, [...known, token.value ?? 'true'])
  }
  checkPositionals(positionals, takes.positionals, help)
  return {
    text: (option) => values.get(option)?.[0],
    texts: (option) => values.get(option) ?? [],
    flag: (option) => values.has(option),
    positionals,
  }
}
