/**
 * What the world does to a cluster: each fault begins now and, where it has an end, ends after its time; the heal phase
 * ends all of them.
 */
import { unreachable } from '../../../engine/assert.ts'
import { Random } from '../random.ts'
import type { Scene } from './aims.ts'
import type { Damaged } from './atlas.ts'
import { beginHostFault } from './host-faults.ts'
import type { PlannedEvent } from './plan.ts'
import { beginPlot } from './plot-faults.ts'
import { beginScene } from './scene-faults.ts'
import { mayDamage, noteDamage } from './shared-damage.ts'
import type { SimNode } from './sim-node.ts'
import { beginStale } from './stale-faults.ts'
import type { FaultKind } from './swarm.ts'
import type { World } from './world.ts'

/** `scene`: whom it was aimed at. */
export function beginFault(world: World, event: PlannedEvent, scene?: Scene): void {
  const random = new Random(event.seed)
  const { durationMs, aim } = event
  const kind = event.kind as FaultKind
  const nodes = [...world.nodes.values()]
  const aimed = scene === undefined ? undefined : aim?.at === 'who' ? scene.who : scene.other
  const node = world.nodes.get(aimed ?? '') ?? chooseNode(world, random)
  const after = (run: () => void): void => {
    world.clock.after(durationMs, () => {
      if (!world.isHealed) run()
    })
  }
  world.trace.note('fault', kind, 0, 0, node.name, () => `${node.name} for ${durationMs.toFixed(1)} ms`)
  switch (kind) {
    case 'crash':
      node.kill()
      return after(() => node.start())
    case 'power-loss':
      node.losePower(world.position())
      return after(() => node.start())
    case 'power-loss-of-all':
      for (const one of nodes) one.losePower(world.position())
      for (const one of nodes) {
        world.clock.after(durationMs * random.float(), () => one.start())
      }
      return
    case 'pause':
      node.pause()
      return after(() => node.resume())
    case 'cut-way': {
      const [from, to] = chooseWay(world, random, node, scene)
      world.network.cut(from, to)
      return after(() => world.network.heal(from, to))
    }
    case 'slow-way': {
      const [from, to] = chooseWay(world, random, node, scene)
      const { leaseMs, graceMs, network } = world.swarm
      world.network.slowDown(from, to, random.float() * random.pick([10 * network.delayMs[1], leaseMs, 2 * graceMs]))
      return after(() => world.network.slowDown(from, to, 0))
    }
    // What is sent on it now is held somewhere for long; what is sent later is not.
    case 'stuck-way': {
      const [from, to] = random.chance(0.3) ? wayToPrimary(world, random) : chooseWay(world, random, node, scene)
      const { graceMs, evictAfterMs } = world.swarm
      world.network.slowDown(from, to, random.float() * random.pick([1, 4]) * (graceMs + evictAfterMs))
      world.clock.after(durationMs / 4, () => world.network.slowDown(from, to, 0))
      return
    }
    // It is up again at once. What it said was heard; one of the others may not hear it for so long that it is let go.
    case 'blink': {
      if (random.chance(0.5)) node.losePower(world.position())
      else node.kill()
      world.clock.after(random.float() * random.pick([0.1, world.swarm.beaconMs]), () => {
        if (!world.isHealed) node.start()
      })
      if (random.chance(0.5)) return
      const { graceMs, evictAfterMs } = world.swarm
      const deaf = random.pick(nodes).name
      world.network.cut(node.name, deaf)
      world.clock.after((graceMs + evictAfterMs) * (0.5 + 2 * random.float()), () => {
        if (!world.isHealed) world.network.heal(node.name, deaf)
      })
      return
    }
    case 'partition': {
      const groups: [string[], string[]] = [[], []]
      for (const name of world.everybody) groups[random.int(2)]!.push(name)
      world.network.partition(groups)
      const hidden = random.chance(0.5) ? groups[random.int(2)]! : []
      for (const name of hidden) world.store.unreachableFor.add(name)
      return after(() => {
        world.network.healAll()
        for (const name of hidden) world.store.unreachableFor.delete(name)
      })
    }
    // With a client beside it that believes in it, and for so long that the others go on without it.
    // Perhaps what the others say to it has been slow for a while, and comes when they have given it up.
    case 'lonely-primary': {
      const { leaseMs, graceMs } = world.swarm
      const { primary } = world.store.current.config
      const slowMs = random.chance(0.5) ? random.float() * leaseMs : 0
      if (slowMs > 0) for (const { name } of nodes) world.network.slowDown(name, primary, slowMs)
      const isolate = () => {
        if (world.isHealed) return
        const hidden = isolatePrimary(world, random)
        world.clock.after(graceMs * (1.5 + random.float() * 3), () => {
          if (world.isHealed) return
          world.network.healAll()
          for (const name of hidden) world.store.unreachableFor.delete(name)
        })
      }
      if (slowMs === 0) isolate()
      else world.clock.after(slowMs + random.float() * leaseMs, isolate)
      return
    }
    // A machine loses its power for a moment while all others stand still for long, perhaps longer than one waits.
    case 'silence':
    case 'long-silence': {
      const others = nodes.filter((other) => other !== node)
      for (const other of others) other.pause()
      node.losePower(world.position())
      world.clock.after(durationMs / 10, () => node.start())
      const { graceMs, evictAfterMs } = world.swarm
      const most = kind === 'silence' ? 3 : 7
      world.clock.after((graceMs + evictAfterMs) * (1 + most * random.float()), () => {
        if (!world.isHealed) for (const other of others) other.resume()
      })
      return
    }
    case 'late-end':
    case 'late-release':
    case 'forgotten-tail':
    case 'lost-answers':
    case 'late-spare':
      return beginScene(world, kind, random)
    case 'left-behind':
    case 'touched':
    case 'lone-witness':
    case 'lost-tail':
    case 'lost-epoch':
    case 'lost-fence':
    case 'full-fill':
      return beginPlot(world, kind, random, node)
    case 'late-fill':
    case 'outsider':
    case 'late-loss':
      return beginStale(world, kind, random)
    case 'socket-lost':
    case 'kill-of-all':
      return beginHostFault(world, kind, random, durationMs)
    // Who took its place dies of it and comes back at once, when all see each other again, but not the store.
    case 'relapse': {
      const hidden = isolatePrimary(world, random)
      world.aims.arm('new-primary', world.swarm.graceMs * 4, (seen) => {
        if (world.isHealed) return
        world.network.healAll()
        const successor = world.nodes.get(seen?.who ?? '')
        successor?.kill()
        if (successor !== undefined && random.chance(0.5)) {
          hidden.push(successor.name)
          world.store.unreachableFor.add(successor.name)
        }
        world.clock.after(durationMs / 10, () => successor?.start())
        world.clock.after(world.swarm.graceMs * 3 * random.float(), () => {
          if (!world.isHealed) for (const name of hidden) world.store.unreachableFor.delete(name)
        })
      })
      return
    }
    case 'bad-network':
      world.network.options = world.swarm.badNetwork
      return after(() => (world.network.options = world.swarm.network))
    case 'store-outage':
      world.store.isOut = true
      return after(() => (world.store.isOut = false))
    case 'cut-store':
      world.store.unreachableFor.add(node.name)
      return after(() => world.store.unreachableFor.delete(node.name))
    case 'slow-disk':
      node.disk.setSpeed(random.pick([5, 50, 1000]))
      return after(() => node.disk.setSpeed(1))
    case 'disk-failure':
      node.failDisk(world.position())
      return after(() => {
        if (!node.disk.hasFailed) return
        node.kill()
        node.mendDisk(world.position())
        node.start()
      })
    case 'write-error':
    case 'sync-error':
      return failDiskAt(world, node, kind === 'write-error' ? 'write' : 'sync', after)
    case 'read-errors': {
      if (!world.atlas.mayDamage(world.store.current.config, node.name, 'disk')) return
      node.disk.failReads(random.pick([0.1, 0.5, 1]))
      let isOver = false
      // An opening meanwhile does without a disk that it cannot read, also when it can be read again.
      const isGone = (): boolean => isOver && !node.disk.mayLackSlices
      const end = (): void => {
        isOver = true
        node.disk.failReads(0)
      }
      const undo = (): void => {
        end()
        node.disk.reopen()
      }
      world.atlas.note(node.name, { what: 'disk', isGone, undo })
      return after(() => {
        end()
        restartFenced(node)
      })
    }
    case 'block-rot':
      return rotBlocks(world, node, random)
    case 'disk-rot':
    case 'misdirected-write':
      return damageDisk(world, node, kind, random, after)
    case 'disk-gone': {
      const { config } = world.store.current
      if (!world.atlas.mayDamage(config, node.name, 'disk')) return
      const mark = node.disk.loseDisk(random)
      if (mark === undefined) return
      world.atlas.note(node.name, mark)
      node.witness.diskTaken()
      node.kill()
      return after(() => node.start())
    }
    case 'pool-full':
      node.disk.fillUp(true)
      return after(() => node.disk.fillUp(false))
    case 'wall-jump':
      node.time.setWall((random.float() - 0.5) * 1e8)
      return node.deliver({ type: 'clock-doubt' })
    case 'client-restart': {
      const client = random.pick([...world.clients.values()])
      if (client.session === undefined) return
      const { generation } = client.session
      client.detach()
      return after(() => world.users.attach(client, generation))
    }
    // Its frontend is started anew while the former one still runs, and does not hear for a while.
    case 'frontend-ghost': {
      const client = random.pick([...world.clients.values()])
      if (client.session !== undefined) world.users.haunt(client, durationMs)
      return
    }
    // It asks and hears no answer, or is not heard, or both.
    case 'client-cut': {
      const client = random.pick([...world.clients.values()])
      const ways = random.pick(['to', 'from', 'both'] as const)
      for (const { name } of nodes) {
        if (ways !== 'from') world.network.cut(client.name, name)
        if (ways !== 'to') world.network.cut(name, client.name)
      }
      return after(() => {
        for (const { name } of nodes) {
          world.network.heal(client.name, name)
          world.network.heal(name, client.name)
        }
      })
    }
    default:
      return unreachable(kind)
  }
}

