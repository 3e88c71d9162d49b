/**
 * `npm run fuzz -- [NAME ...] [--executions N] [--jobs J] [--seed S]`: every parser and machine that reads what others
 * send, fed with changed inputs, of which those are kept that reach new branches (test/fuzz/search.ts).
 *
 *   NAME          of test/fuzz/targets; all of them unless named
 *   --executions  in all. Targets take turns of at most 100,000 executions or 2 s, so slow ones have fewer
 *   --input FILE  runs that input once, of the one NAME: what a failure says to repeat it
 *   --list        the targets
 *   --targets DIR, --hung-ms MS   for the test of this command: other targets, and what counts as endless
 *
 * At the end, or at Ctrl-C: executions of each target, branches of each file, failures. A failing input is written to
 * `.fuzz/`.
 */
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { runCampaign } from './fuzz/campaign.ts'
import { reportLines } from './fuzz/report.ts'
import type { Target } from './fuzz/target.ts'

const ROOT = path.dirname(import.meta.dirname)
const FUZZ_DIR = path.join(import.meta.dirname, 'fuzz')

const print = (text: string): void => void process.stdout.write(`${text}\n`)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    executions: { type: 'string', default: '1000000' },
    jobs: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    input: { type: 'string' },
    list: { type: 'boolean' },
    targets: { type: 'string', default: path.join(FUZZ_DIR, 'targets') },
    'hung-ms': { type: 'string', default: '60000' },
  },
})
const names = fs.readdirSync(values.targets).map((file) => path.basename(file, '.ts')).sort()
const unknown = positionals.filter((name) => !names.includes(name))
const moduleOf = (name: string): string => path.resolve(values.targets, `${name}.ts`)

if (process.env.NODE_DISABLE_COMPILE_CACHE !== '1') {
  print('branches are counted in code that is compiled anew: set NODE_DISABLE_COMPILE_CACHE=1, as `npm run fuzz` does')
  process.exit(2)
}
if (unknown.length > 0) {
  print(`there is no target ${unknown.join(', ')}; there are: ${names.join(', ')}`)
  process.exit(2)
}
if (values.list === true) {
  print(names.join('\n'))
} else if (values.input !== undefined) {
  if (positionals.length !== 1) {
    print('an input is of one target: npm run fuzz -- NAME --input FILE')
    process.exit(2)
  }
  const { target } = await import(moduleOf(positionals[0]!)) as { target: Target }
  target.execute(fs.readFileSync(values.input))
  print(`${positionals[0]}: nothing is wrong with ${values.input}`)
} else {
  const chosen = positionals.length > 0 ? positionals : names
  print(`fuzz: ${chosen.length} targets, ${values.executions} executions, ${values.jobs} jobs, seed ${values.seed}`)
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort())
  const result = await runCampaign({
    root: ROOT,
    targets: chosen.map((name) => ({ name, module: moduleOf(name), corpus: corpusOf(name) })),
    executions: Number(values.executions),
    jobs: Number(values.jobs),
    seed: Number(values.seed),
    signal: ending.signal,
    hungMs: Number(values['hung-ms']),
    onProgress: (executions, seconds) => print(`${executions} executions, ${Math.round(seconds)} s`),
  })
  for (const line of reportLines(result)) print(line)
  for (const { name, input, problem } of result.failures) {
    const file = path.join(ROOT, '.fuzz', `${name}-${values.seed}`)
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
