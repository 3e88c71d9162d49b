/** What a suite gets from `bench/run.ts`, and what it gives back for the results page. */
import type { Goal } from './goal.ts'
import type { Scratch } from './scratch.ts'

export interface SuiteContext {
  scratch: Scratch
  print(line: string): void
  rounds: number
  seconds: number
  minutes: number
  /** Failovers of each kind. */
  runs: number
  /** A short form, to see that it works; its figures go on no page. */
  quick: boolean
  /** Which cases and servers, of suites that can leave some out; empty: all. */
  only: readonly string[]
}

export interface SuiteOutcome {
  goals: Goal[]
  /** Markdown below the facts of the run and above the goals. */
  text: string
  /** Files beside the page. */
  files?: ReadonlyArray<{ name: string; text: string }>
}
