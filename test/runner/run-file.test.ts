/**
 * The runner is not fooled: a test file that crashes, hangs, prints no plan, or leaves something behind has failed.
 */
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { findDescendants } from './descendants.ts'
import { runFile } from './run-file.ts'
import type { FileOutcome } from './run-file.ts'

const spawnSleeper = `
  const { spawn } = await import('node:child_process')
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], { detached: true, stdio: 'inherit' })
  child.unref()`

const root = t.testdir({
  'passes.mjs': `console.log('TAP version 14\\nok 1 - one\\nok 2 - two # SKIP no such tool\\n1..2')`,
  'all-skipped.mjs': `console.log('TAP version 14\\n1..0 # SKIP needs root')`,
  'nested.mjs': `console.log(\`TAP version 14
# Subtest: outer
    ok 1 - fine
    not ok 2 - inner
      ---
      wanted: 1
      found: 2
      ...
    1..2
not ok 1 - outer
1..1\`); process.exitCode = 1`,
  'crashes.mjs': `console.log('TAP version 14\\nok 1 - one'); throw new Error('crashed here')`,
  'no-plan.mjs': `console.log('TAP version 14\\nok 1 - one')`,
  'silent.mjs': '',
  'exits.mjs': `console.log('TAP version 14\\nok 1 - one\\n1..1'); process.exitCode = 3`,
  'hangs.mjs': `${spawnSleeper}\nconsole.log('TAP version 14\\nok 1 - one\\n1..1'); setInterval(() => {}, 1000)`,
  'leaves-process.mjs': `${spawnSleeper}\nconsole.log('TAP version 14\\nok 1 - one\\n1..1')`,
  'leaves-file.mjs': `
    const { writeFileSync } = await import('node:fs')
    const { tmpdir } = await import('node:os')
    writeFileSync(tmpdir() + '/forgotten', '')
    console.log('TAP version 14\\nok 1 - one\\n1..1')`,
})

const run = (path: string, timeoutSeconds = 30): Promise<FileOutcome> =>
  runFile(root, { path, timeoutSeconds, serial: false, slow: false })

/** A killed process may wait for its new parent to notice; it runs no more. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

t.test('a file that passes, with a skipped test', async (t) => {
  const outcome = await run('passes.mjs')
  t.match(outcome, { ok: true, passed: 1, failed: 0, skipped: 1, problems: [] })
  t.same(outcome.skips, [{ name: 'two', reason: 'no such tool' }])
  t.ok(existsSync(`${root}/.tap/output/passes.mjs.tap`), 'its output is kept')
})

t.test('a file that skips itself counts as one skipped test', async (t) => {
  const outcome = await run('all-skipped.mjs')
  t.match(outcome, { ok: true, passed: 0, failed: 0, skipped: 1 })
  t.same(outcome.skips, [{ name: 'the whole file', reason: 'needs root' }])
})

t.test('a nested failure is told once, with its whole name', async (t) => {
  const outcome = await run('nested.mjs')
  t.match(outcome, { ok: false, passed: 0, failed: 1, problems: [] })
  t.same(outcome.failures, [{ name: 'outer > inner', details: ['wanted: 1', 'found: 2'] }])
})

t.test('no end, no success', async (t) => {
  t.match(await run('crashes.mjs'), { ok: false, failed: 1, problems: [/printed no plan/, /exit status 1/] })
  t.match((await run('crashes.mjs')).errorTail.join('\n'), /crashed here/)
  t.match(await run('no-plan.mjs'), { ok: false, problems: [/printed no plan/] })
  t.match(await run('silent.mjs'), { ok: false, problems: [/printed no plan/] })
  t.match(await run('exits.mjs'), { ok: false, failed: 1, problems: [/exit status 3/] })
})

t.test('a file over its deadline is killed with all it started', async (t) => {
  const outcome = await run('hangs.mjs', 1)
  t.match(outcome, { ok: false, failed: 1, problems: [/killed after its deadline of 1 s/] })
  t.ok(outcome.seconds < 10)
})

t.test('a process left behind is found though it is detached, told and ended', async (t) => {
  const outcome = await run('leaves-process.mjs')
  t.match(outcome, { ok: false, failed: 1, problems: [/left process \d+ behind: .*setTimeout/] })
  const pid = Number(/process (\d+)/.exec(outcome.problems[0] ?? '')?.[1])
  t.notOk(isAlive(pid), 'it is gone')
  t.same(findDescendants('no such run'), [])
})

t.test('a temporary file left behind is told and removed', async (t) => {
  t.match(await run('leaves-file.mjs'), { ok: false, problems: [/left 1 file.* forgotten/] })
})
