/**
 * Faults of several steps for seeds about what is told too late (stale-focus.ts): each holds something up until it is
 * not true any more.
 */
import type { Random } from '../random.ts'
import { killFor, later, nextOf, next, patienceMs } from './plot-faults.ts'
import type { SimNode } from './sim-node.ts'
import type { StaleFault } from './swarm.ts'
import type { World } from './world.ts'

export function beginStale(world: World, kind: StaleFault, random: Random): void {
  const { primary, inSync } = world.store.current.config
  const others = inSync.filter((name) => name !== primary)
  const leader = world.nodes.get(primary)
  if (others.length === 0 || leader?.process === undefined) return
  const member = world.nodes.get(random.pick(others))!
  if (kind === 'late-fill') fillLate(world, random, leader, member)
  else if (kind === 'outsider') leadFromOutside(world, random, leader, member)
  else loseLate(world, random, leader, member)
}

/** The primary does not hear it, and lets it go; it hears the primary. */
function mute(world: World, leader: SimNode, member: SimNode, wasLetGo: () => void): void {
  const { network } = world
  network.cut(member.name, leader.name)
  later(world, 20 * patienceMs(world), () => network.heal(member.name, leader.name))
  nextOf(world, 'set-shrank', member.name, wasLetGo)
}

/**
 * A member is let go while the disk of its primary is behind it, so that it has more than is committed. How it is to be
 * filled is held up until it was told that what it has is committed.
 */
function fillLate(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const { network, swarm } = world
  const ms = patienceMs(world)
  leader.disk.setSpeed((ms * (1 + 3 * random.float())) / swarm.disk.syncMs[1])
  later(world, ms / 4, () => leader.disk.setSpeed(1))
  mute(world, leader, member, () => {
    network.heal(member.name, leader.name)
    nextOf(world, 'join', member.name, () => {
      const { process } = leader
      const committed = (): number => process?.copy.log.commitSeq ?? 0
      const before = committed()
      network.cut(leader.name, member.name)
      const look = (looks: number): void => {
        if (committed() > before || looks === 0) network.heal(leader.name, member.name)
        else later(world, ms / 20, () => look(looks - 1))
      }
      later(world, network.options.delayMs[1] * 2, () => look(40))
    })
  })
}

/**
 * A member is let go, hears how far the others get, and is not heard; then it is forced to lead from where it is, and
 * handed on. Some of what clients ask it meanwhile comes when it has refused it: they know the volume larger.
 */
function leadFromOutside(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const ms = patienceMs(world)
  const { network, operator } = world
  mute(world, leader, member, () => {
    operator.enlarge()
    later(world, ms * (0.5 + random.float()), () => {
      for (const client of world.clients.values()) world.users.restart(client)
    })
    later(world, ms * (2 + 4 * random.float()), () => {
      killFor(world, leader, ms * (2 + 4 * random.float()))
      network.heal(member.name, leader.name)
      operator.force(random, member.name)
      nextOf(world, 'primary', member.name, () => {
        holdUpRequests(world, random, member)
        later(world, ms * random.float(), () => operator.enlarge())
      })
      next(world, 'set-grew', ({ who }) => operator.handOver(who))
    })
  })
}

/** What clients send it now comes late; what they send again does not. */
function holdUpRequests(world: World, random: Random, node: SimNode): void {
  const { leaseMs } = world.swarm
  const ms = patienceMs(world)
  for (const name of world.clients.keys()) {
    world.network.slowDown(name, node.name, ms * random.float())
    later(world, leaseMs * random.float(), () => world.network.slowDown(name, node.name, 0))
  }
}

/** A member is back at once without one of its disks. Its primary does not hear of it, and sends it records. */
function loseLate(world: World, random: Random, leader: SimNode, member: SimNode): void {
  const { config } = world.store.current
  if (!world.atlas.mayDamage(config, member.name, 'disk')) return
  const mark = member.disk.loseDisk(random)
  if (mark === undefined) return
  world.atlas.note(member.name, mark)
  member.witness.diskTaken()
  member.kill()
  const ms = patienceMs(world)
  world.network.slowDown(member.name, leader.name, ms * random.float())
  later(world, world.swarm.beaconMs * random.float(), () => member.start())
  later(world, ms, () => world.network.slowDown(member.name, leader.name, 0))
}
