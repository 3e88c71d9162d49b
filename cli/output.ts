/**
 * Where a command's words go. Results to stdout, as text or (with `-o json`) as one JSON document; failures to stderr
 * as one sentence, never a stack trace. A reader that goes away (`| head`) ends the command quietly.
 */
import { ERRORS, GRPC_STATUS, HoldfastError } from '../engine/errors.ts'

export interface Output {
  readonly json: boolean
  /** A line of text on stdout; not for JSON mode, where stdout holds JSON alone. */
  line(text: string): void
  /** Say what goes on without being the result: stdout as text, stderr in JSON mode. */
  note(text: string): void
  /** The result: `value` in JSON mode, else the lines. */
  result(value: unknown, lines: () => string[]): void
  error(error: unknown): void
}

export const EXIT_OK = 0
export const EXIT_FAILED = 1
/** What was typed cannot work, whatever the state of the cluster. */
export const EXIT_USAGE = 2

export function exitCodeOf(error: unknown): number {
  const typed = error instanceof HoldfastError && ERRORS[error.code].grpc === GRPC_STATUS.INVALID_ARGUMENT
  return typed ? EXIT_USAGE : EXIT_FAILED
}

export function createOutput(json: boolean): Output {
  const line = (text: string) => void process.stdout.write(`${text}\n`)
  const complain = (text: string) => void process.stderr.write(`${text}\n`)
  return {
    json,
    line,
    note: json ? complain : line,
    result: (value, lines) => {
      if (json) return line(JSON.stringify(value, undefined, 2))
      for (const text of lines()) line(text)
    },
    error: (error) => {
      const known = error instanceof HoldfastError
      const message = error instanceof Error ? error.message : String(error)
      if (json) {
        const { code, detail } = known ? error : { code: 'internal', detail: {} }
        return complain(JSON.stringify({ error: { code, message, detail } }))
      }
      complain(`holdfast: ${known ? message : `this is a bug of the command itself: ${message}`}`)
    },
  }
}

/** Columns as wide as they need to be, two blanks apart; the last one is not padded. */
export function table(header: string[], rows: string[][]): string[] {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)))
  return [header, ...rows].map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd())
}

/** `name   value` lines of one object. */
export function fields(entries: Array<[name: string, value: string]>): string[] {
  const width = Math.max(...entries.map(([name]) => name.length))
  return entries.map(([name, value]) => `${name.padEnd(width)}  ${value}`.trimEnd())
}
