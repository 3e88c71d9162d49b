/** What the kernel counts for a process: processor time, memory, bytes it caused to be written. From /proc. */
import fs from 'node:fs'

/** Ticks of /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** User and system time of all its threads, also of ended ones. The name in the line may hold spaces and brackets. */
export function cpuSecondsOf(statLine: string): number {
  const fields = statLine.slice(statLine.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuSecondsOf(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')), 0)
}

/** `Name:   123 kB` and `name: 123` lines as bytes or counts. */
export function countersOf(text: string): Record<string, number> {
  const counters: Record<string, number> = {}
  for (const [, name = '', value = '', unit] of text.matchAll(/^(\w+):\s+(\d+)( kB)?/gm)) {
    counters[name] = Number(value) * (unit === undefined ? 1 : 1024)
  }
  return counters
}

export interface Memory {
  rssBytes: number
  anonBytes: number
  /** Mapped files: the program, index tables. */
  fileBytes: number
}

export function memoryOf(pid: number): Memory {
  const counters = countersOf(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  const { VmRSS = 0, RssAnon = 0, RssFile = 0, RssShmem = 0 } = counters
  return { rssBytes: VmRSS, anonBytes: RssAnon + RssShmem, fileBytes: RssFile }
}

/**
 * Bytes a process handed to write calls, in all its threads, replies to clients included. Not `write_bytes`: where a
 * file lies in the page cache in large folios that one counts a whole folio (up to 1 MiB) for each block written.
 */
export function writtenBytesOf(pid: number): number {
  return countersOf(fs.readFileSync(`/proc/${pid}/io`, 'utf8')).wchar ?? 0
}

/** Of threads of one name. */
export interface Used {
  cpuMs: number
  /** They had nothing to do and were woken, so often. */
  wakeUps: number
}

/** By name; threads of V8 and of the pool have one name each. */
export function threadsOf(pid: number): Map<string, Used> {
  const found = new Map<string, Used>()
  for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
    const of = (file: string): string => fs.readFileSync(`/proc/${pid}/task/${task}/${file}`, 'utf8')
    const name = of('comm').trim()
    const used = found.get(name) ?? { cpuMs: 0, wakeUps: 0 }
    used.cpuMs += Number(of('schedstat').split(' ')[0]) / 1e6
    used.wakeUps += Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(of('status'))![1])
    found.set(name, used)
  }
  return found
}
