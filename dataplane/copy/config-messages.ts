/**
 * `ConfigPort` between two threads: the worker asks by messages, the main thread, which has the client of the cluster
 * store, answers each once. Nothing is asked again here: who asks knows what an answer that never comes means.
 */
import { assert } from '../../engine/assert.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { ConfigCas, ConfigPort, ConfigRead } from './config-port.ts'

/** Of a worker. */
export type ConfigAsk =
  | { ask: 'read'; id: number; volumeId: string }
  | { ask: 'cas'; id: number; volumeId: string; version: string; config: VolumeConfig }
  | { ask: 'watch' }

/** Of the main thread. */
export type ConfigAnswer =
  | { answer: 'read'; id: number; read: ConfigRead }
  | { answer: 'cas'; id: number; cas: ConfigCas }
  | { answer: 'hint'; value: VersionedConfig }

/** The worker's end. */
export class MessageConfigs implements ConfigPort {
  readonly #post: (ask: ConfigAsk) => void
  readonly #reads = new Map<number, (read: ConfigRead) => void>()
  readonly #swaps = new Map<number, (cas: ConfigCas) => void>()
  readonly #hints = new Set<(value: VersionedConfig) => void>()
  #nextId = 1

  constructor(post: (ask: ConfigAsk) => void) {
    this.#post = post
  }

  read(volumeId: string, ended: (read: ConfigRead) => void): void {
    const id = this.#nextId++
    this.#reads.set(id, ended)
    this.#post({ ask: 'read', id, volumeId })
  }

  compareAndSwap(volumeId: string, version: string, config: VolumeConfig, ended: (cas: ConfigCas) => void): void {
    const id = this.#nextId++
    this.#swaps.set(id, ended)
    this.#post({ ask: 'cas', id, volumeId, version, config })
  }

  /** Each that begins to watch is told of everything that is there; so is, once more, everybody else. */
  watch(hint: (value: VersionedConfig) => void): () => void {
    this.#hints.add(hint)
    this.#post({ ask: 'watch' })
    return () => this.#hints.delete(hint)
  }

  receive(message: ConfigAnswer): void {
    switch (message.answer) {
      case 'hint':
        for (const hint of this.#hints) hint(message.value)
        return
      case 'read':
        return taken(this.#reads, message.id)(message.read)
      case 'cas':
        return taken(this.#swaps, message.id)(message.cas)
    }
  }
}

function taken<T>(waiting: Map<number, T>, id: number): T {
  const one = waiting.get(id)
  assert(one !== undefined, 'what was asked is answered once')
  waiting.delete(id)
  return one
}

/** The main thread's end: asks of one worker go to `configs`. @returns what takes them, and what ends the watch */
export function answerConfigs(
  configs: ConfigPort,
  post: (answer: ConfigAnswer) => void,
): { take(ask: ConfigAsk): void; end(): void } {
  let unwatch = (): void => undefined
  return {
    take(message) {
      switch (message.ask) {
        case 'read':
          return configs.read(message.volumeId, (read) => post({ answer: 'read', id: message.id, read }))
        case 'cas': {
          const { id, volumeId, version, config } = message
          return configs.compareAndSwap(volumeId, version, config, (cas) => post({ answer: 'cas', id, cas }))
        }
        case 'watch':
          unwatch()
          unwatch = configs.watch((value) => post({ answer: 'hint', value }))
          return
      }
    },
    end: () => unwatch(),
  }
}
