/**
 * The process that fuzzes one target for a slice, as test/fuzz/campaign.ts asks: whatever ends it, V8 itself where a
 * list of millions grows, ends a slice and no more. Its input stands in a file meanwhile (input-arena.ts).
 */
import os from 'node:os'
import { forbidCoreFiles, setParentDeathSignal } from '../../dataplane/libc.ts'
import { BranchCoverage } from './branch-coverage.ts'
import type { BlockList } from './branch-coverage.ts'
import type { Slice } from './search.ts'
import { STOP_SIGNALS } from './stop-signals.ts'

export interface Order {
  root: string
  name: string
  module: string
  /** What the arena lies in. */
  file: string
  corpus: readonly Uint8Array[]
  /** Instead of the target's own and the corpus. */
  only?: Uint8Array
  seed: number
  executions: number
  cpuMs: number
}

export interface Outcome extends Slice {
  cpuMs: number
  /** Of the tree and `corpus`, without what this slice kept. */
  corpusInputs: number
  blocks: BlockList
}

const ARENA_BYTES = 4 * 2 ** 20

// A terminal's Ctrl-C and a `kill` of the group reach this process too: the parent says when.
for (const signal of STOP_SIGNALS) process.on(signal, () => undefined)
process.once('message', (order: Order) => void run(order).then((outcome) => process.send!(outcome, () => {
  process.disconnect()
})))

async function run({ root, name, module, file, corpus, only, seed, executions, cpuMs }: Order): Promise<Outcome> {
  process.title = `fuzz ${name}`
  forbidCoreFiles()
  setParentDeathSignal(os.constants.signals.SIGKILL)
  Error.stackTraceLimit = 0
  const coverage = new BranchCoverage(root)
  // Loaded behind the counting: what these import is to be counted too.
  const { BYTES_MAX, Search } = await import('./search.ts')
  const { InputArena } = await import('./input-arena.ts')
  const { target } = await import(module) as { target: import('./target.ts').Target }
  const inputs = only === undefined ? [...target.seeds(), ...corpus] : [only]
  const arenaBytes = Math.max(ARENA_BYTES, 2 * (target.bytesMax ?? BYTES_MAX), only?.length ?? 0)
  const search = new Search({ target, coverage, corpus: inputs, arena: new InputArena(file, arenaBytes) })
  const first = await search.runCorpus()
  const slice = first.failure === undefined ? await search.runSlice(seed, { executions, cpuMs }) : first
  const { user, system } = process.cpuUsage()
  return {
    ...slice, corpusInputs: inputs.length, blocks: coverage.blocksOf(target.parsers), cpuMs: (user + system) / 1000,
  }
}
