/** Help on every level, from the command table: what there is, how one command is used, and examples that work. */
import type { OptionSpec, PositionalSpec } from './arguments.ts'
import { COMMANDS, GLOBAL_OPTIONS } from './commands.ts'
import type { Command } from './command.ts'

const COLUMN = 26

function entry(left: string, right: string): string {
  return left.length < COLUMN ? `  ${left.padEnd(COLUMN)}${right}` : `  ${left}\n  ${' '.repeat(COLUMN)}${right}`
}

function positionalText({ name, optional, many }: PositionalSpec): string {
  const text = many === true ? `${name}...` : name
  return optional === true ? `[${text}]` : text
}

function optionEntry([name, { value, short, summary }]: [string, OptionSpec]): string {
  const flag = `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`
  return entry(flag, summary)
}

function commandEntry({ words, positionals, summary }: Command): string {
  return entry([words, ...positionals.map(positionalText)].join(' '), summary)
}

export function commandHelp(command: Command): string[] {
  const { words, summary, positionals, options, examples } = command
  const below = COMMANDS.filter((other) => other.words.startsWith(`${words} `))
  return [
    `holdfast ${words}: ${summary}`,
    '',
    `Usage: ${['holdfast', words, ...positionals.map(positionalText), '[OPTIONS]'].join(' ')}`,
    '',
    'Options:',
    ...Object.entries({ ...options, ...GLOBAL_OPTIONS }).map(optionEntry),
    ...(below.length === 0 ? [] : ['', 'Commands:', ...below.map(commandEntry)]),
    '',
    'Examples:',
    ...examples.map((example) => `  ${example}`),
  ]
}

/** @param group first words of commands, or empty for all of them */
export function groupHelp(group: string): string[] {
  const commands = COMMANDS.filter(({ words }) => group === '' || words === group || words.startsWith(`${group} `))
  const title = group === '' ? 'holdfast: replicated block storage, one command' : `holdfast ${group}`
  return [
    title,
    '',
    'Commands:',
    ...commands.map(commandEntry),
    ...(group === '' ? [entry('help [COMMAND]', 'explain a command'), entry('--version', 'print the version')] : []),
    '',
    'Examples:',
    ...(group === '' ? ['  holdfast dev', '  holdfast volume create data-1 --size 10Gi', '  holdfast status']
      : commands.flatMap(({ examples }) => examples.slice(0, 1)).map((example) => `  ${example}`)),
    '',
    `\`holdfast help${group === '' ? ' COMMAND' : ` ${group} COMMAND`}\` explains one; -o json works on every command`,
  ]
}
