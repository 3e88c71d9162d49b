/**
 * What encrypting a block costs the frontend that writes it, and the one that reads it, beside the other ways there are
 * in Node: a cipher object for each block, and one long-lived AES-ECB object, which would need the tweaks and XORs of
 * XTS besides. `payloadOf` has the checksum in it, as a write has. Run alone: `node bench/micro/encryption.ts`.
 */
import { createCipheriv, randomBytes } from 'node:crypto'
import { GcmContext, setIv, XtsContext } from '../../dataplane/cipher/libcrypto.ts'
import { letGo } from '../../dataplane/frontend/blob-memory.ts'
import { BlockCompression } from '../../dataplane/frontend/block-compression.ts'
import { BlockEncryption } from '../../dataplane/frontend/block-encryption.ts'
import { Secret } from '../../engine/secret.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../../engine/units.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import { CIPHERS } from '../../engine/volume/volume-encryption.ts'

const ROUNDS = 5
const RUNS = 16_000
const BLOCKS = 32

const cpuUs = (): number => {
  const { user, system } = process.threadCpuUsage()
  return user + system
}

/** Microseconds of this thread's processor time, median of the rounds, which take turns. */
function measured(runs: Record<string, (i: number) => void>, blocks = 1): void {
  const results = new Map<string, number[]>(Object.keys(runs).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, run] of Object.entries(runs)) {
      const startUs = cpuUs()
      for (let i = 0; i < RUNS / blocks; i++) run(i)
      results.get(name)!.push((cpuUs() - startUs) / RUNS)
    }
  }
  for (const [name, figures] of results)
    console.log(`  ${name.padEnd(34)} ${figures.sort((a, b) => a - b)[ROUNDS >> 1]!.toFixed(2).padStart(6)} us a block`)
}

const block = new Uint8Array(randomBytes(BLOCK_BYTES))
const into = new Uint8Array(BLOCK_BYTES)
const tag = new Uint8Array(16)
const aad = new Uint8Array(40)
const key = new Uint8Array(randomBytes(64))
const iv = randomBytes(16)
const xts = new XtsContext(key, true)
const gcm = new GcmContext(key.subarray(0, 32), true)
const ecb = createCipheriv('aes-256-ecb', key.subarray(0, 32), null).setAutoPadding(false)

console.log('the cipher alone, 4 KiB')
measured({
  'aes-256-xts, a context for all': (i) => {
    setIv(i, 0, 0, 0)
    xts.run(block, into)
  },
  'aes-256-gcm, a context for all': (i) => {
    setIv(i, 0, 0, 0)
    gcm.run(aad, block, into, tag)
  },
  'aes-256-xts, createCipheriv': () => createCipheriv('aes-256-xts', key, iv).update(block),
  'aes-256-gcm, createCipheriv': () => {
    const cipher = createCipheriv('aes-256-gcm', key.subarray(0, 32), iv.subarray(0, 12))
    cipher.update(block)
    cipher.final()
    cipher.getAuthTag()
  },
  'aes-256-ecb, one object, no XORs': () => ecb.update(block),
})

for (const cipher of CIPHERS) {
  const dataKey = new Secret(new Uint8Array(randomBytes(64)))
  const encryption = new BlockEncryption({ cipher, keys: [{ volumeId: 'f0'.repeat(16), dataKey }] })
  const plain = new BlockCompression('none')
  for (const count of [1, BLOCKS]) {
    const bytes = new Uint8Array(randomBytes(count * BLOCK_BYTES))
    const { bytes: blobs, stored } = blobsOf(encryption.payloadOf(plain.blobsOf(bytes), 0))
    console.log(`${cipher}, ${count} block(s) at a time`)
    measured({
      'payloadOf, not encrypted': () => plain.payloadOf(bytes),
      'payloadOf, encrypted': (i) => letGo(encryption.payloadOf(plain.blobsOf(bytes), i)),
      open: () => {
        const room = new Uint8Array(count * BLOCK_BYTES)
        for (let i = 0, at = 0; i < count; i++) {
          const end = at + stored!.units[i]! * UNIT_BYTES
          encryption.open(blobs.subarray(at, end), i, room.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))
          at = end
        }
      },
    }, count)
  }
  encryption.close()
}
