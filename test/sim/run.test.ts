/**
 * Risk: `npm run sim` ends well whatever it finds, or what it prints of a violation does not show it again. The command
 * as it is typed, in a process of its own, without a bug and with a planted one.
 */
// test-timeout-seconds: 240
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import t from 'tap'
import { commit } from '../proof-page.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { TRACE_LINES } from './cluster/violation-report.ts'

t.setTimeout(230_000)

/** One of the first seeds finds it, with either store. */
const BUG = 'a member that lost something still counts'
const root = dirname(dirname(import.meta.dirname))

/** `npm run sim -- WORDS`, as package.json has it. */
function sim(words: string, bug?: string, folder?: string): { code: number | null; out: string } {
  const { TAP: _, ...env } = process.env
  const hook = bug === undefined ? [] : ['--import', './test/sim/mutants.ts']
  if (bug !== undefined) env.PLANTED_BUG = bug
  if (folder !== undefined) env.TMPDIR = folder
  const { status, stdout, stderr } = spawnSync(process.execPath, [...hook, 'test/sim.ts', ...words.split(' ')], {
    cwd: root,
    env,
    encoding: 'utf8',
    // A trace is long.
    maxBuffer: 64 << 20,
  })
  return { code: status, out: stdout + stderr }
}

t.test('25 seeds, each twice: no violation, and the summary says so', (t) => {
  const { code, out } = sim('--seeds 25 --twice')
  t.match(out, /^seeds +25$/m)
  t.match(out, /^violations +0$/m)
  t.match(out, /^client operations +[1-9]/m)
  t.equal(code, 0, out)
  t.end()
})

t.test('a violation: seed, commit, one command, the trace up to it and all of it', (t) => {
  const { code, out } = sim('--seeds 25 --jobs 1', BUG, temporaryFolder(t))
  t.equal(code, 1)
  const [, seed, at, checker] = /^seed (\d+) at commit (\S+): (\S+): ./m.exec(out) ?? []
  t.equal(at, commit())
  t.equal(out.split('npm run sim').length, 2, 'one command')
  const [, command = ''] = new RegExp(`repeat with: npm run sim -- (--seed ${seed} --trace)$`, 'm').exec(out) ?? []
  const [, count, file = ''] = /^ {2}(\d+) of the \d+ lines of its trace, all of them in (\S+):$/m.exec(out) ?? []
  t.equal(Number(count), TRACE_LINES)
  t.ok(existsSync(file), 'all of it')
  const trace = readFileSync(file, 'utf8').trimEnd()
  const lines = trace.split('\n')
  const end = lines.findIndex((line) => line.includes(' VIOLATION ')) + 1
  t.ok(out.includes(`:\n${lines.slice(end - TRACE_LINES, end).join('\n')}\n`), 'what led to it')
  t.match(trace, /^ +\d+\.\d\d {2}n1 +\S+ +\(\d+, \d+\)/m, 'when, who, what, epoch and seq')

  const again = sim(command, BUG)
  t.equal(again.code, 1)
  t.ok(again.out.includes(`${trace}\n${checker}: `), 'the command shows the same')
  t.equal(sim(command).code, 0, 'not without the bug')
  t.end()
})

t.test('in memory, which the command says; and with fewer faults and operations', (t) => {
  const { code, out } = sim('--seeds 25 --jobs 1 --store memory', BUG, temporaryFolder(t))
  t.equal(code, 1)
  const [, seed, checker] = /^seed (\d+) at commit \S+: (\S+): ./m.exec(out) ?? []
  t.ok(out.includes(`repeat with: npm run sim -- --seed ${seed} --trace --store memory\n`))
  const small = sim(`--seed ${seed} --shrink --store memory`, BUG)
  t.equal(small.code, 1)
  const counts = /^smaller, (\d+) of (\d+) faults and actions, (\d+) of (\d+) operations:$/m.exec(small.out) ?? []
  const [fewer, faults, less, operations] = counts.slice(1).map(Number) as [number, number, number, number]
  t.ok(fewer < faults && less < operations, small.out)
  const [, smaller = ''] =
    /^ {2}npm run sim -- (--seed \d+ --only \S+ --operations \d+ --trace --store memory)$/m.exec(small.out) ?? []
  const shown = sim(smaller, BUG)
  t.equal(shown.code, 1)
  t.match(shown.out, new RegExp(`^${checker}: `, 'm'), 'the smaller run shows the same complaint')
  t.equal(sim(smaller).code, 0, 'not without the bug')
  t.end()
})
