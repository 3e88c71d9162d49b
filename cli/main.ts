#!/usr/bin/env node
/**
 * The `holdfast` command: finds the command in the words typed, parses the rest, runs it, and turns whatever goes wrong
 * into one sentence and an exit code (0 done, 1 failed, 2 the words cannot work). No stack trace reaches a user.
 */
import { nearest } from '../cluster/api/names.ts'
import { version } from '../dataplane/version.ts'
import { HoldfastError } from '../engine/errors.ts'
import { parseArguments, usageError } from './arguments.ts'
import { COMMANDS, GLOBAL_OPTIONS } from './commands.ts'
import type { Command } from './command.ts'
import { commandHelp, groupHelp } from './help.ts'
import { EXIT_OK, EXIT_USAGE, createOutput, exitCodeOf } from './output.ts'
import type { Output } from './output.ts'

function wantsJson(words: string[]): boolean {
  return words.some((word, index) => /^(-o=?json|--output=json)$/.test(word)
    || (word === 'json' && /^(-o|--output)$/.test(words[index - 1] ?? '')))
}

function isGroup(words: string): boolean {
  return words === '' || COMMANDS.some((command) => command.words.startsWith(`${words} `))
}

interface Found {
  words: string
  command: Command | undefined
  rest: string[]
}

/** The longest run of leading words that is a command or a group of commands. */
function findCommand(words: string[]): Found {
  let found: Found = { words: '', command: undefined, rest: words }
  for (let count = 1; count <= words.length; count++) {
    const joined = words.slice(0, count).join(' ')
    const command = COMMANDS.find((candidate) => candidate.words === joined)
    if (command === undefined && !isGroup(joined)) break
    found = { words: joined, command, rest: words.slice(count) }
  }
  return found
}

/** Options before the command are those of every command; they are moved behind it. */
function leadingOptionsLast(words: string[]): string[] {
  const leading: string[] = []
  let at = 0
  while (words[at]?.startsWith('-') === true) {
    const takesNext = /^(-o|--output|--endpoint|--tls|--token-file)$/.test(words[at]!)
    leading.push(...words.slice(at, at + (takesNext ? 2 : 1)))
    at += takesNext ? 2 : 1
  }
  return [...words.slice(at), ...leading]
}

function unknownCommand(group: string, word: string): HoldfastError {
  const prefix = group === '' ? '' : `${group} `
  const below = COMMANDS.filter(({ words }) => words.startsWith(prefix))
  const next = below.map(({ words }) => words.slice(prefix.length).split(' ')[0]!)
  const meant = nearest(word, new Set(group === '' ? [...next, 'help'] : next))
  const hint = meant === undefined ? `\`holdfast help ${group}`.trimEnd() + '` lists them'
    : `did you mean \`holdfast ${prefix}${meant}\`?`
  return usageError(`there is no command ${JSON.stringify(`${prefix}${word}`)}`, hint)
}

function showHelp(words: string[], output: Output): number {
  const { words: known, command, rest } = findCommand(words)
  const unknown = rest.find((word) => !word.startsWith('-'))
  if (unknown !== undefined) throw unknownCommand(known, unknown)
  const lines = command === undefined ? groupHelp(known) : commandHelp(command)
  output.result({ help: lines }, () => lines)
  return EXIT_OK
}

function showVersion(output: Output): number {
  const facts = { version: version(), nodeVersion: process.version, platform: `${process.platform}-${process.arch}` }
  output.result(facts, () => [`holdfast ${facts.version} (Node ${facts.nodeVersion}, ${facts.platform})`])
  return EXIT_OK
}

/** Words of a command that reads its own, without `-o json`, which is everyone's. */
function withoutFormat(words: string[]): string[] {
  const isFormat = (word: string | undefined) => word === 'json' || word === 'text'
  const isOption = (word: string | undefined) => word === '-o' || word === '--output'
  return words.filter((word, index) => !/^(-o|--output)=(json|text)$/.test(word)
    && !(isOption(word) && isFormat(words[index + 1])) && !(isFormat(word) && isOption(words[index - 1])))
}

async function runCommand(typed: string[], output: Output): Promise<number> {
  if (process.platform !== 'linux') throw new HoldfastError('platform', { platform: process.platform })
  const words = leadingOptionsLast(typed)
  if (words[0] === 'help') return showHelp(withoutFormat(words.slice(1)), output)
  const { words: known, command, rest } = findCommand(words)
  const asksHelp = rest.includes('--help') || rest.includes('-h')
  const stray = rest[0] !== undefined && !rest[0].startsWith('-') ? rest[0] : undefined
  if (command === undefined) {
    if (stray !== undefined) throw unknownCommand(known, stray)
    if (rest.includes('--version')) return showVersion(output)
    const option = rest.find((word) => word.startsWith('-') && !/^(-h|--help|-o.*|--output.*)$/.test(word))
    if (option !== undefined) throw usageError(`unknown option ${option}`, '`holdfast help` shows what there is')
    showHelp(known === '' ? [] : known.split(' '), output)
    return known === '' || asksHelp ? EXIT_OK : EXIT_USAGE
  }
  if (command.loadRaw !== undefined) return (await command.loadRaw())(withoutFormat(rest), output)
  if (asksHelp) return showHelp(known.split(' '), output)
  if (stray !== undefined && command.positionals.length === 0 && isGroup(known)) throw unknownCommand(known, stray)
  const options = { ...command.options, ...GLOBAL_OPTIONS }
  const parsed = parseArguments(rest, { ...command, options }, `\`holdfast help ${known}\` shows how`)
  const format = parsed.text('output') ?? 'text'
  if (format !== 'json' && format !== 'text') throw usageError(`output format ${format} is unknown`, 'use text or json')
  return (await command.load())({ arguments: parsed, output })
}

export async function main(words: string[]): Promise<number> {
  const output = createOutput(wantsJson(words))
  try {
    return await runCommand(words, output)
  } catch (error) {
    output.error(error)
    return exitCodeOf(error)
  }
}

if (import.meta.main) {
  process.stdout.on('error', () => process.exit(EXIT_OK))
  process.exitCode = await main(process.argv.slice(2))
}
