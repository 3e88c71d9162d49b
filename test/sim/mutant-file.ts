/** A test file in a process of its own, with a planted bug or without. */
import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'

const root = dirname(dirname(import.meta.dirname))

/** What a test file printed, and how it ended: undefined when it passes. */
export interface FileRun {
  problem: string | undefined
  out: string
}

export function runTestFile(path: string, bug: string | undefined, seconds: number): FileRun {
  const { TAP: _, PLANTED_BUG: __, ...env } = process.env
  const hook = bug === undefined ? [] : ['--import', './test/sim/mutants.ts']
  const { status, signal, stdout } = spawnSync(process.execPath, [...hook, path], {
    cwd: root,
    env: bug === undefined ? env : { ...env, PLANTED_BUG: bug },
    stdio: ['ignore', 'pipe', 'ignore'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: seconds * 1000,
  })
  return { problem: status === 0 ? undefined : `it ends with ${status ?? signal}`, out: stdout }
}
