/**
 * What the data worker that serves NBD over TLS asks of the main thread, which alone knows the exports: the messages,
 * and both ends.
 */
import type { ExportDirectory, ExportInfo, Looked } from './handshake.ts'
import type { ExportCalls } from './secure-nbd.ts'

/** Who shows a certificate of a node, and from when on that is valid. */
export interface AskingNode {
  name: string
  issuedAtMs: number
}

export type ExportAsk =
  | { kind: 'list'; id: number; node: AskingNode | undefined }
  | { kind: 'look'; id: number; name: string }
  | { kind: 'entered' | 'drop'; found: ExportInfo }

export interface ExportAnswer {
  id: number
  found: ExportInfo[] | Looked
}

/** In the worker. */
export class AskedExports implements ExportCalls {
  readonly #ask: (ask: ExportAsk) => void
  readonly #waiting = new Map<number, (found: ExportAnswer['found']) => void>()
  #nextId = 0

  constructor(ask: (ask: ExportAsk) => void) {
    this.#ask = ask
  }

  answered({ id, found }: ExportAnswer): void {
    this.#waiting.get(id)?.(found)
    this.#waiting.delete(id)
  }

  list(node: AskingNode | undefined): Promise<ExportInfo[] | { refused: string }> {
    return this.#asked((id) => ({ kind: 'list', id, node })) as Promise<ExportInfo[] | { refused: string }>
  }

  look(name: string): Promise<Looked> {
    return this.#asked((id) => ({ kind: 'look', id, name })) as Promise<Looked>
  }

  entered(found: ExportInfo): void {
    this.#ask({ kind: 'entered', found })
  }

  drop(found: ExportInfo): void {
    this.#ask({ kind: 'drop', found })
  }

  #asked(ask: (id: number) => ExportAsk): Promise<ExportAnswer['found']> {
    const id = this.#nextId++
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve)
      this.#ask(ask(id))
    })
  }
}

/** In the main thread. */
export function answerExports(
  exports: ExportDirectory, answer: (answer: ExportAnswer) => void, onBug: (error: unknown) => void,
): (ask: ExportAsk) => void {
  return (ask) => {
    switch (ask.kind) {
      case 'list': {
        const { id, node } = ask
        const refused = node && exports.whyNot?.(node.name, node.issuedAtMs)
        return answer({ id, found: refused === undefined ? exports.list() : { refused } })
      }
      case 'entered': return exports.entered?.(ask.found)
      case 'drop': return exports.drop?.(ask.found)
      case 'look': {
        const { id, name } = ask
        const known = exports.find(name)
        const look = known === undefined ? exports.look?.(name) : undefined
        if (look === undefined) return answer({ id, found: known })
        void look.then((found) => answer({ id, found }), onBug)
      }
    }
  }
}
