/**
 * The control API, asked again over another connection when one went dead: behind a Service a connection may lead to
 * the very node that died, and nothing tells that it did. Each call has a deadline of its own.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { HoldfastError } from '../../engine/errors.ts'

export class ControlLink {
  private readonly connect: () => ControlClient
  private client: ControlClient | undefined
  private isClosed = false

  constructor(connect: () => ControlClient) {
    this.connect = connect
  }

  /** @throws whatever the call does; `unreachable` when it has no answer in time, or the link was closed */
  async ask<T>(deadlineMs: number, call: (api: ControlClient) => Promise<T>): Promise<T> {
    // Who asks page after page may have been told to end meanwhile.
    if (this.isClosed) throw unreachable('the link to it was closed')
    const client = (this.client ??= this.connect())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(unreachable(`no answer in ${deadlineMs / 1000} s`)), deadlineMs)
    })
    try {
      return await Promise.race([call(client), late])
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'unreachable' && this.client === client) this.drop()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** For good: no connection is made any more. */
  close(): void {
    this.isClosed = true
    this.drop()
  }

  private drop(): void {
    this.client?.close()
    this.client = undefined
  }
}

const unreachable = (reason: string): HoldfastError =>
  new HoldfastError('unreachable', { endpoint: 'the control API', source: 'from --endpoint', reason })
