/**
 * Long runs of the store's model and crash tests.
 *
 *   node test/crash/run.ts [--mode plain|time-travel|undoing|errors|cuts|nested|all] [--seeds N] [--from S]
 * [--operations M] [--seconds T]
 *
 * plain, time-travel and undoing: one random run a seed; 2,500 seeds of 400 operations are a million. errors: a fault
 * at each I/O. cuts, nested: power cuts at every disk operation of the script. Exit status 1 and how to replay it when
 * one fails.
 */
import { parseArgs } from 'node:util'
import { cutEverywhere, SCRIPT } from '../sim/checker/crash-cases.ts'
import { failOnce, FAULTS } from '../sim/checker/error-cases.ts'
import { runModel, type ModelMode } from '../sim/checker/model-run.ts'

const { values } = parseArgs({
  options: {
    mode: { type: 'string', default: 'all' },
    seeds: { type: 'string', default: '20' },
    from: { type: 'string', default: '1' },
    operations: { type: 'string', default: '400' },
    seconds: { type: 'string', default: '1000000' },
  },
})
const from = Number(values.from)
const seeds = Number(values.seeds)
const operations = Number(values.operations)
const endMs = performance.now() + Number(values.seconds) * 1000

const MODES: Record<string, () => string | undefined> = {
  plain: () => model('plain'),
  'time-travel': () => model('time-travel'),
  undoing: () => model('undoing'),
  errors: () =>
    eachSeed(
      'errors',
      (seed, counts: Parameters<typeof failOnce>[3]) => {
        for (const fault of FAULTS) for (let n = 1; failOnce(fault, n, seed, counts); n++);
      },
      { runs: 0, hits: 0, failedDisks: 0, seconds: 0 },
    ),
  cuts: () =>
    eachSeed(
      'cuts',
      (seed, counts: Parameters<typeof cutEverywhere>[2]) =>
        cutEverywhere(SCRIPT, { seed, choicesMost: 12, stride: 1 }, counts),
      {
        runs: 0,
        images: 0,
        seconds: 0,
      },
    ),
  nested: () =>
    eachSeed(
      'nested',
      (seed, counts: Parameters<typeof cutEverywhere>[2]) =>
        cutEverywhere(
          SCRIPT,
          { seed, choicesMost: 3, stride: 7, first: seed, depth: 2, indexes: ['all', 'lost'] },
          counts,
        ),
      {
        runs: 0,
        images: 0,
        seconds: 0,
      },
    ),
}

function model(mode: ModelMode): string | undefined {
  const secondsMax = (endMs - performance.now()) / 1000
  const outcome = runModel({ from, seeds, operations, mode, secondsMax })
  console.log(`${mode}: ${outcome.seeds} seeds, ${JSON.stringify(outcome.counts)}`)
  return outcome.failure
}

function eachSeed<C>(name: string, run: (seed: number, counts: C) => void, counts: C): string | undefined {
  for (let seed = from; seed < from + seeds && performance.now() < endMs; seed++)
    try {
      run(seed, counts)
    } catch (error) {
      console.log(`${name}: ${JSON.stringify(counts)}`)
      return `seed ${seed}: ${(error as Error).stack}\nreplay: node_modules/.bin/node test/crash/run.ts ` +
        `--mode ${name} --from ${seed} --seeds 1`
    }
  console.log(`${name}: ${JSON.stringify(counts)}`)
  return undefined
}

const chosen = values.mode === 'all' ? Object.keys(MODES) : [values.mode]
for (const mode of chosen) {
  const run = MODES[mode]
  const failure =
    run === undefined ? `there is no mode ${mode}; the modes are ${Object.keys(MODES).join(', ')}` : run()
  if (failure === undefined) continue
  console.log(failure)
  process.exitCode = 1
}
