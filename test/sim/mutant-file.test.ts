/**
 * Risk: a busy machine makes a test file fail that has nothing, or finds a planted bug that nothing sees.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { temporaryFolder } from '../temporary-folder.ts'
import { runTestFile } from './mutant-file.ts'

function fileOf(t: Pick<Test, 'teardown'>, text: string): string {
  const path = join(temporaryFolder(t), 'one.test.ts')
  writeFileSync(path, text)
  return path
}
const waits = (ms: number): string => `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${ms})\n`

t.test('a file that waits for a processor longer than it may use one passes', (t) => {
  const file = fileOf(t, `${waits(2500)}console.log('over')\n`)
  t.match(runTestFile(file, undefined, 2), { problem: undefined, out: 'over' })
  t.end()
})

t.test('a file that uses a processor without end has a problem', (t) => {
  t.match(runTestFile(fileOf(t, 'for (;;);\n'), undefined, 1).problem, /ends with SIG(XCPU|KILL)/)
  t.end()
})

t.test('a file that fails has a problem', (t) => {
  t.equal(runTestFile(fileOf(t, 'process.exitCode = 3\n'), undefined, 5).problem, 'it ends with 3')
  t.end()
})

t.test('a file that stands still says nothing', (t) => {
  t.throws(() => runTestFile(fileOf(t, waits(600_000)), undefined, 5, 1), /is not over after 1 s/)
  t.end()
})
