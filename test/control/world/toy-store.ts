/**
 * The cluster store of the simulated control plane: one value a key, compare-and-swap by version. Who watches is told
 * of each change.
 */
export interface Stored {
  value: unknown
  version: string
}

/** Value undefined: the key is gone. */
export type Watcher = (key: string, value: unknown, version: string) => void

export class ToyStore {
  readonly entries = new Map<string, Stored>()
  readonly watchers = new Set<Watcher>()
  private revision = 0

  get<T>(key: string): T | undefined {
    return this.entries.get(key)?.value as T | undefined
  }

  version(key: string): string {
    return this.entries.get(key)?.version ?? ''
  }

  /** `version` empty: the key has to be absent; `value` undefined: it is deleted. False: another version is there. */
  compareAndSwap(key: string, version: string, value: unknown): boolean {
    if (this.version(key) !== version) return false
    this.put(key, value)
    return true
  }

  put(key: string, value: unknown): void {
    const version = value === undefined ? '' : `v${++this.revision}`
    if (value === undefined) this.entries.delete(key)
    else this.entries.set(key, { value, version })
    for (const watcher of this.watchers) watcher(key, value, version)
  }

  keys(prefix: string): string[] {
    return [...this.entries.keys()].filter((key) => key.startsWith(prefix))
  }
}
