/**
 * The control API, asked again over another connection when one went dead: behind a Service a connection may lead to
 * the very node that died, and nothing tells that it did. Each call has a deadline of its own.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { HoldfastError } from '../../engine/errors.ts'

export class ControlLink {
  private readonly connect: () => ControlClient
  private client: ControlClient | undefined

  constructor(connect: () => ControlClient) {
    this.connect = connect
  }

  /** @throws whatever the call does; `unreachable` when it has no answer in time */
  async ask<T>(deadlineMs: number, call: (api: ControlClient) => Promise<T>): Promise<T> {
    const client = (this.client ??= this.connect())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const reason = `no answer in ${deadlineMs / 1000} s`
      const detail = { endpoint: 'the control API', source: 'from --endpoint', reason }
      timer = setTimeout(() => reject(new HoldfastError('unreachable', detail)), deadlineMs)
    })
    try {
      return await Promise.race([call(client), late])
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'unreachable' && this.client === client) this.close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  close(): void {
    this.client?.close()
    this.client = undefined
  }
}