/** Between the two who were seen, or from or to a node. */
function chooseWay(world: World, random: Random, node: SimNode, scene: Scene | undefined): [string, string] {
  const other = random.pick(random.chance(0.7) ? [...world.nodes.keys()] : world.everybody)
  const between: [string, string] =
    scene !== undefined && scene.other !== '' ? [scene.who, scene.other] : [node.name, other]
  return random.chance(0.5) ? between : [between[1], between[0]]
}

/** Requests, or what the members answer. */
function wayToPrimary(world: World, random: Random): [string, string] {
  const { primary } = world.store.current.config
  return [random.pick(world.everybody.filter((name) => name !== primary)), primary]
}

/** The primary alone with a client; the store hears neither, or the client only. */
function isolatePrimary(world: World, random: Random): string[] {
  const { primary } = world.store.current.config
  const attached = [...world.clients.values()].filter(({ session }) => session !== undefined)
  const client = attached.length > 0 ? random.pick(attached).name : 'c1'
  const inside = [primary, client]
  world.network.partition([inside, world.everybody.filter((name) => !inside.includes(name))])
  const hidden = random.chance(0.7) ? inside : [primary]
  for (const name of hidden) world.store.unreachableFor.add(name)
  return hidden
}

function failDiskAt(world: World, node: SimNode, what: 'write' | 'sync', after: (run: () => void) => void): void {
  node.failDisk(world.position(), what)
  after(() => {
    if (!node.disk.hasFailed) return
    node.kill()
    node.mendDisk(world.position())
    node.start()
  })
}

