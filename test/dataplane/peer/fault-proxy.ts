/** A proxy before a peer that delays, splits, damages, cuts and half-closes what goes through it, one way or both. */
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import type { Test } from 'tap'
import type { PeerEndpoint } from '../../../dataplane/peer/peer-socket.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

/** in: what the dialling side says. out: what it is answered. */
export type Way = 'in' | 'out'

export interface Faults {
  /** Byte by byte, each in a write of its own. */
  split?: boolean
  delayMs?: number
  /** Flip a bit of the byte at this place of the stream. */
  damageAt?: number
  damageMask?: number
  /** Swallow everything. */
  cut?: boolean
}

export interface Proxied {
  /** Of the preface, once it went through: 1 urgent, 2 data. */
  lane: number | undefined
  faults: Record<Way, Faults>
  seenBytes: Record<Way, number>
  isClosed: boolean
  halfClose(way: Way): void
  reset(): void
}

export class FaultProxy {
  readonly connections: Proxied[] = []
  endpoint: PeerEndpoint = { path: '' }
  /** Of connections to come; asked when the preface of one is there. */
  faultsFor: (lane: number) => Partial<Record<Way, Faults>> = () => ({})
  readonly #server = net.createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
  readonly #target: PeerEndpoint
  readonly #sockets = new Set<net.Socket>()

  private constructor(target: PeerEndpoint) {
    this.#target = target
  }

  static async start(t: Test, target: PeerEndpoint): Promise<FaultProxy> {
    const proxy = new FaultProxy(target)
    const isUnix = 'path' in target
    const file = isUnix ? path.join(temporaryFolder(t), 'p') : ''
    proxy.#server.listen(isUnix ? { path: file } : { host: '127.0.0.1', port: 0 })
    await once(proxy.#server, 'listening')
    const address = proxy.#server.address() as net.AddressInfo
    proxy.endpoint = isUnix ? { path: file } : { host: '127.0.0.1', port: address.port }
    t.teardown(async () => {
      for (const socket of proxy.#sockets) socket.destroy()
      proxy.#server.close()
      await once(proxy.#server, 'close')
    })
    return proxy
  }

  /** The newest one of a lane that is still there. */
  live(lane: number): Proxied | undefined {
    return this.connections.findLast((one) => one.lane === lane && !one.isClosed)
  }

  #accept(client: net.Socket): void {
    const server = net.connect({ ...this.#target, allowHalfOpen: true, noDelay: true } as net.NetConnectOpts)
    const proxied: Proxied = {
      lane: undefined,
      faults: { in: {}, out: {} },
      seenBytes: { in: 0, out: 0 },
      isClosed: false,
      halfClose: (way) => (way === 'in' ? server : client).end(),
      reset: () => {
        client.resetAndDestroy()
        server.resetAndDestroy()
      },
    }
    this.connections.push(proxied)
    for (const [way, from, to] of [['in', client, server], ['out', server, client]] as const) {
      this.#sockets.add(from)
      from.on('data', (bytes) => this.#pass(proxied, way, bytes, to))
      from.on('end', () => {
        // What is delayed is still to come.
        setTimeout(() => to.end(), proxied.faults[way].delayMs ?? 0)
      })
      from.on('error', () => undefined)
      from.on('close', () => {
        this.#sockets.delete(from)
        proxied.isClosed = true
        to.destroy()
      })
    }
  }

  #pass(proxied: Proxied, way: Way, data: Buffer, to: net.Socket): void {
    const bytes = Buffer.from(data)
    if (proxied.lane === undefined && way === 'in') {
      proxied.lane = bytes[11]!
      Object.assign(proxied.faults, this.faultsFor(bytes[11]!))
    }
    const { split, delayMs, damageAt, damageMask, cut } = proxied.faults[way]
    const first = proxied.seenBytes[way]
    proxied.seenBytes[way] += bytes.length
    if (cut === true) return
    if (damageAt !== undefined && damageAt >= first && damageAt < first + bytes.length) {
      bytes[damageAt - first]! ^= damageMask ?? 0x10
    }
    const pass = (): void => {
      if (split === true) for (let i = 0; i < bytes.length; i++) to.write(bytes.subarray(i, i + 1))
      else to.write(bytes)
    }
    if (delayMs === undefined) pass()
    else setTimeout(pass, delayMs)
  }
}
