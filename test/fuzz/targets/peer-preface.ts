/** Any 224 bytes are a preface or none, and what is one is judged without a throw, whoever asks. */
import { assert } from '../../../engine/assert.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import {
  askingPreface, decodePreface, encodePreface, judgeAnswer, judgeAsked,
} from '../../../dataplane/peer/preface.ts'
import { PREFACE_BYTES } from '../../../dataplane/peer/protocol.ts'
import type { Random } from '../../sim/random.ts'
import { DrawnFrom } from '../target.ts'
import type { Target } from '../target.ts'

const self = {
  clusterId: '11'.repeat(16), node: 'n1', instance: '22'.repeat(16), worker: 0, role: 'worker' as const,
}
const own = askingPreface(self, { node: 'n2', worker: 0, lane: 'data', nonce: '33'.repeat(16), windowBytes: 1 << 25 })

export const target: Target = {
  parsers: ['dataplane/peer/preface.ts'],
  seeds: () => [64, 256].map((length) => new Uint8Array(length)),
  execute: (input) => fuzz(new DrawnFrom(input)),
}

function fuzz(random: Random): void {
  const bytes = Buffer.from(encodePreface(own))
  for (let i = random.between(0, 5); i > 0; i--) bytes[random.between(8, PREFACE_BYTES - 5)] = random.int(256)
  if (random.int(8) > 0) bytes.writeUInt32LE(crc32c(bytes.subarray(0, PREFACE_BYTES - 4)) >>> 0, PREFACE_BYTES - 4)
  const preface = decodePreface(bytes)
  if (typeof preface === 'string') return
  judgeAsked(self, preface)
  judgeAnswer(own, preface)
  const again = decodePreface(encodePreface(preface))
  assert(JSON.stringify(again) === JSON.stringify(preface), 'it is written as it was read')
}
