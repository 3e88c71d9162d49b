/** What a command is to whoever parses, explains and runs it. The table of them all is commands.ts. */
import type { Arguments, OptionSpec, PositionalSpec } from './arguments.ts'
import type { Output } from './output.ts'

export interface Invocation {
  arguments: Arguments
  output: Output
}

/** Resolves to the exit status of the process. */
export type Run = (invocation: Invocation) => Promise<number>
/** Commands that read their own words. */
export type RunRaw = (words: string[], output: Output) => Promise<number>

export interface Command {
  words: string
  summary: string
  positionals: PositionalSpec[]
  options: Record<string, OptionSpec>
  examples: string[]
  load: () => Promise<Run>
  /** Set for commands that take all their words themselves. */
  loadRaw?: () => Promise<RunRaw>
}
