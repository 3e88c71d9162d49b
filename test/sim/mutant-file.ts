/**
 * A test file in a process of its own, with a planted bug or without. What it may take is processor time: how busy the
 * machine is must neither make a file fail nor find a bug.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { describeTestFile } from '../runner/test-file.ts'

const root = dirname(dirname(import.meta.dirname))
/** So much longer than its processor time a file may take by the clock. */
const BUSY = 10

/** What a test file printed, and how it ended: undefined when it passes. */
export interface FileRun {
  problem: string | undefined
  out: string
}

/**
 * Run a test file to its end. The deadline that its head names holds here, too.
 *
 * @param cpuSeconds  of a processor; a file that needs more ends with a signal, which is a problem
 * @param seconds     by the clock; a file that is not over by then says nothing, which is thrown
 */
export function runTestFile(
  path: string,
  bug: string | undefined,
  cpuSeconds: number,
  seconds = BUSY * cpuSeconds,
): FileRun {
  const { TAP: _, PLANTED_BUG: __, ...env } = process.env
  const hook = bug === undefined ? [] : ['--import', './test/sim/mutants.ts']
  const { timeoutSeconds } = describeTestFile(path, readFileSync(resolve(root, path), 'utf8'))
  const limited = ['-c', `ulimit -t ${cpuSeconds} && exec "$@"`, 'sh', process.execPath, ...hook, path]
  const { status, signal, stdout, error } = spawnSync('sh', limited, {
    cwd: root,
    env: { ...env, TAP_TIMEOUT: String(timeoutSeconds), ...(bug !== undefined && { PLANTED_BUG: bug }) },
    stdio: ['ignore', 'pipe', 'ignore'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
  })
  if (error !== undefined) throw new Error(`${path} is not over after ${seconds} s: ${error.message}`)
  return { problem: status === 0 ? undefined : `it ends with ${status ?? signal}`, out: stdout }
}
