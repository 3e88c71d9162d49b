/**
 * Parts of states, each kept once and named by a number. What two copies have in common with a million states is then
 * stored once, and what follows from a part is worked out once.
 */
import { hash } from 'node:crypto'
import { textOf } from './canonical.ts'

export class Interned<T> {
  readonly parts: T[] = []
  private readonly byText = new Map<string, number>()

  /** `part` is asked for only when the value is new. */
  idOf(value: unknown, part: () => T): number {
    const text = textOf(value)
    // 128 bits: that two of a few millions are taken for one is less likely than that the machine errs.
    const key = text.length <= 40 ? text : hash('md5', text, 'base64')
    const known = this.byText.get(key)
    if (known !== undefined) return known
    const id = this.parts.length
    this.parts.push(part())
    this.byText.set(key, id)
    return id
  }

  get(id: number): T {
    return this.parts[id]!
  }
}