/** Of a copy on the node. Where volumes lie side by side, of any of them, and only what concerns no other one. */
function rotBlocks(world: World, { name }: SimNode, random: Random): void {
  const isAlone = !world.swarm.isErasing
  for (let blocks = random.pick([1, 1, 4, 16]); blocks > 0; blocks--) {
    const of = isAlone ? world : random.pick(world.worlds)
    const { config } = of.store.current
    // A copy that cannot read what waits does not open; then it has to be let go.
    const mayRot = (what: Damaged, isSettled: boolean): boolean => {
      const mayBe = isSettled || (config.minInSync === 1 && isAlone)
      return mayBe && (what !== 'disk' || isAlone) && mayDamage(of, name, what)
    }
    const mark = of.nodes.get(name)!.disk.rotBlock(random, mayRot)
    if (mark !== undefined) noteDamage(of, name, mark)
  }
}

/**
 * Anything of a disk, structures too: a copy that does not open any more is given up and replaced. Only where another
 * member has all, and this one may be let go.
 */
function damageDisk(
  world: World,
  node: SimNode,
  kind: 'disk-rot' | 'misdirected-write',
  random: Random,
  after: (run: () => void) => void,
): void {
  const { config } = world.store.current
  if (config.minInSync > 1 || !world.atlas.mayDamage(config, node.name, 'disk')) return
  const mark = kind === 'disk-rot' ? node.disk.rotAnything(random) : node.disk.misdirectNext(random)
  if (mark === undefined) return
  world.atlas.note(node.name, mark)
  if (random.chance(0.5)) return
  // It is found when it is read again.
  after(() => {
    node.kill()
    node.start()
  })
}

