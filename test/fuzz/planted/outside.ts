/** Memory beside the heap, as much as is asked for. */
import type { Target } from '../target.ts'

const MIB_MOST = 3072

export const target: Target = {
  parsers: ['test/fuzz/planted/outside.ts'],
  seeds: () => [Buffer.of(1)],
  execute(input) {
    if (input.length < 6) return
    const held: Buffer[] = []
    while (held.length < MIB_MOST) held.push(Buffer.alloc(2 ** 20, 1))
  },
}
