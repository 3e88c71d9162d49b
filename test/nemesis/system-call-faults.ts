/** Errors and delays of a process's system calls, injected by strace while it runs. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** strace says when it has attached to all threads. */
const ATTACHED = /attached/
const MET = /\(INJECTED\)|\(DELAYED\)/
const REFUSED = /EAGAIN/

export const straceMissing = (): string | undefined =>
  spawnSync('strace', ['-V']).status === 0 ? undefined : 'strace is not installed (Debian package strace)'

export interface Injection {
  pid: number
  /** Calls on this file only. */
  file?: string
  /** Names of system calls, with commas. */
  calls: string
  /** As strace has it: `error=EIO:when=1`, `delay_enter=100000` (microseconds). */
  what: string
  /** Calls that are told to come again later, each of them; they do not count. */
  refused?: string
  forMs: number
  /** Where strace writes meanwhile. */
  folder: string
}

/** Until the time is over, or the process is. @returns how many calls met it: none, and nothing was done */
export async function inject({ pid, file, calls, what, refused, forMs, folder }: Injection): Promise<number> {
  const seen = `${folder}/strace-${pid}`
  const only = file === undefined ? [] : ['-P', file]
  const traced = refused === undefined ? calls : `${calls},${refused}`
  const words = ['-f', '-o', seen, ...only, '-e', `trace=${traced}`, '-e', `inject=${calls}:${what}`]
  if (refused !== undefined) words.push('-e', `inject=${refused}:error=EAGAIN`)
  const child = spawn('strace', [...words, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'close')
  const attached = new Promise<void>((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (ATTACHED.test(text)) resolve()
    })
  })
  await Promise.race([attached, ended])
  await Promise.race([sleep(forMs), ended])
  child.kill('SIGINT')
  await ended
  const text = readFileSync(seen, 'utf8')
  rmSync(seen)
  return text.split('\n').filter((line) => MET.test(line) && !REFUSED.test(line)).length
}
