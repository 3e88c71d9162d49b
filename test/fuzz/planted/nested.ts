/** A bug behind four bytes that are looked at one by one: to be found only by who keeps what came further. */
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/nested.ts'],
  seeds: () => [Buffer.from('____')],
  execute(input) {
    if (input[0] !== 0x68) return
    if (input[1] !== 0x6f) return
    if (input[2] !== 0x6c) return
    if (input[3] === 0x64) throw new Error('planted')
  },
}
