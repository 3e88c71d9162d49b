/**
 * Faults of the hosts that use a volume, and of all that serve it at once (host-focus.ts).
 */
import { unreachable } from '../../../engine/assert.ts'
import type { Random } from '../random.ts'
import { later } from './plot-faults.ts'
import type { HostFault } from './swarm.ts'
import type { World } from './world.ts'

export function beginHostFault(world: World, kind: HostFault, random: Random, durationMs: number): void {
  switch (kind) {
    case 'socket-lost':
      return loseSocket(world, random, durationMs)
    // What they had written is there, synced or not.
    case 'kill-of-all':
      for (const node of world.nodes.values()) node.kill()
      for (const node of world.nodes.values()) world.clock.after(durationMs * random.float(), () => node.start())
      return
    default:
      return unreachable(kind)
  }
}

/** Perhaps after what its client sent for a while was held up: what is sent again then comes first. */
function loseSocket(world: World, random: Random, durationMs: number): void {
  const client = random.pick([...world.clients.values()])
  if (random.chance(0.3)) return client.loseSocket(random, durationMs)
  const { network, swarm } = world
  const { primary } = world.store.current.config
  network.slowDown(client.name, primary, swarm.leaseMs * 2 * random.float())
  later(world, (swarm.leaseMs / 2) * random.float(), () => {
    network.slowDown(client.name, primary, 0)
    client.loseSocket(random, durationMs)
  })
}
