/** What a client says before TLS where TLS is forced. Promises: nothing throws, and no byte of before outlives it. */
import { assert } from '../../../engine/assert.ts'
import { encodeOption } from '../../../dataplane/nbd/option-data.ts'
import { NBD_OPT_ABORT, NBD_OPT_GO, NBD_OPT_LIST, NBD_OPT_STARTTLS } from '../../../dataplane/nbd/protocol.ts'
import { TlsGate } from '../../../dataplane/nbd/tls-gate.ts'
import type { Target } from '../target.ts'

const said = (...options: readonly Buffer[]): Buffer => Buffer.concat([Buffer.from([7, 0, 0, 0, 1]), ...options])

export const target: Target = {
  parsers: ['dataplane/nbd/tls-gate.ts'],
  seeds: () => [
    said(encodeOption(NBD_OPT_STARTTLS)), said(encodeOption(NBD_OPT_LIST), encodeOption(NBD_OPT_ABORT)),
    said(encodeOption(NBD_OPT_GO, Buffer.alloc(30)), encodeOption(NBD_OPT_STARTTLS, Buffer.of(1))),
  ],
  words: ['IHAVEOPT'],
  execute(input) {
    const gate = new TlsGate()
    const chunkBytes = 1 + (input[0] ?? 0)
    for (let at = 1; at < input.length; at += chunkBytes) {
      const { event } = gate.feed(input.subarray(at, at + chunkBytes))
      if (event === undefined) continue
      const end = Math.min(input.length, at + chunkBytes)
      if (event.type === 'start-tls') assert(input.subarray(end - 16, end - 8).toString() !== '', 'an option ends here')
      return
    }
  },
}
