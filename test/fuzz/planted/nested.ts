/** A bug behind eight bytes that are looked at one by one: to be found only by who keeps what came further. */
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/nested.ts'],
  seeds: () => [Buffer.from('________')],
  execute(input) {
    if (input[0] !== 0x68) return
    if (input[1] !== 0x6f) return
    if (input[2] !== 0x6c) return
    if (input[3] !== 0x64) return
    if (input[4] !== 0x66) return
    if (input[5] !== 0x61) return
    if (input[6] !== 0x73) return
    if (input[7] === 0x74) throw new Error('planted')
  },
}
