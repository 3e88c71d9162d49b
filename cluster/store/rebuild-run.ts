/**
 * One run of `holdfast store rebuild` (REBUILD.md): nodes are asked what their disks have, and what was planned of it
 * is written, the key `cluster` last. Rejects with the HoldfastError of the store, `store-in-use`, or
 * `node-name-taken`.
 */
import type { NodeDescription } from '../../engine/control/node-description.ts'
import type { RebuildPlan, RebuiltStore } from '../../engine/control/store-rebuild.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { CLUSTER_KEY, decodeCluster, encodeCluster } from './cluster-record.ts'
import type { ClusterRecord } from './cluster-record.ts'
import type { ClusterStore, Cursor, Entry, StoreAnswer, Version } from './cluster-store.ts'
import { afterPrefix } from './json-value.ts'
import {
  ASK_KEY, DESCRIBED_COPY_PREFIX, DESCRIBED_NODE_PREFIX, decodeDescribedCopy, decodeDescribedNode, describedCopyKey,
  describedNodeKey, digestOf, encodeAsk,
} from './node-descriptions.ts'
import type { DescribedNode } from './node-descriptions.ts'
import { decodeNode, encodeNode, NODE_PREFIX, nodeKey } from './node-records.ts'
import type { RegisteredNode } from './node-records.ts'
import { putKey } from './put-key.ts'
import { decodeStarts, encodeStarts, STARTS_KEY } from './start-counter.ts'
import { CONFIG_PREFIX, configKey, decodeConfig, encodeConfig } from './volume-configs.ts'
import { encodeName, NAME_PREFIX, nameKey } from './volume-names.ts'
import { encodeVolume, VOLUME_PREFIX, volumeKey } from './volume-records.ts'

const LOOK_EVERY_MS = 250
/** What a run that broke off may have written. */
const WRITTEN_PREFIXES = [NODE_PREFIX, VOLUME_PREFIX, CONFIG_PREFIX, NAME_PREFIX]

export interface RebuildTarget {
  store: ClusterStore
  /** Where it is, for a sentence. */
  address: string
}

/** What is in the store before anything is done to it. */
export interface Found {
  /** Undefined: it belongs to no cluster yet. */
  cluster: ClusterRecord | undefined
  clusterVersion: Version | undefined
  rebuilt: RebuiltStore | undefined
  keys: Set<string>
  /** What is registered in a store that was rebuilt before, by the key. */
  registered: Map<string, Uint8Array>
}

export async function lookAtStore({ store, address }: RebuildTarget): Promise<Found> {
  const entries = await listAll(store, '')
  const keys = new Set(entries.map(({ key }) => key))
  const entry = entries.find(({ key }) => key === CLUSTER_KEY)
  const cluster = entry === undefined ? undefined : decodeCluster(entry.value)
  const isOf = (prefixes: readonly string[]) => (key: string) => prefixes.some((prefix) => key.startsWith(prefix))
  if (entry === undefined) {
    const ours = [DESCRIBED_NODE_PREFIX, DESCRIBED_COPY_PREFIX, ...(keys.has(ASK_KEY) ? WRITTEN_PREFIXES : [])]
    const strange = [...keys].find((key) => key !== ASK_KEY && key !== STARTS_KEY && !isOf(ours)(key))
    const found = `it has ${strange}`
    if (strange !== undefined) throw new HoldfastError('store-in-use', { endpoint: address, found })
    return { cluster, clusterVersion: undefined, rebuilt: undefined, keys, registered: new Map() }
  }
  if (cluster === undefined) throw new HoldfastError('store-record', { key: CLUSTER_KEY })
  const epochs = new Map<string, number>()
  for (const { key, value } of entries) {
    const volumeId = afterPrefix(key, CONFIG_PREFIX)
    if (volumeId !== undefined) epochs.set(volumeId, decodeConfig(volumeId, value)?.epoch ?? 0)
  }
  const after = (prefix: string) => [...keys].flatMap((key) => afterPrefix(key, prefix) ?? [])
  for (const volumeId of after(VOLUME_PREFIX)) if (!epochs.has(volumeId)) epochs.set(volumeId, Infinity)
  const nodes = new Set([...after(NODE_PREFIX), ...Object.keys(cluster.rebuilt)])
  const rebuilt = { nodes, epochs, names: new Set(after(NAME_PREFIX)) }
  const isNode = isOf([NODE_PREFIX])
  const registered = new Map(entries.flatMap(({ key, value }) => (isNode(key) ? [[key, value] as const] : [])))
  return { cluster, clusterVersion: entry.version, rebuilt, keys, registered }
}

