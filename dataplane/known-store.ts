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

/** @throws HoldfastError */
export function keepStoreMemory(
  file: string, store: ClusterStore, { era, startNumber }: Pick<StoreMemory, 'era' | 'startNumber'>,
): void {
  const known = store.known()
  if (known === undefined) return
  const text = JSON.stringify({ ...known, era, startNumber })
  if (JSON.stringify(readJson(file)) !== text) replaceFile(file, `${text}\n`)
}

/** The other nodes of the cluster, as this one met them last; `DIR/<node>/nodes.json`. */
export function readMet(file: string): string[] {
  const met = readJson(file)
  return Array.isArray(met) ? met.filter((one): one is string => typeof one === 'string') : []
}

/** The file is written before anything is said to a new one: what it gets of ours, we know that it may have. */
export class MetNodes {
  readonly #file: string
  /** Those that the file has for sure, sorted; it may have others too when it is not `#isKept`. */
  #names: readonly string[]
  #isKept = true

  /** @throws HoldfastError when what is there cannot be read */
  constructor(file: string) {
    this.#file = file
    this.#names = readMet(file).sort()
  }

  /** @throws HoldfastError: the file has the former names or these */
  keep(names: readonly string[]): void {
    const now = [...names].sort()
    if (this.#isKept && now.join() === this.#names.join()) return
    this.#isKept = false
    this.#names = this.#names.filter((name) => now.includes(name))
    replaceFile(this.#file, `${JSON.stringify(now)}\n`)
    this.#isKept = true
    this.#names = now
  }

  has(name: string): boolean {
    return this.#names.includes(name)
  }
}
