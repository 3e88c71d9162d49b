/**
 * `npm test`: the type check, then every test file (the tidy check is one), each in a process of its own.
 *
 *   npm test                       everything; the rest of the options go behind `--`
 *   npm test -- PATTERN ...        files whose path holds one of the pieces (`types` is the type check)
 *   npm test -- --list             the files and how long they took last time, and the areas they are of
 *   npm test -- --measure          one file at a time, on a quiet machine: what it costs, kept in runner/costs.json
 *   npm test -- --install          install missing Debian packages first (CI=true does so too)
 *   npm run check                  without what is slow: test/e2e, test/sim and so on, and each file above 3 s
 *
 * The last line is always `N passed, N failed` (and `, N skipped` when some were): tests of the files' top level, the
 * type check counting as one. Output of each file is kept in `.tap/output`.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { busySeconds, costOf, readCosts, readLastRuns, writeCosts, writeLastRuns } from './runner/costs.ts'
import { installPackages, missingPackages, pathWithSystemFolders } from './runner/debian-packages.ts'
import { areaLines, fileLine, inSeconds } from './runner/listing.ts'
import { killRunning, runFile } from './runner/run-file.ts'
import type { FileOutcome } from './runner/run-file.ts'
import { RunParts } from './runner/run-parts.ts'
import { Schedule } from './runner/schedule.ts'
import type { Cost } from './runner/schedule.ts'
import { findTestFiles, isSelected } from './runner/test-file.ts'
import type { TestFile } from './runner/test-file.ts'

const root = dirname(import.meta.dirname)
const TYPES = 'types'
const DETAIL_LINES_MAX = 30
/** What the quick check leaves out by itself: with all that takes longer it is no quick one. */
const CHECK_FILE_SECONDS_MAX = 3
/** The first ones tell what is wrong; all of them are in the output that is kept. */
const FAILURES_MAX = 50

const print = (line: string): void => void process.stdout.write(`${line}\n`)

const options = readOptions()
const lastRuns = readLastRuns(root)
const costs = readCosts(root)
const isLong = (path: string): boolean => costOf(path, costs, lastRuns).seconds > CHECK_FILE_SECONDS_MAX
const files = findTestFiles(root).filter(
  ({ path, slow }) => isSelected(path, options.patterns) && !(options.check && (slow || isLong(path))),
)
const withTypes = isSelected(TYPES, options.patterns)

if (options.list) {
  list()
} else if (files.length === 0 && !withTypes) {
  print(`no test file matches ${options.patterns.join(' ')}; \`npm test -- --list\` shows them`)
  process.exitCode = 1
} else {
  process.exitCode = await runAll()
}

function readOptions(): Record<'list' | 'install' | 'check' | 'measure', boolean> & { patterns: string[] } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        list: { type: 'boolean' }, install: { type: 'boolean' }, check: { type: 'boolean' },
        measure: { type: 'boolean' },
      },
    })
    return {
      patterns: positionals,
      list: values.list ?? false,
      install: values.install ?? process.env.CI === 'true',
      check: values.check ?? false,
      measure: values.measure ?? false,
    }
  } catch (error) {
    print(`${(error as Error).message}\nusage: npm test -- [--list] [--install] [--check] [--measure] [PATTERN ...]`)
    process.exit(2)
  }
}

function list(): void {
  if (withTypes) print(`${inSeconds(lastRuns[TYPES]?.seconds)}  ${TYPES}`)
  for (const file of files) print(fileLine(file, lastRuns[file.path], costOf(file.path, costs, lastRuns).cores))
  print('')
  for (const line of areaLines(files.map(({ path }) => path), lastRuns)) print(line)
}

function prepareTools(): void {
  process.env.PATH = pathWithSystemFolders(process.env.PATH ?? '')
  const missing = missingPackages(process.env.PATH)
  if (missing.length === 0) return
  const names = missing.map(({ name }) => name)
  if (options.install) {
    print(`installing Debian packages: ${names.join(' ')}`)
    const refusal = installPackages(names)
    if (refusal === undefined) return
    print(`could not install them: ${refusal}`)
  }
  for (const { name, uses } of missing) print(`Debian package ${name} is missing: tests of ${uses} are skipped`)
  if (!options.install) print('`npm test -- --install` installs them (as root)')
}

function checkTypes(): FileOutcome {
  const startedMs = performance.now()
  const compiler = join(root, 'node_modules', '.bin', 'tsc')
  const { status, stdout, stderr } = spawnSync(compiler, ['--noEmit', '--pretty', 'false'], {
    cwd: root,
    encoding: 'utf8',
  })
  const ok = status === 0
  return {
    path: TYPES,
    ok,
    passed: ok ? 1 : 0,
    failed: ok ? 0 : 1,
    skipped: 0,
    hasPlan: true,
    failures: [],
    skips: [],
    seconds: (performance.now() - startedMs) / 1000,
    problems: ok ? [] : ['the type check failed'],
    errorTail: `${stdout}${stderr}`.trimEnd().split('\n').slice(0, DETAIL_LINES_MAX),
  }
}

