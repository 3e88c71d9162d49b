/** Volumes whose copies are made while no node runs: what a control plane would have done, without its waits. */
import { agreeOnClusterId } from '../../cluster/membership/cluster-id.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { configKey, encodeConfig } from '../../cluster/store/volume-configs.ts'
import { encodeName, nameKey } from '../../cluster/store/volume-names.ts'
import { encodeVolume, volumeKey } from '../../cluster/store/volume-records.ts'
import { clock } from '../../dataplane/clock.ts'
import { homeOf } from '../../dataplane/copy-homes.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'
import { identityIn, keepIdentity, makeFolder } from '../../dataplane/node-folder.ts'
import type { NodePaths } from '../../dataplane/node-folder.ts'
import { openStore } from '../../dataplane/store-shell.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { configOf, hex, specOf } from '../dataplane/copy/hosts.ts'

/** Whose folder and disk can be written here. */
export interface StoppedNode {
  config: NodeConfig
  paths: NodePaths
}

export interface StoreAt {
  store: ClusterStore
  /** As the nodes are told it. */
  address: string
}

/** A copy on every one of these nodes, the first one the primary. */
export async function makeVolume(
  nodes: readonly StoppedNode[], at: StoreAt, change: Partial<VolumeSpec>,
): Promise<VolumeSpec> {
  const spec = specOf({ replicas: nodes.length - 1, ...change })
  const agreed = await agreeOnClusterId(at.store, hex())
  if (!agreed.ok) throw agreed.error
  const copies: Record<string, string> = {}
  for (const node of nodes) {
    copies[node.config.name] = hex()
    await makeCopy(node, agreed.value, at.address, spec, copies[node.config.name]!)
  }
  await put(at.store, configKey(spec.id), encodeConfig(configOf(spec.id, copies)))
  const record = { minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'open', trash: null } as const
  await put(at.store, nameKey(spec.name), encodeName(spec.id))
  await put(at.store, volumeKey(spec.id), encodeVolume({ spec, ...record }))
  return spec
}

async function put(store: ClusterStore, key: string, value: Uint8Array): Promise<void> {
  const cas = await store.compareAndSwap({ key, version: undefined, value })
  if (cas.outcome !== 'won') throw new Error(`${key} was not put: ${cas.outcome}`)
}

async function makeCopy(
  { config, paths }: StoppedNode,
  clusterId: string,
  store: string,
  spec: VolumeSpec,
  copyId: string,
): Promise<void> {
  makeFolder(paths.folder)
  const { nodeId } = identityIn(paths.identity, { clusterId, store })
  keepIdentity(paths.identity, { clusterId, nodeId })
  const { workers } = config
  const prepared = prepareDisk(config.disks[0]!, { nodeName: config.name, nodeId, clusterId }, workers)
  if (!prepared.ok) throw prepared.error
  const barrier = new SharedArrayBuffer(4)
  const log = { event: () => undefined }
  const stores = await Promise.all(Array.from({ length: workers }, async (_, worker) => {
    const disks = [prepared.value]
    const opened = await openStore({ disks, indexDir: paths.index, worker, workers, barrier, clock, log })
    if (!opened.ok) throw opened.error
    return opened.value
  }))
  const { store: home } = stores[homeOf(spec.id, new Map(), workers)]!
  await new Promise<void>((resolve, reject) => {
    home.createCopy(spec, copyId, (made) => (made.ok ? resolve() : reject(made.error)))
  })
  for (const shell of stores) await new Promise<void>((resolve) => shell.stop(() => resolve()))
  releaseDisk(prepared.value)
}
