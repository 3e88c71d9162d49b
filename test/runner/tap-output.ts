/**
 * The TAP output of one test file, boiled down. A "test" that is counted is a point of the file's top level (mostly one
 * `t.test`); failures and skips are reported wherever they are nested.
 *
 * A file whose output has no plan did not come to its end: that is a failure of its own, whatever it printed before.
 */
import { Parser } from 'tap-parser'
import type { Result } from 'tap-parser'

export interface TapFailure {
  /** Names from the outermost test inwards, joined by ' > '. */
  name: string
  /** Diagnostics as printed, without stack. */
  details: string[]
}

export interface TapSummary {
  passed: number
  failed: number
  skipped: number
  hasPlan: boolean
  failures: TapFailure[]
  skips: Array<{ name: string; reason: string }>
}

export class TapReader {
  readonly #root = new Parser()
  readonly #failures: TapFailure[] = []
  readonly #skips: TapSummary['skips'] = []
  #passed = 0
  #failed = 0
  #skipped = 0
  #hasPlan = false
  #skipAll: string | undefined
  #ending = false

  constructor() {
    this.#listen(this.#root, [], { found: 0 })
    this.#root.on('plan', (plan: { start: number; end: number; comment: string }) => {
      // Of an empty output the parser makes up a plan at the end.
      if (this.#ending) return
      this.#hasPlan = true
      if (plan.end < plan.start) this.#skipAll = plan.comment
    })
    this.#root.on('bailout', (reason: string) => {
      this.#failures.push({ name: 'bailed out', details: [reason] })
      this.#failed++
    })
    this.#root.on('assert', (result: Result) => {
      if (result.skip !== false) this.#skipped++
      else if (result.ok || result.todo !== false) this.#passed++
      else this.#failed++
    })
  }

  write(chunk: Buffer): void {
    this.#root.write(chunk)
  }

  end(): TapSummary {
    this.#ending = true
    this.#root.end()
    if (this.#skipAll !== undefined && this.#passed + this.#failed + this.#skipped === 0) {
      this.#skipped = 1
      this.#skips.push({ name: 'the whole file', reason: this.#skipAll.replace(/^#?\s*SKIP\s*/i, '') })
    }
    return {
      passed: this.#passed,
      failed: this.#failed,
      skipped: this.#skipped,
      hasPlan: this.#hasPlan,
      failures: this.#failures,
      skips: this.#skips,
    }
  }

  /** The point that closes a subtest says again what is nested in it; it is told only when nothing nested was. */
  #listen(parser: Parser, names: string[], nested: { found: number }): void {
    let inChild = { found: 0 }
    parser.on('child', (child: Parser) => {
      inChild = { found: 0 }
      this.#listen(child, [...names, child.name], inChild)
    })
    parser.on('assert', (result: Result) => {
      const name = [...names, result.name].join(' > ')
      if (result.skip !== false) {
        this.#skips.push({ name, reason: result.skip === true || result.skip === '' ? 'no reason given' : result.skip })
      } else if (!result.ok && result.todo === false) {
        if (!(result.closingTestPoint && inChild.found > 0)) {
          this.#failures.push({ name, details: describe(result) })
        }
        nested.found++
      }
    })
  }
}

function describe(result: Result): string[] {
  const lines: string[] = []
  if (result.tapError) lines.push(result.tapError)
  const diagnostics: unknown = result.diag
  if (typeof diagnostics !== 'object' || diagnostics === null) return lines
  for (const [key, value] of Object.entries(diagnostics)) {
    if (key === 'stack' || key === 'source') continue
    const text = key === 'at' ? place(value) : typeof value === 'string' ? value : JSON.stringify(value)
    const [first = '', ...more] = text.trimEnd().split('\n')
    lines.push(`${key}: ${first}`, ...more.map((line) => `  ${line}`))
  }
  return lines
}

function place(at: unknown): string {
  const { fileName, lineNumber } = at as { fileName?: string; lineNumber?: number }
  return `${fileName ?? '?'}:${lineNumber ?? '?'}`
}
