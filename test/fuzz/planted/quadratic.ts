/** What is quadratic in what is given, as slow on any machine: of more than 1000 bytes it takes twice too long. */
import { SLOW_MS } from '../search.ts'
import type { Target } from '../target.ts'

export const target: Target = {
  parsers: ['test/fuzz/planted/quadratic.ts'],
  seeds: () => [new Uint8Array(1000)],
  bytesMax: 1_000_000,
  execute(input) {
    if (input.length <= 1000) return
    const began = process.threadCpuUsage()
    for (let cpuMs = 0; cpuMs < 2 * SLOW_MS;) {
      const { user, system } = process.threadCpuUsage(began)
      cpuMs = (user + system) / 1000
    }
  },
}
