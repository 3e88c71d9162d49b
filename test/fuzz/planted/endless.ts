/** A length that is believed: of zero, the loop never ends. */
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/endless.ts'],
  seeds: () => [Buffer.of(4, 9, 9, 9, 4, 9, 9, 9)],
  execute(input) {
    for (let at = 0; at < input.length; at += input[at]!) { /* skip one */ }
  },
}
