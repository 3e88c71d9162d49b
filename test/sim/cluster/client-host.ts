/**
 * The users of a volume, and what their frontends ask of its world (sim-client.ts): who is attached, what was invoked
 * and answered, and the frontends that were replaced and still run.
 */
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import type { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import type { ClientOperation } from './checker/history.ts'
import { SimClient, type ClientWorld } from './sim-client.ts'
import type { StampCodec, Stamps } from './stamps.ts'
import type { Swarm } from './swarm.ts'
import { briefFrontend } from './trace-text.ts'
import type { World } from './world.ts'

export class ClientHost implements ClientWorld {
  /** Frontends that were replaced and still run. */
  readonly ghosts: SimClient[] = []
  readonly counts = { answered: 0, acknowledgedWrites: 0 }
  /** While blocks are lost: what was answered, by client and tag. */
  readonly heard = new Map<string, string>()
  /** When a request was answered as it should be, last. */
  servedAtMs = 0
  private incarnations = 0
  private readonly world: World

  constructor(world: World) {
    this.world = world
  }

  get clock(): SimClock {
    return this.world.clock
  }

  get swarm(): Swarm {
    return this.world.swarm
  }

  get isHealed(): boolean {
    return this.world.isHealed
  }

  /** Who looks at what is lost asks again himself (last-requests.ts), and nobody is to write into it meanwhile. */
  get asksAnew(): boolean {
    return this.world.isHealed && !this.world.mayLose
  }

  get stamps(): Stamps {
    return this.world.judge.stamps
  }

  get codec(): StampCodec {
    return this.world.codec
  }

  /** Those that were replaced and still run, too. */
  get frontends(): SimClient[] {
    return [...this.world.clients.values(), ...this.ghosts]
  }

  position(): number {
    return this.world.position()
  }

  failed(who: { name: string }, error: unknown): void {
    this.world.failed(who, error)
  }

  readConfig(user: string, ended: (value: VersionedConfig | undefined) => void): void {
    this.world.store.read(user, ended)
  }

  attach({ name }: SimClient, generation: number): void {
    if (this.world.isDeleted) return
    this.world.trace.note(name, 'attach', 0, 0, generation)
    // Its frontend may have been replaced since this was asked for: a ghost is not attached anew.
    this.world.clients.get(name)!.attach({ generation, incarnation: ++this.incarnations })
  }

  /** Its frontend ends, and another one begins. */
  restart(client: SimClient): void {
    const { session } = client
    if (session === undefined) return
    client.detach()
    this.attach(client, session.generation)
  }

  /** A frontend is replaced by another one, and goes on; it hears nothing for so long. */
  haunt(client: SimClient, deafMs: number): void {
    const { generation } = client.session!
    const { name } = client
    const random = new Random(`ghost of ${name} ${++this.incarnations}`)
    const successor = new SimClient(name, this, random, client.time.rate, Math.ceil(client.budget / 2))
    client.budget = Math.min(client.budget, 3)
    client.deafUntilMs = this.world.clock.nowMs() + deafMs
    this.ghosts.push(client)
    this.world.clients.set(name, successor)
    this.attach(successor, generation)
  }

  record(op: ClientOperation): void {
    this.world.judge.invoked(op)
  }

  sendToCopy(client: string, to: string, message: FrontendMessage): void {
    this.world.trace.note(client, message.type, 0, 0, to, () => `to ${to}${briefFrontend(message)}`)
    this.world.judge.sent(message)
    this.world.network.send(client, to, () => {
      const node = this.world.nodes.get(to)
      if (node === undefined) return
      this.world.judge.arrived(to, message)
      node.deliver({ type: 'frontend', from: client, message })
    })
  }

  clientAnswered(client: SimClient, kind: ClientOperation['kind'], result: string, tag: number = 0): void {
    if (this.world.mayLose) this.heard.set(`${client.name} ${tag}`, result)
    this.world.trace.note(client.name, 'answered', 0, 0, `${kind} ${result}`)
    this.counts.answered++
    if (result === 'ok') this.servedAtMs = this.world.clock.nowMs()
    // Of each block some member has the bytes (atlas.ts), but at the end.
    if (result === 'damaged' && this.world.storeKind === 'real' && !this.world.mayLose) {
      this.world.judge.report([{ checker: 'progress', message: `${client.name} is told that a block is damaged` }])
    }
    if (result === 'ok' && kind !== 'read' && kind !== 'flush') this.counts.acknowledgedWrites++
    if (result === 'ok' || client.session === undefined) return
    const { generation } = client.session
    if (client.ended === undefined) return
    client.detach()
    if (this.ghosts.includes(client)) return
    if (client.ended === 'stale-session') this.world.judge.refused(client.name, generation)
    if (client.ended === 'session-broken') this.world.judge.broken(client.name, generation)
    if (client.ended === 'session-broken') this.world.operator.attachAnew(client, generation)
    else client.lastGeneration = 0
  }
}
