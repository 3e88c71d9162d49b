/** A count that is believed: so many objects are made, in a chain, before anybody looks whether they are there. */
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/greedy.ts'],
  seeds: () => [Buffer.of(1, 0, 0, 0)],
  execute(input) {
    if (input.length < 4) return
    const count = new DataView(input.buffer, input.byteOffset).getUint32(0, true)
    let made: object | undefined
    for (let i = 0; i < count; i++) made = { made, i }
  },
}
