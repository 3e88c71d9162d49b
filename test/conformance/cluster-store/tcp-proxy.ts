/** A TCP proxy that can lose what goes through it, and cut its connections. */
import { once } from 'node:events'
import net from 'node:net'
import type { Test } from 'tap'
import { HOST, freePort } from './store-process.ts'

type Direction = 'requests' | 'answers'

interface Connection {
  client: net.Socket
  server: net.Socket
  loses: Direction[]
}

export class TcpProxy {
  readonly address: string
  private readonly server = net.createServer((client) => this.accept(client))
  private readonly connections = new Set<Connection>()
  private readonly target: number
  private readonly port = freePort()
  private onLost: () => void = () => {}

  private constructor(target: number) {
    this.target = target
    this.address = `http://${HOST}:${this.port}`
  }

  static async start(t: Test, target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    proxy.server.listen(proxy.port, HOST)
    await once(proxy.server, 'listening')
    t.teardown(async () => {
      proxy.cut()
      proxy.server.close()
      await once(proxy.server, 'close')
    })
    return proxy
  }

  /** The present connections lose these for good; new ones do not. */
  lose(...loses: Direction[]): void {
    for (const connection of this.connections) connection.loses = loses
  }

  /** When the next bytes are lost. */
  lost(): Promise<void> {
    return new Promise((resolve) => {
      this.onLost = resolve
    })
  }

  /** Close every connection; new ones are taken. */
  cut(): void {
    for (const { client } of this.connections) client.destroy()
  }

  private accept(client: net.Socket): void {
    const connection: Connection = { client, server: net.connect(this.target, HOST), loses: [] }
    const { server } = connection
    this.connections.add(connection)
    const pass = (from: net.Socket, to: net.Socket, what: Direction) => {
      from.on('data', (bytes) => (connection.loses.includes(what) ? this.onLost() : to.write(bytes)))
      from.on('error', () => undefined)
      from.on('close', () => {
        this.connections.delete(connection)
        to.destroy()
      })
    }
    pass(client, server, 'requests')
    pass(server, client, 'answers')
  }
}
