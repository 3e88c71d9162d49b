/**
 * The thread that fuzzes: one target after another, as `test/fuzz.ts` hands them out. Every input stands in shared
 * memory before it runs, so that one that never ends, or ends the thread, is known.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../engine/assert.ts'
import { BranchCoverage } from './branch-coverage.ts'
import type { BlockList } from './branch-coverage.ts'
import type { Failure, Search } from './search.ts'

export interface JobData {
  root: string
  /** Of the inputs' shared memory: 0 runs begun, 1 length of the input; the input stands behind NOTE_BYTES. */
  note: SharedArrayBuffer
}

export const NOTE_BYTES = 8
export const NOTED_MAX = 64 * 1024

/** A slice of a target; `corpus` only the first time the thread sees the target. */
export interface Order {
  name: string
  module: string
  corpus: readonly Uint8Array[]
  seed: number
  executions: number
  cpuMs: number
}

export interface Outcome {
  name: string
  executions: number
  corpusInputs: number
  blocks: BlockList
  failure?: Failure
}

if (parentPort !== null) await serve(workerData as JobData)

async function serve({ root, note }: JobData): Promise<void> {
  const port = parentPort!
  const coverage = new BranchCoverage(root)
  // Loaded behind the counting: what these import is to be counted too.
  const { Search: SearchOf } = await import('./search.ts')
  const counters = new Int32Array(note, 0, 2)
  const noted = new Uint8Array(note, NOTE_BYTES)
  const tell = (input: Uint8Array): void => {
    noted.set(input.length > NOTED_MAX ? input.subarray(0, NOTED_MAX) : input)
    counters[1] = input.length
    Atomics.add(counters, 0, 1)
  }
  const searches = new Map<string, { search: Search; parsers: readonly string[]; inputs: number }>()
  port.on('message', (order: Order) => void run(order).then((outcome) => port.postMessage(outcome)))

  async function run({ name, module, corpus, seed, executions, cpuMs }: Order): Promise<Outcome> {
    let known = searches.get(name)
    let done = 0
    if (known === undefined) {
      const { target } = await import(module) as { target: import('./target.ts').Target }
      const inputs = [...target.seeds(), ...corpus]
      const search = new SearchOf({ target, coverage, corpus: inputs, note: tell })
      known = { search, parsers: target.parsers, inputs: inputs.length }
      searches.set(name, known)
      const first = known.search.runCorpus()
      done = first.executions
      if (first.failure !== undefined) return outcomeOf(first.failure)
    }
    const { search } = known
    const slice = search.runSlice(seed, { executions: Math.max(0, executions - done), cpuMs })
    done += slice.executions
    known.inputs += slice.kept.length
    return outcomeOf(slice.failure)

    function outcomeOf(failure: Failure | undefined): Outcome {
      assert(known !== undefined, 'a target runs after it was loaded')
      const outcome = { name, executions: done, corpusInputs: known.inputs, blocks: coverage.blocksOf(known.parsers) }
      return failure === undefined ? outcome : { ...outcome, failure }
    }
  }
}
