/**
 * `npm run fuzz -- [NAME ...] [--executions N] [--jobs J] [--seed S] [--state DIR]`: every parser and machine that
 * reads what others send, fed with changed inputs, of which those are kept that reach new branches
 * (test/fuzz/search.ts).
 *
 *   NAME          of test/fuzz/targets; all of them unless named
 *   --executions  in all. Each target is owed as many, up to a million; the rest goes by time (test/fuzz/shares.ts)
 *   --state DIR   what was done is kept there after each slice, and counts for the next run of the same commit
 *   --input FILE  runs that input once, of the one NAME: what a failure says to repeat it
 *   --list        the targets
 *   --targets DIR, --hung-ms MS   for the test of this command: other targets, and what counts as endless
 *
 * At the end, or at Ctrl-C: executions of each target and what they cost, branches of each file, failures. A failing
 * input is written to `.fuzz/`.
 */
import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { runCampaign, runSlice, executionsOf } from './fuzz/campaign.ts'
import { emptyResult, keepResult, keptResult } from './fuzz/campaign-result.ts'
import { reportLines } from './fuzz/report.ts'
import { STOP_SIGNALS } from './fuzz/stop-signals.ts'
import { commit } from './proof-page.ts'

const ROOT = path.dirname(import.meta.dirname)
const FUZZ_DIR = path.join(import.meta.dirname, 'fuzz')

const print = (text: string): void => void process.stdout.write(`${text}\n`)
function refuse(text: string): never {
  print(text)
  process.exit(2)
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    executions: { type: 'string', default: '1000000' },
    jobs: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    state: { type: 'string' },
    input: { type: 'string' },
    list: { type: 'boolean' },
    targets: { type: 'string', default: path.join(FUZZ_DIR, 'targets') },
    'hung-ms': { type: 'string', default: '60000' },
  },
})
const names = fs.readdirSync(values.targets).map((file) => path.basename(file, '.ts')).sort()
const unknown = positionals.filter((name) => !names.includes(name))
if (unknown.length > 0) refuse(`there is no target ${unknown.join(', ')}; there are: ${names.join(', ')}`)
const moduleOf = (name: string): string => path.resolve(values.targets, `${name}.ts`)
const hungMs = Number(values['hung-ms'])

if (values.list === true) print(names.join('\n'))
else if (values.input !== undefined) await repeat(values.input)
else await campaign()

/** With the limits of a campaign, in a process of its own. */
async function repeat(file: string): Promise<void> {
  const [name] = positionals
  if (name === undefined || positionals.length > 1) {
    refuse('an input is of one target: npm run fuzz -- NAME --input FILE')
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-fuzz-'))
  const { failure } = await runSlice({
    root: ROOT, name, module: moduleOf(name), file: path.join(folder, 'input'), corpus: [], only: fs.readFileSync(file),
    seed: 1, executions: 0, cpuMs: 0,
  }, { hungMs, signal: new AbortController().signal })
  fs.rmSync(folder, { recursive: true })
  print(failure === undefined ? `${name}: nothing is wrong with ${file}` : `${name}: ${failure.problem}`)
  if (failure !== undefined) process.exitCode = 1
}

async function campaign(): Promise<void> {
  const { executions, jobs, seed, state } = values
  const text = textOf()
  const result = state === undefined ? emptyResult() : keptResult(state, text)
  if (typeof result === 'string') refuse(result)
  const chosen = positionals.length > 0 ? positionals : names
  print(`fuzz: ${text}, ${chosen.length} targets, ${executions} executions, ${jobs} jobs, seed ${seed}`)
  if (executionsOf(result) > 0) print(`${executionsOf(result)} executions were done before, in ${state}`)
  const ending = new AbortController()
  // More than once: npm passes on what the terminal has sent already.
  for (const signal of STOP_SIGNALS) process.on(signal, () => ending.abort())
  await runCampaign({
    root: ROOT,
    targets: chosen.map((name) => ({ name, module: moduleOf(name), corpus: corpusOf(name) })),
    executions: Number(executions),
    jobs: Number(jobs),
    seed: Number(seed),
    signal: ending.signal,
    hungMs,
    result,
    ...(state === undefined ? {} : { onSlice: () => keepResult(state, text, result) }),
    onProgress: (done, seconds) => print(`${done} executions, ${Math.round(seconds)} s`),
  })
  for (const line of reportLines(result, text)) print(line)
  for (const { name, input, problem } of result.failures) {
    const file = path.join(ROOT, '.fuzz', `${name}-${seed}`)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, input)
    print(`\n${name}: ${problem}\nrepeat with: npm run fuzz -- ${name} --input .fuzz/${path.basename(file)}`)
  }
  if (result.failures.length > 0) process.exitCode = 1
}

function corpusOf(name: string): Uint8Array[] {
  const dir = path.join(FUZZ_DIR, 'corpus', name)
  if (!fs.existsSync(dir)) return []
  return fs.readdirSync(dir).sort().map((file) => fs.readFileSync(path.join(dir, file)))
}

/** The commit; with what was changed since, if anything was. */
function textOf(): string {
  const git = (...words: readonly string[]): string => {
    try {
      return execFileSync('git', words, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    } catch {
      return ''
    }
  }
  const changes = git('status', '--porcelain')
  if (changes === '') return `commit ${commit()}`
  const sum = createHash('sha256').update(changes).update(git('diff', 'HEAD')).digest('hex')
  return `commit ${commit()} with changes ${sum.slice(0, 8)}`
}
