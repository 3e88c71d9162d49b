/**
 * `npm run sim`: clusters in virtual time, one for each seed, with faults and checkers (test/sim/cluster). A run is a
 * function of its seed and the commit.
 *
 *   npm run sim -- --seeds 1000 [--from 1]     many, and a summary; ends at the first violation, unless --keep-going
 *   npm run sim -- --seed 7 [--trace]          one, again; with everything that happened
 *   npm run sim -- --seed 7 --shrink           fewer faults and operations that still show the violation
 *   npm run sim -- --seed 7 --only 3,9 --operations 40     only these faults and actions of the seed's plan
 *   --store real|memory                         the engine's own store (default), or a small one that is fast
 *   --twice                                    every seed twice: the same trace hash, or an error
 */
import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { runSeed, shrink, type SeedOptions, type SeedResult } from './sim/cluster/run-seed.ts'

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const options = readOptions()
const store = options.store === 'memory' ? 'memory' : 'real'
process.exitCode = options.seed === undefined ? runMany() : runOne(options.seed)

function readOptions() {
  const number = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  try {
    const { values } = parseArgs({
      options: {
        seed: number,
        seeds: { ...number, default: '200' },
        from: { ...number, default: '1' },
        only: number,
        store: { ...number, default: 'real' },
        operations: number,
        trace: flag,
        shrink: flag,
        twice: flag,
        'keep-going': flag,
      },
    })
    return values
  } catch (error) {
    print(`${(error as Error).message}\nusage: npm run sim -- --seeds N [--from M] | --seed N [--trace] [--shrink]`)
    process.exit(2)
  }
}

function runOne(text: string): number {
  const seed: SeedOptions = { seed: Number(text), keepsTrace: options.trace, store }
  if (options.only !== undefined) seed.only = options.only.split(',').filter(Boolean).map(Number)
  if (options.operations !== undefined) seed.operations = Number(options.operations)
  const result = runSeed(seed)
  if (options.trace) {
    print(JSON.stringify(result.swarm))
    print(result.trace)
  }
  for (const { checker, message } of result.violations) print(`${checker}: ${message}`)
  const { operations, virtualMs, events, traceHash } = result
  const virtual = `${(virtualMs / 1000).toFixed(1)} s virtual`
  print(`seed ${text}: ${operations} operations, ${virtual}, ${events} events, ${traceHash}`)
  if (options.shrink && result.violations.length > 0) {
    const { only, operations } = shrink(seed.seed, store)
    print(
      `smaller: npm run sim -- --seed ${seed.seed} --only ${only.join() || '-'} --operations ${operations} --trace`,
    )
  }
  return result.violations.length > 0 ? 1 : 0
}

function runMany(): number {
  const first = Number(options.from)
  const below = first + Number(options.seeds)
  const byChecker = new Map<string, number>()
  const total = { seeds: 0, operations: 0, acknowledged: 0, virtualMs: 0, violations: 0, planned: 0 }
  const byKind = new Map<string, number>()
  const cpuBefore = process.cpuUsage()
  for (let seed = first; seed < below; seed++) {
    const result = runSeed({ seed, store })
    total.seeds++
    total.operations += result.operations
    total.acknowledged += result.acknowledgedWrites
    total.virtualMs += result.virtualMs
    for (const { kind } of result.planned) byKind.set(kind, (byKind.get(kind) ?? 0) + 1)
    total.planned += result.planned.length
    if (options.twice && runSeed({ seed, store }).traceHash !== result.traceHash) {
      print(`seed ${seed} is not the same when it is run again`)
      return 1
    }
    if (result.violations.length === 0) continue
    total.violations++
    const { checker } = result.violations[0]!
    byChecker.set(checker, (byChecker.get(checker) ?? 0) + 1)
    complain(result)
    if (!options['keep-going']) break
  }
  const { user, system } = process.cpuUsage(cpuBefore)
  const cpuSeconds = (user + system) / 1e6
  const kinds = [...byKind].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${count}`)
  print(`seeds                ${total.seeds} (${first} to ${first + total.seeds - 1})`)
  print(`client operations    ${total.operations}`)
  print(`acknowledged writes  ${total.acknowledged}`)
  print(`faults and actions   ${total.planned}: ${kinds.join(', ')}`)
  print(`virtual hours        ${(total.virtualMs / 3.6e6).toFixed(2)}`)
  print(
    `CPU seconds          ${cpuSeconds.toFixed(1)} (${Math.round(total.operations / cpuSeconds)} operations each)`,
  )
  const checkers = [...byChecker].map(([checker, count]) => `${checker} ${count}`)
  print(`violations           ${[total.violations, ...checkers].join(', ')}`)
  return total.violations > 0 ? 1 : 0
}

function complain({ seed, violations }: SeedResult): void {
  print(`seed ${seed} at commit ${commit()}:`)
  for (const { checker, message } of violations.slice(0, 5)) print(`  ${checker}: ${message}`)
  print(`  repeat with: npm run sim -- --seed ${seed} --trace${storeFlag()}`)
}

function storeFlag(): string {
  return store === 'memory' ? ' --store memory' : ''
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      cwd: import.meta.dirname,
    }).trim()
  } catch {
    return 'unknown'
  }
}
