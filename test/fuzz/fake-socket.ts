/** The end of a connection of which the other one is an input: what comes is told at once, what is sent is counted. */
import { EventEmitter } from 'node:events'
import type net from 'node:net'

export class FakeSocket extends EventEmitter {
  sentBytes = 0
  destroyed = false
  isPaused = false
  readonly remoteAddress = '127.0.0.1'

  /** Only what is here is used of it. */
  get asSocket(): net.Socket {
    return this as unknown as net.Socket
  }

  write(bytes: Uint8Array, done?: (error?: Error) => void): boolean {
    this.sentBytes += bytes.length
    if (done !== undefined) queueMicrotask(done)
    return true
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    queueMicrotask(() => this.emit('close'))
  }

  end(): void {
    this.destroy()
  }

  cork(): void {}

  uncork(): void {}

  setNoDelay(): void {}
}

/** After all that is planned for this turn and the next. */
export const aTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))
