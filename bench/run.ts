/**
 * `npm run bench`: measure, print, and write what was measured into `bench/RESULTS.md`. bench/README.md says what each
 * suite does and what makes a run meaningless.
 *
 *   npm run bench                              the suite `full`: ours beside what others use, 25 minutes
 *   npm run bench -- --suite all               everything; or one of the names of SUITES
 *   npm run bench -- --rounds 5 --seconds 10   more and longer runs
 *   npm run bench -- --only durable,qemu-wt,'randwrite QD32'    some cases and servers (full); nothing is written
 *   npm run bench -- --minutes 2               length of each half of the suite `memory`
 *   npm run bench -- --runs 20                how often each failover is measured (failover), default 100
 *   npm run bench -- --guard                   did an operation get dearer than when that was accepted last? 3 minutes
 *   npm run bench -- --guard --accept          take what is measured now as what to compare with
 *   npm run bench -- --install                 install the Debian packages of what we are measured beside, before
 *   npm run bench -- --quick                   short forms, to see that it works; nothing is written
 *   npm run bench -- --dir DIR                 where volumes and files lie while it runs; default the temporary folder
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { guard } from './guard/guard.ts'
import { installPackages } from '../test/runner/debian-packages.ts'
import { measureMicro } from './micro/all.ts'
import { measureAmplification } from './volume/amplification.ts'
import { measureCompression } from './volume/compression.ts'
import { CEPH_PACKAGES } from './volume/ceph.ts'
import { measureEncryption } from './volume/encryption.ts'
import { measureFailover } from './volume/failover.ts'
import { hasTool } from './volume/fio.ts'
import { measureFull } from './volume/full.ts'
import { goalsTable } from './volume/goal.ts'
import { measureHydration } from './volume/hydration.ts'
import { measureCreation } from './volume/creation.ts'
import { measureIdle } from './volume/idle.ts'
import { machineFacts, whyMeaningless } from './volume/machine-facts.ts'
import { measureMemory } from './volume/memory.ts'
import { PEER_PACKAGES } from './volume/peers.ts'
import { measureProfile } from './volume/profile.ts'
import { measureRebuild } from './volume/rebuild.ts'
import { measureRestart } from './volume/restart.ts'
import { withSection } from './volume/results-page.ts'
import { Scratch } from './volume/scratch.ts'
import { measureScaleControl } from './volume/scale-control.ts'
import { measureScaleNodes } from './volume/scale-nodes.ts'
import { measureScaleWorkers } from './volume/scale-workers.ts'
import { measureScrub } from './volume/scrub.ts'
import { measureSnapshots } from './volume/snapshots.ts'
import { measureStorms } from './volume/storms.ts'
import type { SuiteContext, SuiteOutcome } from './volume/suite.ts'

type Suite = (context: SuiteContext) => Promise<SuiteOutcome>

const SUITES: Record<string, Suite> = {
  full: measureFull,
  memory: measureMemory,
  start: measureRestart,
  failover: measureFailover,
  rebuild: measureRebuild,
  hydration: measureHydration,
  idle: measureIdle,
  creation: measureCreation,
  snapshots: measureSnapshots,
  compression: measureCompression,
  encryption: measureEncryption,
  scrub: measureScrub,
  amplification: measureAmplification,
  storms: measureStorms,
  'scale-control': measureScaleControl,
  'scale-nodes': measureScaleNodes,
  'scale-workers': measureScaleWorkers,
  micro: measureMicro,
  profile: measureProfile,
}
/** Several by one name. */
const TOGETHER: Record<string, string[]> = { scale: ['scale-control', 'scale-nodes', 'scale-workers'] }
/** Tells what is slow; its figures are no result. */
const NOT_ON_THE_PAGE = ['profile']

/** So many cases are to be done in 25 minutes. */
const FULL_SECONDS = 3
const FULL_QUICK_SECONDS = 0.3

const GUARD_ROUNDS = 5

const PAGE = path.join(import.meta.dirname, 'RESULTS.md')
const print = (line: string): void => void process.stdout.write(`${line}\n`)

