/**
 * `npm test`: the type check, then every test file (the tidy check is one), each in a process of its own.
 *
 *   npm test                       everything; the rest of the options go behind `--`
 *   npm test -- PATTERN ...        files whose path holds one of the pieces (`types` is the type check)
 *   npm test -- --list             the files and how long they took last time
 *   npm test -- --install          install missing Debian packages first (CI=true does so too)
 *   npm run check                  without what is slow: test/e2e, test/sim and so on
 *
 * The last line is always `N passed, N failed` (and `, N skipped` when some were): tests of the files' top level, the
 * type check counting as one. Output of each file is kept in `.tap/output`.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { installPackages, missingPackages, pathWithSystemFolders } from './runner/debian-packages.ts'
import { killRunning, runFile } from './runner/run-file.ts'
import type { FileOutcome } from './runner/run-file.ts'
import { findTestFiles, isSelected } from './runner/test-file.ts'
import type { TestFile } from './runner/test-file.ts'

const root = dirname(import.meta.dirname)
const timesFile = join(root, '.tap', 'seconds.json')
const TYPES = 'types'
const DETAIL_LINES_MAX = 30
/** The first ones tell what is wrong; all of them are in the output that is kept. */
const FAILURES_MAX = 50

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const inSeconds = (seconds?: number): string => `${seconds === undefined ? '?' : seconds.toFixed(1)} s`.padStart(8)

const options = readOptions()
const times = readTimes()
const files = findTestFiles(root).filter(
  ({ path, slow }) => isSelected(path, options.patterns) && !(options.check && slow),
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

function readOptions(): { patterns: string[]; list: boolean; install: boolean; check: boolean } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { list: { type: 'boolean' }, install: { type: 'boolean' }, check: { type: 'boolean' } },
    })
    return {
      patterns: positionals,
      list: values.list ?? false,
      install: values.install ?? process.env.CI === 'true',
      check: values.check ?? false,
    }
  } catch (error) {
    print(`${(error as Error).message}\nusage: npm test -- [--list] [--install] [--check] [PATTERN ...]`)
    process.exit(2)
  }
}

function readTimes(): Record<string, number> {
  try {
    return JSON.parse(readFileSync(timesFile, 'utf8')) as Record<string, number>
  } catch {
    return {}
  }
}

function list(): void {
  if (withTypes) print(`${inSeconds(times[TYPES])}  ${TYPES}`)
  for (const { path, serial, timeoutSeconds } of files) {
    print(`${inSeconds(times[path])}  ${path}  (deadline ${timeoutSeconds} s${serial ? ', runs alone' : ''})`)
  }
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

/** Slowest first, so that the last one does not run alone at the end; those that must run alone come after. */
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
  const done = (outcome: FileOutcome): void => {
    outcomes.push(outcome)
    times[outcome.path] = Number(outcome.seconds.toFixed(2))
    report(outcome)
  }
  if (withTypes) done(checkTypes())

  const waiting = files.filter(({ serial }) => !serial)
  waiting.sort((a, b) => (times[b.path] ?? Infinity) - (times[a.path] ?? Infinity) || a.path.localeCompare(b.path))
  const lane = async (queue: TestFile[]): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) done(await runFile(root, file))
  }
  await Promise.all(Array.from({ length: availableParallelism() }, () => lane(waiting)))
  await lane(files.filter(({ serial }) => serial))

  mkdirSync(dirname(timesFile), { recursive: true })
  writeFileSync(timesFile, `${JSON.stringify(times, undefined, 2)}\n`)
  return conclude(outcomes, (performance.now() - startedMs) / 1000)
}

function conclude(outcomes: FileOutcome[], seconds: number): number {
  const sum = (pick: (outcome: FileOutcome) => number): number =>
    outcomes.reduce((total, outcome) => total + pick(outcome), 0)
  const skips = outcomes.flatMap(({ path, skips }) => skips.map(({ name, reason }) => `${path}: ${name}: ${reason}`))
  if (skips.length > 0) print(`\nskipped:\n${skips.map((line) => `    ${line}`).join('\n')}`)
  const failing = outcomes.filter(({ ok }) => !ok)
  if (failing.length > 0) print(`\nfailing:\n${failing.map(({ path }) => `    ${path}`).join('\n')}`)
  print(`\n${outcomes.length} files in ${seconds.toFixed(1)} s`)
  const skipped = sum((outcome) => outcome.skipped)
  const counts = `${sum(({ passed }) => passed)} passed, ${sum(({ failed }) => failed)} failed`
  print(skipped > 0 ? `${counts}, ${skipped} skipped` : counts)
  return failing.length === 0 ? 0 : 1
}
