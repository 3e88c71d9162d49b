/**
 * `npm run mutants`: plants one bug after the other in the replication core (test/sim/cluster/planted-bugs.ts) and
 * runs seeds 1 to 10,000 of the simulator's default swarm until a checker finds it: bugs of the protocol with the small
 * store in memory (`--store memory`), those of what keeps a copy with the engine's own. Each hunt is a process of its
 * own.
 *
 *   npm run mutants                              all bugs, 10,000 seeds or 60 CPU seconds each
 *   npm run mutants -- --seconds 900             longer
 *   npm run mutants -- --mutant NAME             those whose names hold this; the table is left alone
 *   --seeds N --jobs N --json --afresh           seeds 1 to N; hunts at a time; a line of JSON for each; forget what is
 *                                                kept
 *   --no-lists                                   not those that tests of their own hunt
 *
 * Not in order: the seed that found the bug before comes first (planted/found-seeds.json, where each finding is noted;
 * one above N does not), then those whose swarm looks at its mechanism (`looksAt` of the bug, judged by what the seed
 * drew, before it runs), then the others. So a seed of the default swarm found it, within the first 10,000; how many
 * were run to get there is told beside it.
 *
 * What was hunted is kept in .sim/mutants.json for the text that was hunted, piece by piece: a hunt that was ended goes
 * on there, and one with higher limits goes on with the survivors. A hunt for all ends with the table in docs/proof.md.
 * Bugs that no seed meets, or hardly any, name a test that fails with them: it is run when no seed of the first piece
 * did. Lists that other tests hunt are run as they are.
 * It begins with the canary, which has to be found at once, and the decoy, which must not be found at all: otherwise
 * nothing is said about the others.
 */
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuSeconds } from '../bench/volume/process-figures.ts'
import { commit, writeProof } from './proof-page.ts'
import { Outcomes, textOf } from './sim/cluster/mutant-outcomes.ts'
import { search, type Limits, type Outcome } from './sim/cluster/mutant-search.ts'
import { findingWithin, storesLine, tableLines } from './sim/cluster/mutant-table.ts'
import { ELSEWHERE, elsewhereLines, runList } from './sim/cluster/mutants-elsewhere.ts'
import { CANARY, DECOY, PLANTED } from './sim/cluster/planted-bugs.ts'
import { FoundSeeds } from './sim/cluster/planted/found-seeds.ts'
import type { PlantedBug } from './sim/cluster/planted/planted-bug.ts'
import { editsOf, misfit } from './sim/mutants.ts'

const root = dirname(import.meta.dirname)
/** A hunt whose seed does not end has found its bug, too: this is CPU time, for the machine may be busy. */
const HANG_SECONDS = 300
const HANG_LOOK_MS = 5000
/** A hunt is kept after each piece of so many CPU seconds, and all have had one before any gets the next. */
const PIECE_SECONDS = 60
/** A test that hunts a list of its own may take so long, of a processor. */
const LIST_SECONDS = 3600
const GUARD: Limits = { skip: 0, seeds: 20, seconds: 60 }

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const { values } = parseArgs({
  options: {
    mutant: { type: 'string' },
    seeds: { type: 'string', default: '10000' },
    seconds: { type: 'string', default: '60' },
    skip: { type: 'string', default: '0' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    json: { type: 'boolean', default: false },
    afresh: { type: 'boolean', default: false },
    'no-lists': { type: 'boolean', default: false },
    only: { type: 'string' },
    known: { type: 'string' },
  },
})
const limits: Limits = {
  skip: Number(values.skip),
  seeds: Number(values.seeds),
  seconds: Number(values.seconds),
  known: values.known === undefined ? undefined : Number(values.known),
}

if (values.only !== undefined) {
  const bug = [...PLANTED, CANARY, DECOY].find(({ name }) => name === values.only)
  if (bug === undefined) throw new Error(`there is no planted bug "${values.only}"`)
  // The last line is the outcome, or the seed that does not end.
  print(JSON.stringify(await search(bug, limits, (seed) => print(String(seed)))))
} else process.exitCode = await huntAll()

async function huntAll(): Promise<number> {
  const piece = values.mutant ?? ''
  const bugs = PLANTED.filter(({ name }) => name.includes(piece))
  if (bugs.length === 0) {
    print(`no planted bug has a name with "${piece}"`)
    return 2
  }
  const misfits = bugs.flatMap((bug) => editsOf(bug).map((edit) => [bug.name, misfit(edit)] as const))
  for (const [name, problem] of misfits) if (problem !== undefined) print(`${name}: ${problem}`)
  if (misfits.some(([, problem]) => problem !== undefined)) return 1
  if (!(await guardsHold())) return 1
  const file = join(root, '.sim', 'mutants.json')
  if (values.afresh) rmSync(file, { force: true })
  const outcomes = new Outcomes(file, textOf(root), commit())
  const isOver = (bug: PlantedBug): boolean => {
    const known = outcomes.get(bug.name)
    if (known === undefined) return false
    return bug.among === 'none' || findingWithin(known, limits.seeds, bug) !== undefined || isSpent(known)
  }
  const found = new FoundSeeds()
  const waiting = bugs.filter((bug) => !isOver(bug))
  if (waiting.length < bugs.length) print(`${bugs.length - waiting.length} are known of commit ${outcomes.commit}`)
  const one = async (): Promise<void> => {
    for (let bug = waiting.shift(); bug !== undefined; bug = waiting.shift()) {
      const { seeds, seconds } = outcomes.get(bug.name) ?? { seeds: 0, seconds: 0 }
      const piece = {
        ...limits,
        skip: seeds,
        seconds: Math.min(PIECE_SECONDS, limits.seconds - seconds),
        known: found.get(bug.name)?.seed,
      }
      const outcome = outcomes.add(await hunt(bug, piece))
      if (outcome.finding !== undefined && outcome.finding.seed > 0) found.remember(bug.name, outcome.finding)
      if (!isOver(bug)) waiting.push(bug)
      else print(values.json ? JSON.stringify(outcome) : lineOf(bug, outcome))
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs)) }, one))
  const survivors = bugs.filter((bug) => findingWithin(outcomes.get(bug.name), limits.seeds, bug) === undefined)
  const where = `by seeds 1 to ${limits.seeds}, by as many with clones, or by tests`
  print(`${bugs.length - survivors.length} of ${bugs.length} found ${where}`)
  print(storesLine(bugs))
  if (values.mutant === undefined) writeTable(bugs, outcomes)
  return survivors.some(({ harmless }) => harmless === undefined) ? 1 : 0
}

