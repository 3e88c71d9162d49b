/**
 * Every state of a search, once, in the order in which they were found: a state is a row of integers, so a set of
 * millions of them is one array. Rows are compared whole: no two states are ever taken for one.
 */
export class RowTable {
  readonly width: number
  count = 0
  private rows: Int32Array
  private parents = new Int32Array(1024)
  /** Row index + 1 at the place its hash names, 0 = free. */
  private slots = new Int32Array(4096)

  constructor(width: number) {
    this.width = width
    this.rows = new Int32Array(1024 * width)
  }

  /** Whether it is new. */
  add(row: Int32Array, parent: number): boolean {
    const { width } = this
    let at = hashOf(row, width) & (this.slots.length - 1)
    for (let found = this.slots[at]!; found !== 0; found = this.slots[at]!) {
      if (this.isAt(row, found - 1)) return false
      at = (at + 1) & (this.slots.length - 1)
    }
    if (this.count === this.parents.length) this.grow()
    const index = this.count++
    for (let i = 0; i < width; i++) this.rows[index * width + i] = row[i]!
    this.parents[index] = parent
    this.slots[at] = index + 1
    if (this.count * 2 > this.slots.length) this.rehash()
    return true
  }

  read(index: number, into: Int32Array): void {
    for (let i = 0; i < this.width; i++) into[i] = this.rows[index * this.width + i]!
  }

  parentOf(index: number): number {
    return this.parents[index]!
  }

  private isAt(row: Int32Array, index: number): boolean {
    const from = index * this.width
    for (let i = 0; i < this.width; i++) if (this.rows[from + i] !== row[i]) return false
    return true
  }

  private grow(): void {
    const parents = new Int32Array(this.parents.length * 2)
    parents.set(this.parents)
    this.parents = parents
    const rows = new Int32Array(parents.length * this.width)
    rows.set(this.rows)
    this.rows = rows
  }

  private rehash(): void {
    const slots = new Int32Array(this.slots.length * 2)
    const row = new Int32Array(this.width)
    for (let index = 0; index < this.count; index++) {
      this.read(index, row)
      let at = hashOf(row, this.width) & (slots.length - 1)
      while (slots[at] !== 0) at = (at + 1) & (slots.length - 1)
      slots[at] = index + 1
    }
    this.slots = slots
  }
}

function hashOf(row: Int32Array, width: number): number {
  let hash = 0x9e3779b9
  for (let i = 0; i < width; i++) {
    hash = Math.imul(hash ^ row[i]!, 0x85ebca6b)
    hash ^= hash >>> 13
  }
  hash = Math.imul(hash, 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
