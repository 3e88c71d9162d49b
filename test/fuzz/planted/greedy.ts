/**
 * A count that is believed: so many objects are made before anybody looks whether they are there. In a chain and no
 * list: a thread that is refused memory while a list grows may take the process along (campaign.ts).
 */
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