/** The supervisor starts anew what gave up over something that passed. */
function restartFenced(node: SimNode): void {
  if (!node.role.includes('fenced') || node.disk.hasFailed || node.disk.isLost) return
  node.kill()
  node.start()
}

/** The primary more often than others: that is where most can go wrong. */
function chooseNode(world: World, random: Random): SimNode {
  const primary = world.nodes.get(world.store.current.config.primary)
  if (primary !== undefined && random.chance(0.35)) return primary
  return random.pick([...world.nodes.values()])
}

/** Faults have stopped; everything runs again, and of disks that failed perhaps some have failed for good. */
export function heal(world: World): void {
  world.isHealed = true
  world.trace.note('world', 'heal')
  world.network.healAll()
  world.network.options = { ...world.swarm.network, lossRate: 0, duplicateRate: 0, lateRate: 0 }
  const calm = { requestLossRate: 0, answerLossRate: 0, lateRate: 0, hintLossRate: 0 }
  world.store.options = { ...world.store.options, ...calm }
  world.store.isOut = false
  world.store.unreachableFor.clear()
  world.aims.clear()
  const failed = world.swarm.keepsFailed ? dispensable(world) : []
  for (const node of world.nodes.values()) {
    node.disk.setSpeed(1)
    node.disk.failReads(0)
    node.disk.fillUp(false)
    restartFenced(node)
    if (node.disk.hasFailed && !failed.includes(node)) {
      node.kill()
      node.mendDisk(world.position())
    }
    node.resume()
    node.start()
  }
  for (const client of world.clients.values()) {
    if (client.session === undefined && client.lastGeneration > 0) world.users.attach(client, client.lastGeneration)
  }
}

/** Nodes whose disk failed and without which the set is large enough: the others have to go on without them. */
function dispensable(world: World): SimNode[] {
  const { config } = world.store.current
  const failed = [...world.nodes.values()].filter(({ disk, process }) => disk.hasFailed && process !== undefined)
  const left = config.inSync.filter((name) => !failed.some((node) => node.name === name) && world.hasCopy(config, name))
  return left.length >= Math.max(1, config.minInSync) ? failed : []
}
