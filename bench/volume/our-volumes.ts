/**
 * Volumes of ours to be measured: three nodes as processes with the embedded cluster store, all volumes on them.
 *
 *   durable, writeback      one copy, used at the node that has it; answered when stable, or when appended
 *   remote                  `durable` through a node that has no copy: one trip more
 *   durable-enc             one copy, encrypted with the default cipher
 *   durable3, writeback3, remote3, durable3-enc     the same in three copies, one on every node
 */
import path from 'node:path'
import type { ControlClient } from '../../cluster/api/client.ts'
import { makeKeyFile } from '../../cluster/keys/user-key.ts'
import type { Durability } from '../../engine/volume/volume-spec.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { prefill, type FioTarget } from './fio.ts'
import type { Servers, Wanted } from './peers.ts'
import { cpuSeconds } from './process-figures.ts'
import { pause, type Scratch } from './scratch.ts'

interface Ours {
  volume: string
  copies: 1 | 3
  durability: Durability
  encryption?: true
  /** Used through a node that is not its primary. */
  isRemote?: true
}

const OURS: Record<string, Ours> = {
  durable: { volume: 'durable', copies: 1, durability: 'durable' },
  writeback: { volume: 'writeback', copies: 1, durability: 'writeback' },
  remote: { volume: 'durable', copies: 1, durability: 'durable', isRemote: true },
  'durable-enc': { volume: 'durable-enc', copies: 1, durability: 'durable', encryption: true },
  durable3: { volume: 'durable3', copies: 3, durability: 'durable' },
  writeback3: { volume: 'writeback3', copies: 3, durability: 'writeback' },
  remote3: { volume: 'durable3', copies: 3, durability: 'durable', isRemote: true },
  'durable3-enc': { volume: 'durable3-enc', copies: 3, durability: 'durable', encryption: true },
}
export const OUR_NAMES = Object.keys(OURS)

/** Of what the volumes hold, so that the cleaner has the room an ordinary pool gives it. */
const DISK_FACTOR = 2.5
/** Every segment of the log is used once: the others' files are filled where they will be written, too. */
const FILLS = 2

/**
 * Those of `wanted` that are ours, added to `found`.
 * @param ends  gets what stops them, to be called in reverse order
 */
export async function startOurs(
  scratch: Scratch, wanted: readonly Wanted[], found: Servers, ends: Array<() => unknown>,
): Promise<void> {
  const ours = wanted.filter(({ name }) => name in OURS)
  if (ours.length === 0) return
  const sizesOf = new Map<string, readonly number[]>()
  for (const { name, sizes } of ours) {
    const { volume } = OURS[name]!
    if (sizes.length > (sizesOf.get(volume)?.length ?? 0)) sizesOf.set(volume, sizes)
  }
  const liveBytes = [...sizesOf.values()].flat().reduce((sum, size) => sum + size, 0)
  const diskBytes = Math.ceil(DISK_FACTOR * liveBytes)
  scratch.needRoom(3 * diskBytes)
  const clusterKey = path.join(scratch.dir, 'cluster.key')
  makeKeyFile(clusterKey)
  const cluster = await ClusterOfDaemons.make(
    { teardown: (end: () => unknown) => void ends.push(end) },
    { dir: scratch.dir, diskBytes, setUp: () => ({ change: { clusterKey } }) },
  )
  await cluster.start()
  for (const { pid } of cluster.nodes) scratch.watchOver(pid)
  const api = cluster.api('n1')
  const used = (): number => cpuSeconds(cluster.nodes.map(({ pid }) => pid))
  const primaryOf = new Map<string, string>()
  const uri = (node: string, volume: string): FioTarget =>
    ({ uri: `nbd+unix:///${volume}?socket=${cluster.node(node).paths.nbd}` })
  for (const { name, sizes, takes } of ours) {
    const one = OURS[name]!
    const targets: FioTarget[] = []
    for (const i of sizes.keys()) {
      const volume = i === 0 ? one.volume : `${one.volume}-${i}`
      if (!primaryOf.has(volume)) {
        const size = sizesOf.get(one.volume)![i]!
        const node = await makeVolume(api, volume, size, one)
        primaryOf.set(volume, node)
        for (let fill = 0; fill < FILLS; fill++) await prefill(scratch, uri(node, volume), size)
      }
      const primary = primaryOf.get(volume)!
      const user = one.isRemote === true ? cluster.nodes.find((node) => node.name !== primary)!.name : primary
      targets.push(uri(user, volume))
    }
    found.servers.push({ name, targets, cpuSeconds: used, takes })
  }
}

/** @returns the node of its primary, when every copy is in the set */
async function makeVolume(
  api: ControlClient, name: string, sizeBytes: number, { copies, durability, encryption }: Ours,
): Promise<string> {
  const parameters = {
    durability, replicas: String(copies - 1), ...(encryption === true ? { encryption: 'true' } : {}),
  }
  let volume = await api.createVolume({ name, sizeBytes, parameters })
  while (volume.health !== 'healthy' || volume.copies.length !== copies) {
    await pause(50)
    volume = await api.getVolume({ name })
  }
  return volume.copies.find(({ role }) => role === 'primary')!.node
}