/** Ask all nodes that wait. @param ask  drawn for this run @param mostMs  for those that have not answered yet */
export async function askNodes(
  { store, address }: RebuildTarget, { cluster, registered }: Found, ask: string, mostMs: number,
): Promise<NodeDescription[]> {
  must(await putKey(store, ASK_KEY, encodeAsk(ask)))
  const endsAtMs = performance.now() + mostMs
  let nodes: DescribedNode[]
  for (;;) {
    const entries = await listAll(store, DESCRIBED_NODE_PREFIX)
    nodes = entries.flatMap(({ key, value }) => {
      const node = decodeDescribedNode(key.slice(DESCRIBED_NODE_PREFIX.length), value)
      return node === undefined || cluster?.rebuilt[node.name] === node.digest ? [] : [node]
    })
    const isAnswered = nodes.length > 0 && nodes.every((node) => node.ask === ask)
    if (isAnswered || performance.now() > endsAtMs) break
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
  const answered = nodes.filter((node) => node.ask === ask)
  const clusters = new Set(answered.map(({ clusterId }) => clusterId))
  if (cluster !== undefined) clusters.add(cluster.id)
  if (clusters.size > 1) {
    const found = `nodes of ${clusters.size} clusters wait at it: ${[...clusters].sort().join(', ')}`
    throw new HoldfastError('store-in-use', { endpoint: address, found })
  }
  for (const node of answered) checkOwner(node, registered.get(nodeKey(node.name)))
  const copies = new Map((await listAll(store, DESCRIBED_COPY_PREFIX)).map(({ key, value }) => [key, value]))
  return answered.map(({ copyCount, ask: _, ...node }) => {
    const described: NodeDescription = { ...node, copies: [] }
    for (let index = 0; index < copyCount; index++) {
      const key = describedCopyKey(node.name, index)
      const copy = decodeDescribedCopy(copies.get(key) ?? new Uint8Array(0))
      if (copy === undefined) throw new HoldfastError('store-record', { key })
      described.copies.push(copy)
    }
    // It speaks anew just now.
    if (digestOf(described.copies) !== node.digest) throw new HoldfastError('store-contended', { what: node.name })
    return described
  })
}

/** Repeated after it broke off, it does the same. Nobody believes any of it before the last key is there. */
export async function writeRebuilt({ store }: RebuildTarget, found: Found, plan: RebuildPlan): Promise<void> {
  const values = new Map<string, Uint8Array>()
  for (const { name, nodeId, zone } of plan.nodes) {
    const node = { name, nodeId, zone }
    if (found.cluster === undefined) values.set(nodeKey(name), encodeNode(node))
    else await register(store, node)
  }
  for (const { volumeId, record, config } of plan.volumes) {
    values.set(volumeKey(volumeId), encodeVolume(record))
    values.set(configKey(volumeId), encodeConfig(config))
    if (record.trash === null) values.set(nameKey(record.spec.name), encodeName(volumeId))
  }
  if (found.cluster === undefined) {
    for (const key of found.keys) {
      const isWritten = WRITTEN_PREFIXES.some((prefix) => key.startsWith(prefix))
      if (isWritten && !values.has(key)) must(await putKey(store, key, undefined))
    }
  }
  for (const [key, value] of values) must(await putKey(store, key, value))
  await raiseStarts(store, plan.starts)
  const rebuilt = { ...found.cluster?.rebuilt }
  for (const { name, digest } of plan.nodes) rebuilt[name] = digest
  const { clusterId } = plan.nodes[0]!
  const value = encodeCluster({ id: clusterId, era: found.cluster?.era ?? plan.era, rebuilt })
  const cas = await store.compareAndSwap({ key: CLUSTER_KEY, version: found.clusterVersion, value })
  if (cas.outcome === 'lost') throw new HoldfastError('store-contended', { what: CLUSTER_KEY })
  if (cas.outcome !== 'won') throw cas.error
  const copyKeys = plan.nodes.flatMap(({ name, copies }) => copies.map((_, at) => describedCopyKey(name, at)))
  for (const key of [ASK_KEY, ...plan.nodes.map(({ name }) => describedNodeKey(name)), ...copyKeys]) {
    must(await putKey(store, key, undefined))
  }
}

/** Nodes run with a store that was rebuilt before: one may have come under this name since it was looked at. */
async function register(store: ClusterStore, node: RegisteredNode): Promise<void> {
  const key = nodeKey(node.name)
  const now = must(await store.get(key))
  checkOwner(node, now?.value)
  const cas = await store.compareAndSwap({ key, version: now?.version, value: encodeNode(node) })
  if (cas.outcome === 'lost') throw new HoldfastError('store-contended', { what: key })
  if (cas.outcome !== 'won') throw cas.error
}

/** E6. @param registered  what is there under its name. @throws HoldfastError `node-name-taken`, `store-record` */
function checkOwner(
  { name, nodeId }: Pick<RegisteredNode, 'name' | 'nodeId'>, registered: Uint8Array | undefined,
): void {
  if (registered === undefined) return
  const owner = decodeNode(name, registered)
  // What cannot be read is not taken for nobody's.
  if (owner === undefined) throw new HoldfastError('store-record', { key: nodeKey(name) })
  if (owner.nodeId !== nodeId) throw new HoldfastError('node-name-taken', { name, owner: owner.nodeId, id: nodeId })
}

async function raiseStarts(store: ClusterStore, starts: number): Promise<void> {
  const now = must(await store.get(STARTS_KEY))
  const known = now === undefined ? 0 : decodeStarts(now.value) ?? 0
  if (known < starts) must(await putKey(store, STARTS_KEY, encodeStarts(starts)))
}

async function listAll(store: ClusterStore, prefix: string): Promise<Entry[]> {
  const entries: Entry[] = []
  let after: Cursor | undefined
  do {
    const page = must(await store.list({ prefix, after }))
    entries.push(...page.entries)
    after = page.next
  } while (after !== undefined)
  return entries
}

function must<T>(answer: StoreAnswer<T>): T {
  if (!answer.ok) throw answer.error
  return answer.value
}
