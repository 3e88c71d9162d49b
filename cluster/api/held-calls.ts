/**
 * What goes on by somebody's word, by the name it hangs on, so that it is ended when that word is worth nothing any
 * more. A name by which nothing goes on takes no memory.
 */
import type { HoldfastError } from '../../engine/errors.ts'

export type End = (why: HoldfastError) => void

export class HeldCalls {
  readonly #ends = new Map<string, Set<End>>()

  /** @returns to be called when it is over */
  add(name: string, end: End): () => void {
    const held = this.#ends.get(name) ?? new Set()
    this.#ends.set(name, held.add(end))
    return () => {
      held.delete(end)
      if (held.size === 0 && this.#ends.get(name) === held) this.#ends.delete(name)
    }
  }

  /** All that hangs on that name now. */
  end(name: string, why: HoldfastError): void {
    for (const end of [...(this.#ends.get(name) ?? [])]) end(why)
  }
}
