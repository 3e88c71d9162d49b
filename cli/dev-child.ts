/**
 * A process that `holdfast dev` holds: a child running a `holdfast` command in its own process group (so a Ctrl-C of
 * the terminal reaches only us), and what happened to it. It ends by itself when we are gone: its channel closes.
 *
 *   down --start--> starting --ready--> up --stop, kill, its own end--> down
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import path from 'node:path'
import { withCompileCache } from '../dataplane/compile-cache.ts'
import type { Waits } from '../dataplane/daemon-start.ts'

const MAIN = path.join(import.meta.dirname, 'main.ts')

export interface DevChildOptions {
  name: string
  /** Called when it goes down and nobody asked for it. */
  onLost: (why: string) => void
}

const isWaits = (message: unknown): message is Waits => (message as Partial<Waits>).kind === 'waits'

/** `Ready` is what it sends when it serves. */
export abstract class DevChild<Ready> {
  readonly name: string
  readonly #onLost: (why: string) => void
  #child: ChildProcess | undefined
  #starting: Promise<boolean> | undefined
  #ended: Promise<void> = Promise.resolve()
  #expected = false
  ready: Ready | undefined
  /** What it said that it waits for, until it serves. */
  waitsFor: string | undefined

  constructor({ name, onLost }: DevChildOptions) {
    this.name = name
    this.#onLost = onLost
  }

  /** What to run, after `holdfast`. */
  protected abstract words(): string[]

  /** Processes that `kill` has to kill besides the child. */
  protected below(_childPid: number): number[] {
    return []
  }

  get state(): 'up' | 'down' {
    return this.ready === undefined ? 'down' : 'up'
  }

  /** Resolves when it serves, or false when it ended instead (it has said why on stderr). */
  start(): Promise<boolean> {
    this.#starting ??= this.#spawn()
    return this.#starting
  }

  #spawn(): Promise<boolean> {
    this.#expected = false
    const child = spawn(process.execPath, [MAIN, ...this.words()], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      detached: true,
      env: withCompileCache(process.env),
    })
    this.#child = child
    return new Promise((resolve) => {
      child.on('message', (message: Ready | Waits) => {
        if (isWaits(message)) return void (this.waitsFor = message.sentence)
        this.waitsFor = undefined
        this.ready = message
        resolve(true)
      })
      this.#ended = new Promise((ended) => {
        child.on('exit', (code, signal) => {
          const wasUp = this.ready !== undefined
          this.#child = undefined
          this.#starting = undefined
          this.ready = this.waitsFor = undefined
          ended()
          resolve(false)
          if (wasUp && !this.#expected) this.#onLost(signal ?? `exit code ${code}`)
        })
      })
    })
  }

  /** Cleanly. A second call while it is stopping makes it stop at once. */
  stop(): Promise<void> {
    this.#expected = true
    this.#child?.kill('SIGTERM')
    return this.#ended
  }

  /** As a dead host: the child first, so that it cannot start another below it, and those in the same turn. */
  kill(): Promise<void> {
    this.#expected = true
    const pid = this.#child?.pid
    if (pid !== undefined) {
      const below = this.below(pid)
      this.#child?.kill('SIGKILL')
      for (const each of below) process.kill(each, 'SIGKILL')
    }
    return this.#ended
  }
}