function report(outcome: FileOutcome): void {
  const counts = [`${outcome.passed} passed`]
  if (outcome.failed > 0) counts.push(`${outcome.failed} failed`)
  if (outcome.skipped > 0) counts.push(`${outcome.skipped} skipped`)
  print(`${outcome.ok ? 'pass' : 'FAIL'} ${inSeconds(outcome.seconds)}  ${outcome.path}  (${counts.join(', ')})`)
  if (outcome.ok) return
  for (const problem of outcome.problems) print(`    ${problem}`)
  for (const { name, details } of outcome.failures.slice(0, FAILURES_MAX)) {
    print(`    not ok - ${name}`)
    for (const line of details.slice(0, DETAIL_LINES_MAX)) print(`        ${line}`)
  }
  const unsaid = outcome.failures.length - FAILURES_MAX
  if (unsaid > 0) print(`    ... and ${unsaid} more failures`)
  for (const line of outcome.errorTail) print(`    | ${line}`)
  if (outcome.path === TYPES) print('    replay: node_modules/.bin/tsc --noEmit')
  else print(`    replay: node_modules/.bin/node ${outcome.path}   (output kept in .tap/output/${outcome.path}.tap)`)
}

type Done = (outcome: FileOutcome, partSeconds: number) => void

function rounded(seconds: number): number {
  return Number(seconds.toFixed(2))
}

async function runFiles(done: Done): Promise<void> {
  const schedule = new Schedule(files, (path) => costOf(path, costs, lastRuns), availableParallelism())
  const parts = new RunParts()
  const run = async (file: TestFile): Promise<TestFile> => {
    parts.began(file.path, performance.now() / 1000)
    const outcome = await runFile(root, file)
    done(outcome, parts.ended(file.path, performance.now() / 1000))
    return file
  }
  const running = new Map<TestFile, Promise<TestFile>>()
  while (!schedule.isOver) {
    for (let file = schedule.next(); file !== undefined; file = schedule.next()) running.set(file, run(file))
    const ended = await Promise.race(running.values())
    running.delete(ended)
    schedule.ended(ended)
  }
}

/** Nothing else may run: what the machine was busy with counts as the file's. */
async function measureFiles(done: Done): Promise<void> {
  const measured: Record<string, Cost> = {}
  for (const file of files) {
    const busyBefore = busySeconds()
    const outcome = await runFile(root, file)
    const { seconds } = outcome
    measured[file.path] = { seconds, cores: (busySeconds() - busyBefore) / seconds }
    done(outcome, seconds)
  }
  writeCosts(root, measured, findTestFiles(root).map(({ path }) => path))
}

async function runAll(): Promise<number> {
  const startedMs = performance.now()
  for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) {
    process.on(signal, () => {
      killRunning()
      print(`stopped by ${signal}`)
      process.exit(status)
    })
  }
  // Whoever read our words is gone (`npm test | head`): nobody is left to tell.
  process.stdout.on('error', () => {
    killRunning()
    process.exit(1)
  })
  prepareTools()

  const outcomes: FileOutcome[] = []
  const done = (outcome: FileOutcome, partSeconds: number): void => {
    outcomes.push(outcome)
    lastRuns[outcome.path] = { seconds: rounded(outcome.seconds), partSeconds: rounded(partSeconds) }
    report(outcome)
  }
  if (withTypes) {
    const outcome = checkTypes()
    done(outcome, outcome.seconds)
  }
  await (options.measure ? measureFiles(done) : runFiles(done))
  mkdirSync(join(root, '.tap'), { recursive: true })
  writeLastRuns(root, lastRuns)
  return conclude(outcomes, (performance.now() - startedMs) / 1000)
}

function conclude(outcomes: FileOutcome[], seconds: number): number {
  const sum = (pick: (outcome: FileOutcome) => number): number =>
    outcomes.reduce((total, outcome) => total + pick(outcome), 0)
  const skips = outcomes.flatMap(({ path, skips }) => skips.map(({ name, reason }) => `${path}: ${name}: ${reason}`))
  if (skips.length > 0) print(`\nskipped:\n${skips.map((line) => `    ${line}`).join('\n')}`)
  const failing = outcomes.filter(({ ok }) => !ok)
  if (failing.length > 0) print(`\nfailing:\n${failing.map(({ path }) => `    ${path}`).join('\n')}`)
  print('')
  if (options.patterns.length === 0) {
    for (const line of areaLines(outcomes.map(({ path }) => path), lastRuns)) print(line)
  }
  print(`${outcomes.length} files in ${seconds.toFixed(1)} s`)
  const skipped = sum((outcome) => outcome.skipped)
  const counts = `${sum(({ passed }) => passed)} passed, ${sum(({ failed }) => failed)} failed`
  print(skipped > 0 ? `${counts}, ${skipped} skipped` : counts)
  return failing.length === 0 ? 0 : 1
}
