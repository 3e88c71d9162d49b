/** Data workers of several nodes, each with its listener and transport, on loopback or unix sockets. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { Test } from 'tap'
import type { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import type { ClockPort } from '../../../engine/ports.ts'
import { clock as realClock } from '../../../dataplane/clock.ts'
import type { Delivery } from '../../../dataplane/peer/delivery.ts'
import { PeerListener } from '../../../dataplane/peer/listener.ts'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import type { PeerEndpoint } from '../../../dataplane/peer/peer-socket.ts'
import type { PeerSelf } from '../../../dataplane/peer/preface.ts'
import { PeerTransport } from '../../../dataplane/peer/transport.ts'
import type { PeerRules, TRANSPORT_LIMITS } from '../../../dataplane/peer/transport-options.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

export const CLUSTER = 'c1'.repeat(16)
export const VOLUME_ID = '00112233445566778899aabbccddeeff'

export const hex = (bytes = 16): string => randomBytes(bytes).toString('hex')

export interface Event {
  level: string
  message: string
  fields: Record<string, string | number | boolean>
}

export interface WorkerOptions {
  node: string
  instance?: string
  clusterId?: string
  worker?: number
  rules?: Partial<PeerRules>
  limits?: Partial<typeof TRANSPORT_LIMITS>
  clock?: ClockPort
  /** What becomes of a message; done at once unless it is kept. */
  onMessage?: (delivery: Delivery) => void
  tcp?: boolean
  tls?: TlsFolder
}

/** One worker with all it told its owner. */
export class Worker {
  readonly self: PeerSelf
  readonly pool = new SlabPool()
  readonly events: Event[] = []
  readonly got: Delivery[] = []
  readonly ups: string[] = []
  readonly downs: string[] = []
  drains = 0
  readonly transport: PeerTransport
  readonly listener: PeerListener
  endpoint: PeerEndpoint = { path: '' }

  constructor(options: WorkerOptions) {
    const { node, rules, limits } = options
    const clock = options.clock ?? realClock
    this.self = {
      clusterId: options.clusterId ?? CLUSTER, node, instance: options.instance ?? hex(),
      worker: options.worker ?? 0, role: 'worker',
    }
    this.transport = new PeerTransport({
      self: this.self,
      tls: options.tls,
      clock,
      log: { event: (level, message, fields) => this.events.push({ level, message, fields }) },
      pool: this.pool,
      rules: { mayConnect: () => undefined, mayReceive: () => undefined, ...rules },
      random: () => 0.5,
      nonce: () => hex(),
      onMessage: options.onMessage ?? ((delivery) => {
        this.got.push(delivery)
        delivery.done()
      }),
      onUp: (peer, lane) => this.ups.push(`${peer.node} ${lane}`),
      onDown: (peer, lane, reason) => this.downs.push(`${peer.node} ${lane} ${reason}`),
      onDrained: () => this.drains++,
      limits: { retryMs: 5, retryMaxMs: 40, ...limits },
    })
    this.listener = new PeerListener({
      clock,
      log: this.transport.refusals,
      onArrival: (arrival) => this.transport.accept(arrival),
      limits: { handshakeMs: limits?.handshakeMs ?? 2000 },
    })
  }

  static async start(t: Test, options: WorkerOptions): Promise<Worker> {
    const worker = new Worker(options)
    if (options.tcp === true) {
      worker.endpoint = { host: '127.0.0.1', port: await worker.listener.listenTcp({ host: '127.0.0.1', port: 0 }) }
    } else {
      worker.endpoint = { path: path.join(temporaryFolder(t), 's') }
      await worker.listener.listenUnix(worker.endpoint.path)
    }
    t.teardown(() => worker.stop())
    return worker
  }

  get address() {
    return { node: this.self.node, worker: this.self.worker, endpoint: this.endpoint }
  }

  isUp(to: Worker): boolean {
    return (['urgent', 'data'] as const).every((lane) => this.transport.instanceOf(to.self, lane) === to.self.instance)
  }

  send(to: Worker, message: WireMessage): 'queued' | 'full' | 'down' {
    return this.transport.send(to.self, 'beacon' === message.type ? undefined : VOLUME_ID, message)
  }

  messages(type: WireMessage['type']): WireMessage[] {
    return this.got.map(({ message }) => message).filter((message) => message.type === type)
  }

  async stop(): Promise<void> {
    this.transport.close()
    await this.listener.close()
  }
}

/** Until it is so; the test's own deadline ends what never comes. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1))
}

/** Two workers that know each other, both lanes up; the first one dials, so that nothing changes any more. */
export async function pair(
  t: Test,
  options: { a?: Partial<WorkerOptions>; b?: Partial<WorkerOptions>; tcp?: boolean } = {},
): Promise<[Worker, Worker]> {
  const tcp = options.tcp ?? false
  const a = await Worker.start(t, { node: 'n1', tcp, ...options.a })
  const b = await Worker.start(t, { node: 'n2', tcp, ...options.b })
  a.transport.setPeers([b.address])
  b.transport.setPeers([{ node: a.self.node, worker: a.self.worker }])
  await until(() => a.isUp(b) && b.isUp(a))
  return [a, b]
}

export const sync = (seq: number): WireMessage => ({ type: 'sync', epoch: 1, seq })
