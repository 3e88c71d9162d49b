/** A cluster of one node with the store beside it, for as long as a suite uses it, and volumes of one copy on it. */
import { connectControlApi, type ControlClient } from '../../cluster/api/client.ts'
import type { ClusterNodeProcess } from '../../test/cluster/cluster-node-process.ts'
import { ClusterOfDaemons, type ClusterOptions } from '../../test/cluster/cluster-of-daemons.ts'
import { pause, type Scratch } from './scratch.ts'

export interface OneNode {
  node: ClusterNodeProcess
  api: ControlClient
}

/** Start it, with room for its disk in `scratch`; whatever becomes of `use`, it is stopped. */
export async function withOneNode<T>(
  scratch: Scratch,
  options: { diskBytes: number } & Pick<ClusterOptions, 'setUp' | 'dir'>,
  use: (one: OneNode) => Promise<T>,
): Promise<T> {
  scratch.needRoom(options.diskBytes)
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  try {
    const cluster = await ClusterOfDaemons.make(t, { names: ['n1'], dir: scratch.dir, ...options })
    await cluster.start()
    const node = cluster.nodes[0]!
    scratch.watchOver(node.pid)
    const api = connectControlApi({ socketPath: node.paths.api, source: 'the benchmark' })
    ends.push(() => api.close())
    return await use({ node, api })
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** Resolves when it is served. */
export async function makeVolume(
  api: ControlClient,
  name: string,
  sizeBytes: number,
  parameters: Record<string, string> = {},
): Promise<void> {
  let volume = await api.createVolume({ name, sizeBytes, parameters: { replicas: '0', ...parameters } })
  for (; volume.health !== 'healthy'; await pause(50)) volume = await api.getVolume({ name })
}
