/** A count that is believed, by a list: V8 does not refuse the memory, it ends the process. */
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/hoarding.ts'],
  seeds: () => [Buffer.of(1, 0, 0, 0)],
  execute(input) {
    if (input.length < 4) return
    const count = new DataView(input.buffer, input.byteOffset).getUint32(0, true)
    const made: object[] = []
    for (let i = 0; i < count; i++) made.push({ i })
  },
}
