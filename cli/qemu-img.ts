/** Images in other formats than raw, by `qemu-img`, where it is installed: it reads and writes NBD exports itself. */
import { spawn } from 'node:child_process'
import { HoldfastError } from '../engine/errors.ts'

/** The last words of a child that failed. */
const REASON_CHARACTERS_MAX = 300

export interface QemuRun {
  /** Each share of the whole that it tells, 0 to 1. */
  onProgress?(share: number): void
  /** Ends it. */
  signal?: AbortSignal
  /** For sentences: what needs it. */
  what: string
}

/** @returns what it printed. @throws HoldfastError `tool-missing` or `copy-ended` */
export function qemuImg(words: readonly string[], { onProgress, signal, what }: QemuRun): Promise<string> {
  // It tells nobody who listens from now on.
  if (signal?.aborted === true) {
    return Promise.reject(new HoldfastError('copy-ended', { what, reason: 'it was interrupted' }))
  }
  return new Promise((resolve, reject) => {
    // A group of its own: Ctrl-C is ours to pass on.
    const child = spawn('qemu-img', words, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const end = (): void => void child.kill('SIGTERM')
    signal?.addEventListener('abort', end)
    let said = ''
    let complained = ''
    child.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString()
      const share = /\((\d+\.\d+)\/100%\)[^(]*$/.exec(said)?.[1]
      if (share !== undefined) onProgress?.(Number(share) / 100)
    })
    child.stderr.on('data', (bytes: Buffer) => {
      complained = (complained + bytes.toString()).slice(-REASON_CHARACTERS_MAX)
    })
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = { tool: 'qemu-img', what, package: 'qemu-utils', instead: 'use --format raw' }
      if (error.code === 'ENOENT') reject(new HoldfastError('tool-missing', missing))
      else reject(new HoldfastError('copy-ended', { what, reason: `qemu-img: ${error.message}` }))
    })
    child.on('close', (status) => {
      signal?.removeEventListener('abort', end)
      if (status === 0) return resolve(said)
      const last = complained.trim().replaceAll('\n', ' ')
      const reason = signal?.aborted === true ? 'it was interrupted' : last === '' ? 'qemu-img ended' : last
      reject(new HoldfastError('copy-ended', { what, reason }))
    })
  })
}
