/**
 * Shares executions out to processes, slice by slice, and watches over them: an input that never ends, takes all
 * memory, or ends the process is a failure of its target like one that throws.
 *
 * Invariant: a slice counts when its process has told of it; what one did that ended otherwise is not counted.
 */
import { fork } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { mergeBlocks } from './campaign-result.ts'
import type { CampaignResult } from './campaign-result.ts'
import { ArenaView } from './input-arena.ts'
import { Shares } from './shares.ts'
import type { Turn } from './shares.ts'
import type { Order, Outcome } from './slice-process.ts'
import { STOP_SIGNALS } from './stop-signals.ts'

const SLICE_CPU_MS = 20_000
const LOOK_MS = 500
const PROGRESS_MS = 60_000
const HEAP_MIB_MAX = 512
/** Most of what an execution takes is garbage at its end: the rarer it is looked for, the less there is to keep. */
const YOUNG_MIB_MAX = 32
/** With what lies beside the heap. */
const RESIDENT_MIB_MAX = 2048
/** Of the clock, without a turn of the processor: it waits for what never comes. */
const STILL_MS = 60_000
const SAID_MAX = 4096

export interface CampaignTarget {
  name: string
  module: string
  corpus: readonly Uint8Array[]
}

export interface CampaignOptions {
  root: string
  targets: readonly CampaignTarget[]
  /** In all, with what `result` has. */
  executions: number
  jobs: number
  seed: number
  /** Slices that run end, and count. */
  signal: AbortSignal
  /** Of the processor: without an input's end for so long, it has none. */
  hungMs: number
  /** What there is so far, and what is added to. */
  result: CampaignResult
  /** After each slice. */
  onSlice?: (result: CampaignResult) => void
  onProgress?: (executions: number, seconds: number) => void
}

export async function runCampaign(options: CampaignOptions): Promise<void> {
  const { root, result, executions, hungMs, signal } = options
  const startedMs = performance.now()
  const secondsBefore = result.seconds
  const targets = new Map(options.targets.map((target) => [target.name, target]))
  for (const name of targets.keys()) {
    if (result.targets.has(name)) continue
    result.targets.set(name, { executions: 0, repeated: 0, cpuMs: 0, slices: 0, kept: [] })
  }
  const had = new Map([...targets.keys()].map((name) => [name, result.targets.get(name)!]))
  const shares = new Shares(had, { executions, sliceCpuMs: SLICE_CPU_MS })
  for (const { name } of result.failures) shares.leaveOut(name)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-fuzz-'))
  const timer = setInterval(() => options.onProgress?.(executionsOf(result), result.seconds), PROGRESS_MS)
  const runJob = async (job: number): Promise<void> => {
    for (let turn = signal.aborted ? undefined : shares.next(); turn !== undefined && !signal.aborted;) {
      const { name, module, corpus } = targets.get(turn.name)!
      const before = had.get(name)!
      const order: Order = {
        root, name, module, file: path.join(folder, String(job)), corpus: [...corpus, ...before.kept],
        seed: options.seed * 1_000_003 + before.slices++, executions: turn.executions, cpuMs: SLICE_CPU_MS,
      }
      const outcome = await runSlice(order, { hungMs, signal })
      shares.done(turn)
      note(turn, outcome)
      turn = shares.next()
    }
  }
  const note = ({ name }: Turn, outcome: Ended): void => {
    const target = had.get(name)!
    target.executions += outcome.executions
    target.cpuMs += outcome.cpuMs
    if (outcome.blocks !== undefined) {
      target.repeated += outcome.repeated
      target.kept.push(...outcome.kept)
      mergeBlocks(result.blocks, outcome.blocks)
    }
    if (outcome.failure !== undefined) {
      if (!result.failures.some((failure) => failure.name === name)) result.failures.push({ name, ...outcome.failure })
      shares.leaveOut(name)
    }
    result.seconds = secondsBefore + (performance.now() - startedMs) / 1000
    options.onSlice?.(result)
  }
  await Promise.all(Array.from({ length: options.jobs }, (_, job) => runJob(job)))
  clearInterval(timer)
  fs.rmSync(folder, { recursive: true })
}

