/**
 * A node whose cluster is not in the store that it was given: the store is lost and an empty one is in its place, or
 * one that was rebuilt without this node. It says there what its disks have, to whoever asks, and waits until the store
 * knows it (cluster/store/REBUILD.md). Until then nothing of it is open, and nobody is answered.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { readCluster } from '../cluster/membership/cluster-id.ts'
import type { ClusterRecord } from '../cluster/store/cluster-record.ts'
import type { ClusterStore, StoreAnswer } from '../cluster/store/cluster-store.ts'
import { putKey } from '../cluster/store/put-key.ts'
import {
  ASK_KEY, decodeAsk, describedCopyKey, describedNodeKey, digestOf, encodeDescribedCopy, encodeDescribedNode,
} from '../cluster/store/node-descriptions.ts'
import type { NodeDescription } from '../engine/control/node-description.ts'
import { HoldfastError } from '../engine/errors.ts'

const LOOK_EVERY_MS = 500

export interface WaitingNodeOptions {
  store: ClusterStore
  /** Where it is, for a sentence. */
  address: string
  /** All but the digest, which is made of it. */
  node: Omit<NodeDescription, 'digest'>
  /** Waits for the store; throws what waiting does not mend. */
  answered<T>(ask: () => Promise<StoreAnswer<T>>): Promise<T>
  say(sentence: string): void
}

/** Resolves when the store knows what this node has. @throws HoldfastError `store-former`, `cluster-other` */
export async function waitForRebuild(options: WaitingNodeOptions): Promise<ClusterRecord> {
  const { store, address, node, answered, say } = options
  const { name, clusterId, era } = node
  const digest = digestOf(node.copies)
  let asked: string | undefined
  let said = ''
  for (;;) {
    const cluster = await answered(() => readCluster(store))
    if (cluster !== undefined) {
      checkEra(cluster, { address, clusterId, name, era })
      if (cluster.rebuilt[name] === digest) return cluster
    }
    const sentence = sentenceOf(cluster, address, clusterId)
    if (sentence !== said) say(`node ${name} waits: ${sentence}`)
    said = sentence
    const ask = await answered(() => readAsk(store))
    if (ask !== asked) {
      await answered(() => tell(store, { ...node, digest }, ask))
      asked = ask
    }
    await sleep(LOOK_EVERY_MS)
  }
}

export interface KnownEra {
  address: string
  name: string
  clusterId: string
  era: number
}

/** E1, and another cluster. @throws HoldfastError */
export function checkEra(found: ClusterRecord, { address, name, clusterId, era }: KnownEra): void {
  if (found.id !== clusterId) {
    const what = `node ${name}`
    throw new HoldfastError('cluster-other', { what, known: clusterId, store: address, found: found.id })
  }
  if (found.era < era) throw new HoldfastError('store-former', { endpoint: address, found: found.era, known: era })
}

function sentenceOf(cluster: ClusterRecord | undefined, address: string, clusterId: string): string {
  const how = `\`holdfast store rebuild --from-nodes --store ${address}\``
  if (cluster === undefined) {
    const what = `the cluster store at ${address} is empty, and this node belongs to cluster ${clusterId}`
    return `${what}; name its store with \`--store\`, or if that one is lost for good: ${how}`
  }
  return `the cluster store at ${address} was rebuilt without what this node has now; ${how} lets it in`
}

async function readAsk(store: ClusterStore): Promise<StoreAnswer<string>> {
  const found = await store.get(ASK_KEY)
  if (!found.ok) return found
  return { ok: true, value: found.value === undefined ? '' : decodeAsk(found.value.value) ?? '' }
}

/** The node last: whoever sees that it answered finds its copies. */
async function tell(
  store: ClusterStore, { copies, ...node }: NodeDescription, ask: string,
): Promise<StoreAnswer<undefined>> {
  for (const [index, copy] of copies.entries()) {
    const put = await putKey(store, describedCopyKey(node.name, index), encodeDescribedCopy(copy))
    if (!put.ok) return put
  }
  const value = encodeDescribedNode({ ...node, copyCount: copies.length, ask })
  return putKey(store, describedNodeKey(node.name), value)
}
