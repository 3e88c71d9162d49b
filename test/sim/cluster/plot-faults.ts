/**
 * Faults of several steps, for seeds that have a plot (plot-focus.ts): each waits for what its former step brought
 * about, on the node that it was about.
 */
import type { Random } from '../random.ts'
import type { Scene, Sign } from './aims.ts'
import type { SimNode } from './sim-node.ts'
import type { PlotFault } from './swarm.ts'
import type { World } from './world.ts'

export function beginPlot(world: World, kind: PlotFault, random: Random, node: SimNode): void {
  switch (kind) {
    case 'left-behind':
      return leaveBehind(world, random)
    case 'touched':
      return next(world, 'handing-over', () => world.operator.touch(random))
    case 'lone-witness':
      return keepWitness(world, random)
    case 'lost-tail':
      return loseTail(world, random, node)
    case 'lost-epoch':
      return loseEpoch(world, random)
    case 'lost-fence':
      return loseFence(world, random)
    case 'full-fill':
      return fillUp(world, random)
  }
}

export const patienceMs = ({ swarm: { graceMs, evictAfterMs } }: World): number => graceMs + evictAfterMs

export const later = (world: World, ms: number, run: () => void): void =>
  void world.clock.after(ms, () => {
    if (!world.isHealed) run()
  })

/** With the next such sign, if one comes in time. */
export function next(world: World, sign: Sign, run: (seen: Scene) => void): void {
  world.aims.arm(sign, 8 * patienceMs(world), (seen) => {
    if (seen !== undefined && !world.isHealed) run(seen)
  })
}

/** With the next such sign of this node, among the next few. */
export function nextOf(world: World, sign: Sign, name: string, run: (seen: Scene) => void, left = 8): void {
  next(world, sign, (seen) => {
    if (seen.who === name) run(seen)
    else if (left > 0) nextOf(world, sign, name, run, left - 1)
  })
}

function restart(node: SimNode): void {
  node.kill()
  node.start()
}

export function killFor(world: World, node: SimNode | undefined, ms: number): void {
  node?.kill()
  later(world, ms, () => node?.start())
}

/** A copy was filled and its log is behind, when its primary ends and it is forced to lead; then it is handed on. */
function leaveBehind(world: World, random: Random): void {
  const ms = patienceMs(world)
  next(world, 'fill-started', ({ who }) => {
    const node = world.nodes.get(who)!
    node.disk.setSpeed(random.pick([5, 50, 200]))
    later(world, 8 * ms, () => node.disk.setSpeed(1))
    nextOf(world, 'fill-ended', who, ({ other }) => {
      killFor(world, world.nodes.get(other), ms * (2 + 4 * random.float()))
      world.operator.force(random, who)
      next(world, 'set-grew', (grown) => {
        node.disk.setSpeed(1)
        world.operator.handOver(grown.who)
      })
    })
  })
}

/**
 * All but one lose their power; that one stands still for about as long as it is waited for. When another one has been
 * filled meanwhile, its source ends.
 */
function keepWitness(world: World, random: Random): void {
  const ms = patienceMs(world)
  const { inSync, primary } = world.store.current.config
  const members = inSync.filter((name) => name !== primary)
  if (members.length === 0) return
  const witness = world.nodes.get(random.pick(members))!
  const others = [...world.nodes.values()].filter((node) => node !== witness && node.isPowered)
  witness.pause()
  for (const other of others) {
    other.losePower(world.position())
    later(world, world.swarm.beaconMs * random.float(), () => other.start())
  }
  later(world, ms * (4 + 12 * random.float()), () => witness.resume())
  next(world, 'fill-ended', ({ other }) => {
    killFor(world, world.nodes.get(other), ms * (1 + 6 * random.float()))
    later(world, ms * 2 * random.float(), () => witness.resume())
  })
}

/** It lies, if somebody else has everything and it can be done without. */
function lie(world: World, node: SimNode, random: Random, how: 'next' | 'last'): boolean {
  const { config } = world.store.current
  if (config.minInSync > 1 || !world.atlas.mayDamage(config, node.name, 'disk')) return false
  const mark = how === 'next' ? node.disk.misdirectNext(random) : node.disk.rotTail(random)
  if (mark === undefined) return false
  world.atlas.note(node.name, mark)
  world.atlas.noteLiar(node.name)
  return true
}

/** Its next write is nowhere, or one of its last ones rots; it is down and up before much follows. */
function loseTail(world: World, random: Random, node: SimNode): void {
  const { writeMs } = world.swarm.disk
  const how = random.pick(['next', 'last'] as const)
  if (!lie(world, node, random, how)) return
  if (how === 'last') return restart(node)
  nextOf(world, 'reply', node.name, () => later(world, writeMs[1] * random.float(), () => restart(node)), 2)
  nextOf(world, 'stored', node.name, () => later(world, writeMs[1] * random.float(), () => restart(node)), 2)
}

/** A member stores what it is brought in line with nowhere, says so, and is down and up while another one is slow. */
function loseEpoch(world: World, random: Random): void {
  next(world, 'reconcile', ({ who, other }) => {
    const node = world.nodes.get(other)!
    if (!lie(world, node, random, 'next')) return
    for (const { name } of world.nodes.values()) {
      if (name === who || name === other) continue
      world.network.slowDown(name, who, world.swarm.graceMs)
      later(world, world.swarm.graceMs, () => world.network.slowDown(name, who, 0))
    }
    const soonMs = world.swarm.disk.writeMs[1] * random.float()
    nextOf(world, 'stored', other, () => later(world, soonMs, () => restart(node)))
  })
}

/** A frontend is replaced, and whom its successor is fenced by forgets it, and leads next. */
function loseFence(world: World, random: Random): void {
  const clients = [...world.clients.values()].filter(({ session }) => session !== undefined)
  if (clients.length === 0) return
  world.users.haunt(random.pick(clients), patienceMs(world) * random.float())
  next(world, 'fence', ({ who, other }) => {
    const node = world.nodes.get(other)!
    if (!lie(world, node, random, 'next')) return
    nextOf(world, 'opened', who, () => {
      restart(node)
      killFor(world, world.nodes.get(who), patienceMs(world) * (2 + 4 * random.float()))
      // Who knows better is not the one that stands first.
      for (const one of world.nodes.values()) {
        if (one.name === who || one === node) continue
        one.pause()
        later(world, world.swarm.graceMs * (1 + random.float()), () => one.resume())
      }
    })
  })
}

/** Who begins to be filled has no room, perhaps for longer than its source has patience; it may go down meanwhile. */
function fillUp(world: World, random: Random): void {
  const ms = patienceMs(world)
  next(world, 'fill-started', ({ who }) => {
    const node = world.nodes.get(who)!
    node.disk.fillUp(true)
    const fullMs = ms * 10 * random.float()
    later(world, fullMs, () => node.disk.fillUp(false))
    const way = random.pick(['kill', 'power', 'none'] as const)
    if (way === 'none') return
    later(world, fullMs * random.float(), () => {
      if (way === 'kill') node.kill()
      else node.losePower(world.position())
      node.start()
    })
  })
}