export const executionsOf = ({ targets }: CampaignResult): number =>
  [...targets.values()].reduce((sum, { executions }) => sum + executions, 0)

/** Without blocks: the process ended before it told. */
type Ended = Outcome | { executions: 0; cpuMs: number; blocks?: undefined; failure?: Outcome['failure'] }

/** One process, until it told what it did, or ended. */
export async function runSlice(order: Order, options: { hungMs: number; signal: AbortSignal }): Promise<Ended> {
  const arena = new ArenaView(order.file)
  const child = fork(path.join(import.meta.dirname, 'slice-process.ts'), {
    execArgv: [`--max-old-space-size=${HEAP_MIB_MAX}`, `--max-semi-space-size=${YOUNG_MIB_MAX}`],
    env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' },
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  const { promise: ended, resolve: end } = Promise.withResolvers<string>()
  let outcome: Outcome | undefined
  let said = ''
  let problem: string | undefined
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-SAID_MAX)))
  child.on('message', (told: Outcome) => (outcome = told))
  // One that began and takes no order has ended: `close` says how.
  child.on('error', (error) => child.pid === undefined && end(error.message))
  child.on('close', (code, signal) => end(signal ?? `status ${code}`))
  child.send(order)
  const stop = (): void => arena.end()
  options.signal.addEventListener('abort', stop)
  const over = new AbortController()
  const watching = watch(child.pid!, arena, { hungMs: options.hungMs, signal: over.signal }, (why) => {
    problem = why
    child.kill('SIGKILL')
  })
  const how = await ended
  over.abort()
  options.signal.removeEventListener('abort', stop)
  const cpuMs = await watching
  if (outcome !== undefined) return outcome
  // Once a slice has begun it heeds none of them, so nothing of its target had run.
  if (problem === undefined && STOP_SIGNALS.some((stopped) => stopped === how)) {
    arena.remove()
    return { executions: 0, cpuMs }
  }
  problem ??= `the process ended with ${how}: ${said.trim()}`
  return { executions: 0, cpuMs, failure: { input: lastInputOf(arena), problem } }
}

/** Nothing, of a process that ended before it had one. */
function lastInputOf(arena: ArenaView): Uint8Array {
  try {
    return arena.lastInput()
  } finally {
    arena.remove()
  }
}

/** @returns what the process took of the processor, as it was seen last */
async function watch(
  pid: number,
  arena: ArenaView,
  { hungMs, signal }: { hungMs: number; signal: AbortSignal },
  end: (why: string) => void,
): Promise<number> {
  let runs = -1
  let sinceMs = 0
  let nowMs = 0
  let still = { cpuMs: 0, since: performance.now() }
  for (;;) {
    let before = runs
    try {
      await delay(Math.min(LOOK_MS, hungMs / 4), undefined, { signal })
      before = runs
      runs = arena.runs()
      nowMs = cpuMsOf(pid)
      if (runs !== before) sinceMs = nowMs
    } catch {
      return nowMs
    }
    if (nowMs - still.cpuMs > STILL_CPU_MS || runs !== before) still = { cpuMs: nowMs, since: performance.now() }
    if (performance.now() - still.since >= STILL_MS) end('it waits for something that never comes')
    if (nowMs - sinceMs >= hungMs) end(`it did not end within ${hungMs} ms of the processor`)
    const residentMib = residentMibOf(pid)
    if (residentMib > RESIDENT_MIB_MAX) end(`the process has ${residentMib} MiB of memory`)
  }
}

const TICK_MS = 10
/** What looking after garbage takes meanwhile. */
const STILL_CPU_MS = 100
/** Of /proc/PID/stat, behind the name, which may have spaces: utime and stime. */
const [UTIME, STIME] = [11, 12] as const

function cpuMsOf(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ')
  return (Number(fields[UTIME]) + Number(fields[STIME])) * TICK_MS
}

function residentMibOf(pid: number): number {
  try {
    const kib = /^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '0'
    return Math.floor(Number(kib) / 1024)
  } catch {
    return 0
  }
}
