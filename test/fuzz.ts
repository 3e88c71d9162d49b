/**
 * Fuzzers by name: `node test/fuzz.ts NAME [--runs N] [--seed S]`. Each is a file of test/fuzz/ that exports
 * `fuzz(seed)`: one run, deterministic in its seed, which throws when a promise is broken. A failure prints the
 * command that repeats exactly that run. Without a name, all of them run.
 */
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' } },
})
const dir = path.join(import.meta.dirname, 'fuzz')
const names = fs.readdirSync(dir).filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -3))
const unknown = positionals.filter((name) => !names.includes(name))
if (unknown.length > 0) {
  process.stderr.write(`there is no fuzzer ${unknown.join(', ')}; there are: ${names.join(', ')}\n`)
  process.exit(2)
}

for (const name of positionals.length > 0 ? positionals : names) {
  const { fuzz } = await import(path.join(dir, `${name}.ts`)) as { fuzz: (seed: number) => void }
  const first = Number(values.seed)
  const started = performance.now()
  for (let seed = first; seed < first + Number(values.runs); seed++) {
    try {
      fuzz(seed)
    } catch (error) {
      process.stderr.write(`${name}: ${error instanceof Error ? error.stack : String(error)}\n`
        + `repeat with: npm run fuzz -- ${name} --seed ${seed} --runs 1\n`)
      process.exit(1)
    }
  }
  const tookMs = Math.round(performance.now() - started)
  process.stdout.write(`${name}: ${values.runs} runs from seed ${first}, ${tookMs} ms\n`)
}
