/** Every byte looks at all bytes, many times. */
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/quadratic.ts'],
  seeds: () => [new Uint8Array(1000)],
  bytesMax: 1_000_000,
  execute(input) {
    if (input.length <= 1000) return
    let sum = 0
    for (let i = 0; i < 1500; i++) for (let j = 0; j < 300_000; j++) sum = (sum + i * j) | 0
    if (sum === 1) throw new Error('never')
  },
}
