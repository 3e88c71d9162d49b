/**
 * What a node remembers of its cluster store, `DIR/<node>/store.json`, so that the next daemon notices another store,
 * an old backup, or the store from before a rebuild (cluster/store/FORMAT.md S4, REBUILD.md section 4).
 */
import type { ClusterStore, KnownStore } from '../cluster/store/cluster-store.ts'
import { readJson, replaceFile } from './node-folder.ts'

export interface StoreMemory {
  /** Undefined: the node has never seen one. */
  known: KnownStore | undefined
  era: number
  /** Of the last start that the store counted. */
  startNumber: number
}

export function readStoreMemory(file: string): StoreMemory {
  const { clusterId, revision, era, startNumber } = (readJson(file) ?? {}) as Record<string, unknown>
  const isOne = typeof clusterId === 'string' && Number.isSafeInteger(revision)
  const countOf = (value: unknown) => (Number.isSafeInteger(value) ? (value as number) : 0)
  const known = isOne ? { clusterId, revision: revision as number } : undefined
  return { known, era: countOf(era), startNumber: countOf(startNumber) }
}

export function keepStoreMemory(
  file: string, store: ClusterStore, { era, startNumber }: Pick<StoreMemory, 'era' | 'startNumber'>,
): void {
  const known = store.known()
  if (known !== undefined) replaceFile(file, `${JSON.stringify({ ...known, era, startNumber })}\n`)
}

/** The other nodes of the cluster, as this one met them last; `DIR/<node>/nodes.json`. */
export function readMet(file: string): string[] {
  const met = readJson(file)
  return Array.isArray(met) ? met.filter((one): one is string => typeof one === 'string') : []
}

/** Before anything is said to a new one: what it gets of ours, we know that it may have. */
export function keepMet(file: string, names: readonly string[]): void {
  const sorted = [...names].sort()
  if (JSON.stringify(readMet(file)) !== JSON.stringify(sorted)) replaceFile(file, `${JSON.stringify(sorted)}\n`)
}
