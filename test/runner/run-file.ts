/**
 * Run one test file: a process of its own under Node 24, in a process group and a temporary folder of its own, with a
 * deadline. It fails when it exits non-zero, prints no plan, has a failed test, is over its deadline, or leaves
 * processes or temporary files behind.
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { killDescendants, leftBehind, RUN_VARIABLE } from './descendants.ts'
import { TapReader } from './tap-output.ts'
import type { TapSummary } from './tap-output.ts'
import type { TestFile } from './test-file.ts'

export interface FileOutcome extends TapSummary {
  path: string
  seconds: number
  /** What is wrong with the file as a whole, in sentences. Each counts as one failure when no test failed. */
  problems: string[]
  /** The end of what it wrote to standard error. */
  errorTail: string[]
  ok: boolean
}

const LEFT_GRACE_MS = 1000
const STDERR_LINES_MAX = 40

/** Temporary folders of the files that are running, by run id, so that an interrupted run leaves nothing either. */
const running = new Map<string, string>()

export function killRunning(): void {
  for (const [runId, temporary] of running) {
    killDescendants(runId)
    rmSync(temporary, { recursive: true, force: true })
  }
}

export async function runFile(root: string, file: TestFile): Promise<FileOutcome> {
  const runId = randomUUID()
  // Short, because unix sockets made below it must stay under 108 bytes.
  const temporary = mkdtempSync(join(tmpdir(), 'hft-'))
  const startedMs = performance.now()
  running.set(runId, temporary)
  const child = spawn(process.execPath, [file.path], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      [RUN_VARIABLE]: runId,
      TMPDIR: temporary,
      // Ours is the only deadline: the library's own would end a file after 30 s.
      TAP_TIMEOUT: String(file.timeoutSeconds),
    },
  })

  const tap = new TapReader()
  const output: Buffer[] = []
  const errors: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => {
    output.push(chunk)
    tap.write(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))

  let overdue = false
  const deadline = setTimeout(() => {
    overdue = true
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    killDescendants(runId)
  }, file.timeoutSeconds * 1000)

  // 'exit', not 'close': a child left behind holds the pipes open, and is what we want to find.
  const ended = await new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on('error', () => resolve({ code: 1, signal: null }))
    child.on('exit', (code, signal) => resolve({ code, signal }))
  })
  clearTimeout(deadline)
  const left = overdue ? [] : await leftBehind(runId, LEFT_GRACE_MS)
  killDescendants(runId)
  await Promise.all([child.stdout, child.stderr].map((stream) =>
    stream.readableEnded ? undefined : new Promise((resolve) => stream.once('close', resolve))))
  running.delete(runId)

  const summary = tap.end()
  const problems: string[] = []
  if (overdue) problems.push(`killed after its deadline of ${file.timeoutSeconds} s`)
  else if (!summary.hasPlan) problems.push('printed no plan: it did not come to its end')
  if (!overdue && ended.signal !== null) problems.push(`ended by ${ended.signal}`)
  if (ended.code !== 0 && ended.code !== null && summary.failed === 0) problems.push(`exit status ${ended.code}`)
  for (const { pid, command } of left) problems.push(`left process ${pid} behind: ${command}`)
  const files = readdirSync(temporary)
  if (files.length > 0 && problems.length === 0 && summary.failed === 0) {
    problems.push(`left ${files.length} file(s) in its temporary folder: ${files.slice(0, 5).join(' ')}`)
  }
  rmSync(temporary, { recursive: true, force: true })

  const kept = join(root, '.tap', 'output', `${file.path}.tap`)
  mkdirSync(dirname(kept), { recursive: true })
  writeFileSync(kept, Buffer.concat([...output, ...errors]))

  return {
    ...summary,
    failed: Math.max(summary.failed, problems.length > 0 ? 1 : 0),
    path: file.path,
    seconds: (performance.now() - startedMs) / 1000,
    problems,
    errorTail: Buffer.concat(errors).toString().trimEnd().split('\n').filter(Boolean).slice(-STDERR_LINES_MAX),
    ok: problems.length === 0 && summary.failed === 0,
  }
}