interface Options {
  suites: string[]
  words: string
  rounds: number
  seconds: number
  minutes: number
  runs: number
  quick: boolean
  only: string[]
  dir: string
  guard: boolean
  accept: boolean
  install: boolean
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      suite: { type: 'string', default: 'full' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      minutes: { type: 'string' },
      runs: { type: 'string' },
      only: { type: 'string', default: '' },
      dir: { type: 'string' },
      quick: { type: 'boolean', default: false },
      guard: { type: 'boolean', default: false },
      accept: { type: 'boolean', default: false },
      install: { type: 'boolean', default: false },
    },
  })
  const { suite, quick } = values
  const all = Object.keys(SUITES).filter((name) => !NOT_ON_THE_PAGE.includes(name))
  const suites = suite === 'all' ? all : TOGETHER[suite] ?? [suite]
  if (suites.some((name) => SUITES[name] === undefined)) {
    const names = [...Object.keys(SUITES), ...Object.keys(TOGETHER)].join(', ')
    throw new Error(`there is no suite ${suite}; there are ${names} and all`)
  }
  const number = (name: 'rounds' | 'seconds' | 'minutes' | 'runs', whole: number, short: number): number => {
    const value = Number(values[name] ?? (quick ? short : whole))
    if (!(value > 0)) throw new Error(`--${name} is a number above 0`)
    return value
  }
  const dirWords = values.dir === undefined ? [] : ['--dir', 'DIR']
  const words = process.argv.slice(2).filter((word, i, all) => word !== '--dir' && all[i - 1] !== '--dir')
  return {
    suites,
    words: ['npm run bench', ...(words.length + dirWords.length > 0 ? ['--'] : []), ...words, ...dirWords].join(' '),
    rounds: number('rounds', values.guard ? GUARD_ROUNDS : 3, 1),
    seconds: number('seconds', suite === 'full' ? FULL_SECONDS : 4, suite === 'full' ? FULL_QUICK_SECONDS : 1),
    minutes: number('minutes', 10, 0.2),
    runs: number('runs', 100, 2),
    quick,
    only: values.only.split(',').map((word) => word.trim()).filter((word) => word !== ''),
    dir: path.resolve(values.dir ?? os.tmpdir()),
    guard: values.guard,
    accept: values.accept,
    install: values.install,
  }
}

const isForThePage = (suite: string, { quick, only }: Options): boolean =>
  !quick && only.length === 0 && !NOT_ON_THE_PAGE.includes(suite)

async function runSuite(name: string, options: Options): Promise<void> {
  const facts = machineFacts(options.dir)
  print(`suite ${name}`)
  for (const line of facts.lines) print(`  ${line}`)
  const scratch = new Scratch(options.dir)
  let outcome: SuiteOutcome
  try {
    outcome = await SUITES[name]!({ ...options, scratch, print })
  } finally {
    scratch.remove()
  }
  const { goals, text, files = [] } = outcome
  const goalsText = goals.length === 0 ? '' : `\n${goalsTable(goals)}\n`
  print(`\n${text}\n${goalsText}`)
  if (isForThePage(name, options)) {
    const head = [
      `## ${name}`, '', `\`${options.words}\` at commit ${facts.commit}, ${facts.date} UTC`, '',
      ...facts.lines.map((line) => `- ${line}`),
    ].join('\n')
    const page = existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : ''
    const section = { suite: name, text: `${head}\n${goalsText}\n${text}`.trimEnd() }
    for (const file of files) writeFileSync(path.join(path.dirname(PAGE), file.name), file.text)
    writeFileSync(PAGE, withSection(page, section, Object.keys(SUITES)))
  }
}

try {
  const options = readOptions()
  if (options.install) {
    const why = installPackages([...PEER_PACKAGES, ...CEPH_PACKAGES])
    if (why !== undefined) throw new Error(why)
  }
  if (!hasTool('fio')) throw new Error('fio is not installed; `npm run bench -- --install` has it, as root')
  const why = whyMeaningless(options.dir)
  if (why !== undefined) throw new Error(why)
  if (options.guard) process.exit(await guard({ ...options, print }))
  if (options.accept) throw new Error('--accept goes with --guard')
  for (const suite of options.suites) await runSuite(suite, options)
  const written = options.suites.some((suite) => isForThePage(suite, options))
  if (written) print(`written to ${path.relative(process.cwd(), PAGE)}`)
  // A goal that is missed is a finding, not a failure of the run.
  process.exit(0)
} catch (error) {
  print(`bench: ${(error as Error).message}`)
  process.exit(1)
}
