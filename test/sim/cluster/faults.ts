/**
 * What the world does to a cluster: each fault begins now and, where it has an end, ends after its time; the heal phase
 * ends all of them.
 */
import { unreachable } from '../../../engine/assert.ts'
import { Random } from '../random.ts'
import type { PlannedEvent } from './plan.ts'
import type { SimNode } from './sim-node.ts'
import type { FaultKind } from './swarm.ts'
import type { World } from './world.ts'

export function beginFault(world: World, event: PlannedEvent): void {
  const random = new Random(event.seed)
  const { durationMs } = event
  const kind = event.kind as FaultKind
  const nodes = [...world.nodes.values()]
  const node = chooseNode(world, random)
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
      const other = random.pick(world.everybody)
      const [from, to] = random.chance(0.5) ? [node.name, other] : [other, node.name]
      world.network.cut(from, to)
      return after(() => world.network.heal(from, to))
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
    case 'lonely-primary': {
      const { primary } = world.store.current.config
      const client = random.pick([...world.clients.keys()])
      const inside = [primary, client]
      world.network.partition([inside, world.everybody.filter((name) => !inside.includes(name))])
      const hidden = random.chance(0.7) ? inside : [primary]
      for (const name of hidden) world.store.unreachableFor.add(name)
      world.clock.after(world.swarm.graceMs * (1.5 + random.float() * 3), () => {
        if (world.isHealed) return
        world.network.healAll()
        for (const name of hidden) world.store.unreachableFor.delete(name)
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
        node.mendDisk()
        node.start()
      })
    case 'wall-jump':
      node.time.setWall((random.float() - 0.5) * 1e8)
      return node.deliver({ type: 'clock-doubt' })
    case 'client-restart': {
      const client = random.pick([...world.clients.values()])
      if (client.session === undefined) return
      const { generation } = client.session
      client.detach()
      return after(() => world.attach(client, generation))
    }
    case 'client-cut': {
      const client = random.pick([...world.clients.values()])
      for (const { name } of nodes) {
        world.network.cut(client.name, name)
        if (random.chance(0.7)) world.network.cut(name, client.name)
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

/** The primary more often than others: that is where most can go wrong. */
function chooseNode(world: World, random: Random): SimNode {
  const primary = world.nodes.get(world.store.current.config.primary)
  if (primary !== undefined && random.chance(0.35)) return primary
  return random.pick([...world.nodes.values()])
}

/** Faults have stopped; everything runs again. */
export function heal(world: World): void {
  world.isHealed = true
  world.trace.note('world', 'heal')
  world.network.healAll()
  world.network.options = { ...world.swarm.network, lossRate: 0, duplicateRate: 0, lateRate: 0 }
  const calm = { requestLossRate: 0, answerLossRate: 0, lateRate: 0, hintLossRate: 0 }
  world.store.options = { ...world.store.options, ...calm }
  world.store.isOut = false
  world.store.unreachableFor.clear()
  for (const node of world.nodes.values()) {
    node.disk.setSpeed(1)
    if (node.disk.hasFailed) {
      node.kill()
      node.mendDisk()
    }
    node.resume()
    node.start()
  }
  for (const client of world.clients.values()) {
    if (client.session === undefined && client.lastGeneration > 0) world.attach(client, client.lastGeneration)
  }
}
