/**
 * The nodes that are connected to the embedded store over TLS. It is the store that knows which of them were removed
 * from the cluster: such a node is not let in, and is closed when its removal is committed.
 */
import type { TLSSocket } from 'node:tls'
import { ROOT_DEFAULT } from '../etcd-api.ts'
import { decodeRemoved, removedKey, whyRemoved } from '../removed-nodes.ts'
import type { EmbeddedStore } from './embedded-store.ts'

export class ConnectedNodes {
  readonly #store: EmbeddedStore
  /** When the certificates of its connections are valid from, by the name of the node. */
  readonly #sockets = new Map<string, Map<TLSSocket, number>>()

  constructor(store: EmbeddedStore) {
    this.#store = store
  }

  /** @returns why it is not let in */
  add(name: string, socket: TLSSocket): string | undefined {
    const issuedAtMs = Date.parse(socket.getPeerX509Certificate()!.validFrom)
    const why = this.#whyNot(name, issuedAtMs)
    if (why !== undefined) return why
    const sockets = this.#sockets.get(name) ?? new Map<TLSSocket, number>()
    this.#sockets.set(name, sockets.set(socket, issuedAtMs))
    socket.once('close', () => {
      sockets.delete(socket)
      if (sockets.size === 0 && this.#sockets.get(name) === sockets) this.#sockets.delete(name)
    })
    return undefined
  }

  /** Something was committed. */
  look(): void {
    for (const [name, sockets] of this.#sockets) {
      for (const [socket, issuedAtMs] of sockets) if (this.#whyNot(name, issuedAtMs) !== undefined) socket.destroy()
    }
  }

  #whyNot(name: string, issuedAtMs: number): string | undefined {
    const found = this.#store.history.at(ROOT_DEFAULT + removedKey(name), this.#store.committedRevision)
    return whyRemoved(found && decodeRemoved(name, found.value), issuedAtMs)
  }
}