function isSpent({ seeds, seconds }: Outcome): boolean {
  return seeds >= limits.seeds || seconds >= limits.seconds
}

async function guardsHold(): Promise<boolean> {
  const canary = await hunt(CANARY, GUARD)
  const decoy = await hunt(DECOY, GUARD)
  if (canary.finding === undefined) print('the canary was not found: the hunt finds nothing')
  if (decoy.finding !== undefined) print(`the decoy was found by ${decoy.finding.checker}: the hunt finds anything`)
  return canary.finding !== undefined && decoy.finding === undefined
}

function hunt({ name }: PlantedBug, { skip, seeds, seconds, known }: Limits): Promise<Outcome> {
  const args = ['--only', name, '--skip', skip, '--seeds', seeds, '--seconds', seconds].map(String)
  if (known !== undefined) args.push('--known', String(known))
  const child = spawn(process.execPath, [import.meta.filename, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const limitSeconds = 2 * seconds + HANG_SECONDS
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      const hasEnded = child.exitCode !== null || child.signalCode !== null
      if (!hasEnded && cpuSeconds([child.pid!]) > limitSeconds) child.kill('SIGKILL')
    }, HANG_LOOK_MS)
    child.on('close', (code, signal) => {
      clearInterval(timer)
      const lines = out.trim().split('\n')
      if (code === 0) return resolve(JSON.parse(lines.at(-1)!) as Outcome)
      // A bug that feeds itself is over its time or, before that, out of memory.
      const isFull = signal === 'SIGABRT' && err.includes('heap out of memory')
      if (signal !== 'SIGKILL' && !isFull) {
        return reject(new Error(`the hunt for "${name}" ended with ${signal ?? code}: ${err}`))
      }
      const message = isFull ? 'out of memory' : `after ${limitSeconds} CPU seconds`
      const finding = { seed: Number(lines.at(-1)), checker: 'a seed does not end', message }
      resolve({ name, finding, seeds: lines.length, seconds: 0 })
    })
  })
}

function lineOf(bug: PlantedBug, outcome: Outcome): string {
  const { name, harmless } = bug
  const { seeds, seconds } = outcome
  const finding = findingWithin(outcome, limits.seeds, bug)
  const after = `${seeds} seeds run, ${seconds.toFixed(0)} s`
  if (finding === undefined) return `SURVIVES  ${name} (${after})${harmless === undefined ? '' : `: ${harmless}`}`
  return `found     ${name}: ${finding.checker}, seed ${finding.seed} (${after})`
}

function writeTable(bugs: readonly PlantedBug[], outcomes: Outcomes): void {
  const { commit } = outcomes
  const lists = (values['no-lists'] ? [] : ELSEWHERE).map((list) => {
    const caught = runList(list, LIST_SECONDS)
    print(`${list.path}: ${caught.caught.length} caught, ${caught.missed.length} not`)
    return caught
  })
  const elsewhere = lists.length === 0 ? [] : elsewhereLines(lists)
  writeProof('mutants', tableLines({ bugs, outcomeOf: (name) => outcomes.get(name)!, commit, limits, elsewhere }))
  print('docs/proof.md has the table')
}
