/**
 * What the control plane orders of nodes, in seeds whose copies are erased and made where they are (volume-focus.ts): a
 * copy that is no member is erased; a node that is to have another copy makes an empty one, which becomes a member when
 * it is there; of a volume that is purged every copy goes, when its node is there. Orders go over the network, late or
 * not at all; each names its copy, and a node that gets one asks the cluster store once more.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { withNewMember, withoutMember } from '../../../engine/control/member-change.ts'
import { Random } from '../random.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

export class CopyOrders {
  /** Nodes that are to have another copy: those that were ordered for it, of which one may be on its way. */
  private readonly wished = new Map<string, Set<string>>()
  private readonly changing = new Set<string>()
  private readonly world: World
  private readonly random: Random
  private names = 0
  isPurging = false

  constructor(world: World, random: Random) {
    this.world = world
    this.random = random
  }

  get isBusy(): boolean {
    if (this.isPurging) return [...this.world.nodes.values()].some(({ hasNoCopy }) => !hasNoCopy)
    return this.wished.size > 0
  }

  /** Look again and again. */
  begin(): void {
    const { graceMs } = this.world.swarm
    this.world.clock.after(graceMs * (0.1 + 0.4 * this.random.float()), () => {
      for (const node of this.world.nodes.values()) {
        this.look(node)
        if (this.world.isHydrated) node.disk.hydrate()
      }
      this.begin()
    })
  }

  /** The node, which is out of the set, gets an empty copy in place of what it has. */
  renew(name: string): void {
    this.wished.set(name, new Set())
  }

  private look(node: SimNode): void {
    const { name } = node
    const found = node.openCopy === undefined ? undefined : node.disk.copyId
    if (this.isPurging) {
      if (found !== undefined) this.erase(node, found)
      return
    }
    const { config } = this.world.store.current
    const member = config.members[name]
    if (found !== undefined && member?.copyId === found && node.openCopy?.role === 'fenced') node.reopenCopy()
    const ordered = this.wished.get(name)
    const isWished = ordered !== undefined
    if (isWished && (config.inSync.includes(name) || ordered.has(member?.copyId ?? '')))
      this.wished.delete(name)
    else if (isWished && member !== undefined) {
      if (this.hasActivePrimary(config)) this.change(name, (now, nonce) => withoutMember(now, name, nonce))
    } else if (isWished && node.hasNoCopy) this.make(node, ordered)
    else if (isWished && found !== undefined && ordered.has(found)) {
      const fact = { copyId: found, isVirgin: true }
      this.change(name, (now, nonce) => withNewMember(now, name, fact, nonce))
    } else if (found !== undefined && member?.copyId !== found && this.hasActivePrimary(config)) this.erase(node, found)
  }

  /** E3: it serves under this very configuration, with all of its copy. */
  private hasActivePrimary({ primary, epoch }: VolumeConfig): boolean {
    const copy = this.world.nodes.get(primary)!.openCopy
    return copy?.role === 'primary' && copy.primary!.epoch === epoch && copy.isWhole
  }

  private change(name: string, to: (now: VolumeConfig, nonce: string) => VolumeConfig | undefined): void {
    if (this.changing.has(name)) return
    this.changing.add(name)
    const ended = () => void this.changing.delete(name)
    this.world.operator.change(new Random(`order ${name} ${++this.names}`), to, ended, ended)
  }

  private make(node: SimNode, ordered: Set<string>): void {
    const { name } = node
    const copyId = `copy-${name}.${++this.names}`
    ordered.add(copyId)
    this.order(node, `make ${copyId}`, () => {
      if (!this.isPurging && this.world.store.current.config.members[name] === undefined) node.makeCopy(copyId)
    })
  }

  private erase(node: SimNode, copyId: string): void {
    this.order(node, `erase ${copyId}`, () => {
      const isMember = this.world.store.current.config.members[node.name]?.copyId === copyId
      if (this.isPurging || !isMember) node.eraseCopy(copyId)
    })
  }

  private order(node: SimNode, what: string, run: () => void): void {
    this.world.trace.note('orders', what, 0, 0, node.name)
    this.world.network.send('operator', node.name, () => {
      if (!node.isPaused) run()
    })
  }
}
