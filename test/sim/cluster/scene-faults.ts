/**
 * Faults of several parts that have to fall together, for seeds that set a scene (scene-focus.ts): what came from a
 * former time reaches a member that is bound to the next one, and who should learn of it is told late.
 */
import type { Random } from '../random.ts'
import type { SimNode } from './sim-node.ts'
import type { SceneFault } from './swarm.ts'
import type { World } from './world.ts'

export function beginScene(world: World, kind: SceneFault, random: Random): void {
  const { primary, inSync } = world.store.current.config
  const others = inSync.filter((name) => name !== primary)
  const leader = world.nodes.get(primary)
  if (others.length === 0 || leader?.process === undefined) return
  const member = world.nodes.get(random.pick(others))!
  if (kind === 'late-end') endLate(world, random, leader, member)
  else if (kind === 'late-release') releaseLate(world, random, leader, member)
  else if (kind === 'late-spare') comeLate(world, random, leader)
  else if (kind === 'forgotten-tail') forgetTail(world, random, leader, member)
  else loseAnswered(world, random, leader, member)
}

const later = (world: World, ms: number, run: () => void): void =>
  void world.clock.after(ms, () => {
    if (!world.isHealed) run()
  })

/** What the member says to the leader takes long, for as long as a lease may count. */
function muffle(world: World, random: Random, from: SimNode, to: SimNode): void {
  const { leaseMs, graceMs } = world.swarm
  world.network.slowDown(from.name, to.name, leaseMs * (0.2 + 0.8 * random.float()))
  later(world, graceMs, () => world.network.slowDown(from.name, to.name, 0))
}

/** A process ends and is back at once; a member hears of its end when the next one leads it. */
function endLate(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const { instance } = leader.process!
  const { beaconMs, leaseMs, graceMs } = world.swarm
  leader.kill()
  leader.start()
  world.aims.arm('primary', 4 * graceMs, (seen) => {
    if (seen?.who !== leader.name) return
    later(world, beaconMs + leaseMs * random.float(), () => {
      muffle(world, random, member, leader)
      member.deliver({ type: 'instance-ended', node: leader.name, instance })
    })
  })
}

/** A hand-over is not won, and a member hears of its release when it follows under the next epoch. */
function releaseLate(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const { leaseMs, graceMs } = world.swarm
  world.aims.arm('handing-over', 4 * graceMs, (seen) => {
    if (seen?.who !== leader.name || world.isHealed) return
    const lateMs = leaseMs * (0.5 + 3 * random.float())
    world.network.slowDown(leader.name, member.name, lateMs)
    later(world, 1 + random.float(), () => world.network.slowDown(leader.name, member.name, 0))
    world.store.unreachableFor.add(leader.name)
    later(world, 1 + lateMs * 0.3 * random.float(), () => world.store.unreachableFor.delete(leader.name))
    later(world, lateMs, () => muffle(world, random, member, leader))
  })
}

/**
 * A leader loses what a member has already stored, and goes on without that one, who neither hears it nor the store;
 * the first thing it hears again is a beacon.
 */
function forgetTail(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const { graceMs, evictAfterMs, disk } = world.swarm
  const waitMs = disk.syncMs[1] * (1 + 20 * random.float())
  leader.disk.setSpeed(1000)
  world.store.unreachableFor.add(member.name)
  later(world, waitMs, () => {
    for (const name of world.everybody) if (name !== member.name) world.network.cut(name, member.name)
    leader.disk.setSpeed(1)
    leader.losePower(world.position())
    leader.start()
  })
  later(world, waitMs + (graceMs + evictAfterMs) * (1 + 2 * random.float()), () => {
    world.network.heal(leader.name, member.name)
    later(world, graceMs, () => {
      for (const name of world.everybody) world.network.heal(name, member.name)
      world.store.unreachableFor.delete(member.name)
    })
  })
}

/** All lose their power while answers are on their way, which arrive when the same one leads again. */
function loseAnswered(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const { graceMs, evictAfterMs, network } = world.swarm
  world.network.slowDown(member.name, leader.name, (graceMs + evictAfterMs) * (0.5 + 2 * random.float()))
  later(world, network.delayMs[1] * (2 + 10 * random.float()), () => {
    world.network.slowDown(member.name, leader.name, 0)
    for (const node of world.nodes.values()) node.losePower(world.position())
    for (const node of world.nodes.values()) node.start()
  })
}

/** A leader is dead for long, and who is to take its place comes when the others have waited for it in vain. */
function comeLate(world: World, random: Random, leader: SimNode): void {
  const { graceMs, evictAfterMs } = world.swarm
  const { inSync } = world.store.current.config
  const patienceMs = graceMs + evictAfterMs
  leader.kill()
  later(world, 8 * patienceMs, () => leader.start())
  for (const spare of world.nodes.values()) {
    if (inSync.includes(spare.name) || spare.process === undefined) continue
    spare.kill()
    later(world, patienceMs * (2.5 + 2 * random.float()), () => spare.start())
  }
}
