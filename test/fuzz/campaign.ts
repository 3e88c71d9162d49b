/**
 * Shares executions out to threads, slice by slice, and watches over them: an input that never ends, or takes all of
 * the thread's memory, is a failure of its target like one that throws. Where V8 cannot refuse the memory, as while a
 * list of millions grows, it ends the process (`FATAL ERROR`, no report): which target that was, each by itself tells.
 */
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import type { BlockList } from './branch-coverage.ts'
import { NOTED_MAX, NOTE_BYTES } from './job.ts'
import type { JobData, Order, Outcome } from './job.ts'
import type { Failure } from './search.ts'

const SLICE_EXECUTIONS = 100_000
const SLICE_CPU_MS = 2000
const LOOK_MS = 5000
const PROGRESS_MS = 60_000
const HEAP_MIB_MAX = 512

export interface CampaignTarget {
  name: string
  module: string
  corpus: readonly Uint8Array[]
}

export interface CampaignOptions {
  root: string
  targets: readonly CampaignTarget[]
  executions: number
  jobs: number
  seed: number
  /** Slices that run are the last ones. */
  signal: AbortSignal
  /** Of the processor, for all threads: without an input's end for so long, it has none. */
  hungMs: number
  onProgress?: (executions: number, seconds: number) => void
}

export interface CampaignResult {
  executions: number
  seconds: number
  targets: Map<string, { executions: number; corpusInputs: number }>
  /** By file; a block ran when it ran in any thread. */
  blocks: Map<string, Map<number, boolean>>
  failures: Array<Failure & { name: string }>
}

export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const startedMs = performance.now()
  const result: CampaignResult = {
    executions: 0, seconds: 0, targets: new Map(), blocks: new Map(), failures: [],
  }
  const { targets, executions, seed, onProgress } = options
  const sliceExecutions = Math.min(SLICE_EXECUTIONS, Math.ceil(executions / targets.length))
  const failed = new Set<string>()
  let ordered = 0
  let turn = 0
  /** Undefined: there is nothing left to do. */
  const nextOrder = (known: Set<string>): Order | undefined => {
    const left = targets.filter(({ name }) => !failed.has(name))
    if (left.length === 0 || ordered >= executions || options.signal.aborted) return undefined
    const target = left[turn % left.length]!
    const count = Math.min(sliceExecutions, executions - ordered)
    ordered += count
    const corpus = known.has(target.name) ? [] : target.corpus
    known.add(target.name)
    return { ...target, corpus, seed: seed * 1_000_003 + turn++, executions: count, cpuMs: SLICE_CPU_MS }
  }
  const noteOutcome = ({ name, executions: done, corpusInputs, blocks, failure }: Outcome, order: Order): void => {
    // What time did not allow is left for others.
    ordered -= order.executions - done
    result.executions += done
    const target = result.targets.get(name) ?? { executions: 0, corpusInputs: 0 }
    target.executions += done
    target.corpusInputs = Math.max(target.corpusInputs, corpusInputs)
    result.targets.set(name, target)
    mergeBlocks(result.blocks, blocks)
    if (failure !== undefined) noteFailure(name, failure)
  }
  const noteFailure = (name: string, failure: Failure): void => {
    if (!failed.has(name)) result.failures.push({ name, ...failure })
    failed.add(name)
  }
  const secondsSince = (): number => (performance.now() - startedMs) / 1000
  const timer = setInterval(() => onProgress?.(result.executions, secondsSince()), PROGRESS_MS)
  await Promise.all(Array.from({ length: options.jobs }, () =>
    runJob({ root: options.root, hungMs: options.hungMs, nextOrder, noteOutcome, noteFailure })))
  clearInterval(timer)
  result.seconds = secondsSince()
  return result
}

interface JobOptions {
  root: string
  hungMs: number
  nextOrder: (known: Set<string>) => Order | undefined
  noteOutcome: (outcome: Outcome, order: Order) => void
  noteFailure: (name: string, failure: Failure) => void
}

/** One thread after another, when one ended with its input. */
async function runJob(options: JobOptions): Promise<void> {
  const known = new Set<string>()
  for (let order = options.nextOrder(known); order !== undefined; order = options.nextOrder(known)) {
    known.clear()
    await runThread(options, known, order)
  }
}

function runThread(options: JobOptions, known: Set<string>, first: Order): Promise<void> {
  const { root, hungMs, nextOrder, noteOutcome, noteFailure } = options
  const note = new SharedArrayBuffer(NOTE_BYTES + NOTED_MAX)
  const counters = new Int32Array(note, 0, 2)
  const workerData: JobData = { root, note }
  const thread = new Worker(path.join(import.meta.dirname, 'job.ts'), {
    workerData,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  let order = first
  let runs = 0
  let sinceCpuMs = cpuMs()
  const lastInput = (): Uint8Array => new Uint8Array(note, NOTE_BYTES, Math.min(counters[1]!, NOTED_MAX)).slice()
  const watch = setInterval(() => {
    const now = Atomics.load(counters, 0)
    if (now !== runs) sinceCpuMs = cpuMs()
    runs = now
    if (cpuMs() - sinceCpuMs < hungMs) return
    noteFailure(order.name, { input: lastInput(), problem: `it did not end within ${hungMs} ms of the processor` })
    void thread.terminate()
  }, Math.min(LOOK_MS, hungMs / 4))
  const give = (): void => thread.postMessage(order)
  thread.on('message', (outcome: Outcome) => {
    noteOutcome(outcome, order)
    const next = nextOrder(known)
    if (next === undefined) return void thread.terminate()
    order = next
    give()
  })
  thread.on('error', (error: unknown) => {
    const problem = error instanceof Error ? error.stack ?? error.message : String(error)
    noteFailure(order.name, { input: lastInput(), problem: `the thread ended: ${problem}` })
  })
  thread.on('exit', () => {
    clearInterval(watch)
    resolve()
  })
  known.add(order.name)
  give()
  return promise
}

/** Of all threads: a machine that is busy with other things makes no input endless. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

function mergeBlocks(into: CampaignResult['blocks'], blocks: BlockList): void {
  for (const [file, list] of Object.entries(blocks)) {
    let known = into.get(file)
    if (known === undefined) into.set(file, known = new Map())
    for (const [start, ran] of list) known.set(start, ran || known.get(start) === true)
  }
}
