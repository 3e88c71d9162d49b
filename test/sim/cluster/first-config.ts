/** The configuration with which a volume begins. */
import type { Attach, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { Swarm } from './swarm.ts'

/** Of a volume that several may hold, everybody does. */
export function initialAttach({ attachMode: mode, clients }: Swarm): Attach {
  if (mode === 'open') return { generation: 1, mode, holders: {} }
  const count = mode === 'single' ? 1 : clients
  const holders = Object.fromEntries(Array.from({ length: count }, (_, i) => [`c${i + 1}`, i + 1]))
  return { generation: count, mode, holders }
}

/** Each volume of a cluster begins on another node. */
export function initialConfig(swarm: Swarm, volumeId: string, firstNode: number): VolumeConfig {
  const nodes = swarm.copies + swarm.spares
  const inSync = Array.from({ length: swarm.copies }, (_, i) => `n${((i + firstNode) % nodes) + 1}`)
  const members: VolumeConfig['members'] = {}
  for (const name of inSync) members[name] = { copyId: `copy-${name}`, state: 'in-sync' }
  return {
    volumeId,
    epoch: 1,
    primary: inSync[0]!,
    inSync,
    members,
    minInSync: swarm.minInSync,
    attach: initialAttach(swarm),
    nonce: 'first',
  }
}
