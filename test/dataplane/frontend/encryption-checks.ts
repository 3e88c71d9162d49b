/** What is promised of encrypted blocks, each as a question with a yes or no that a planted bug can be asked, too. */
import { randomBytes } from 'node:crypto'
import { unwrapDataKey, newDataKey, wrapDataKey } from '../../../cluster/keys/data-key.ts'
import type { UnwrappedKeys } from '../../../cluster/keys/data-key.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { openInto } from '../../../dataplane/frontend/block-bytes.ts'
import { letGo } from '../../../dataplane/frontend/blob-memory.ts'
import { BlockEncryption } from '../../../dataplane/frontend/block-encryption.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import { Secret } from '../../../engine/secret.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../../../engine/units.ts'
import { blobsOf } from '../../../engine/volume/copy-headers.ts'
import { restored } from '../../../engine/volume/restored-blocks.ts'
import { CIPHERS } from '../../../engine/volume/volume-encryption.ts'
import type { Cipher } from '../../../engine/volume/volume-encryption.ts'

const DATA_KEY = randomBytes(64)
const [ID, OTHER] = ['a0'.repeat(16), 'b0'.repeat(16)]
const BLOCK = Buffer.alloc(BLOCK_BYTES, 'a block that is written again and again ')

function keysOf(cipher: Cipher, volumeId = ID): UnwrappedKeys {
  return { cipher, keys: [{ volumeId, dataKey: new Secret(new Uint8Array(DATA_KEY)) }] }
}

const sealed = (by: BlockEncryption, lba = 9): Buffer =>
  Buffer.from(blobsOf(by.payloadOf({ bytes: BLOCK, units: undefined }, lba)).bytes)

function versionOf(blob: Uint8Array, lba: number, transform: number): BlockVersion {
  const data = { bytes: blob, crcs: [0], stored: { transform, units: [blob.length / UNIT_BYTES] } }
  return { epoch: 1, seq: 1, lba, kind: 'write', payload: { bytes: blob.length, data } }
}

function opened(by: BlockEncryption, blob: Uint8Array, lba = 9, transform = 2): Buffer | undefined {
  const blocks = restored([versionOf(blob, lba, transform)], by)
  return blocks && Buffer.from(blobsOf(blocks[0]!.payload!).bytes)
}

/** For each cipher; all have to be so. */
const ofAll = (isSo: (cipher: Cipher) => boolean): boolean => CIPHERS.every(isSo)

export const CHECKS = {
  'what is sealed is opened': () =>
    ofAll((cipher) => {
      const [writer, reader] = [new BlockEncryption(keysOf(cipher)), new BlockEncryption(keysOf(cipher))]
      return opened(reader, sealed(writer))!.equals(BLOCK)
    }),

  'a payload stays as it is until it is let go': () =>
    ofAll((cipher) => {
      const by = new BlockEncryption(keysOf(cipher))
      const plain = { bytes: BLOCK, units: undefined }
      const [first, second] = [by.payloadOf(plain, 9), by.payloadOf(plain, 10)]
      letGo(second)
      by.payloadOf(plain, 11)
      return opened(by, blobsOf(first).bytes)?.equals(BLOCK) ?? false
    }),

  'after another data key came blocks are under that, and those of before are told from them': () =>
    ofAll((cipher) => {
      const newKey = randomBytes(64)
      const [, next] = [keysOf(cipher), keysOf(cipher)]
      next.keys.push({ volumeId: ID, dataKey: new Secret(new Uint8Array(newKey)) })
      const by = new BlockEncryption(keysOf(cipher))
      const former = sealed(by)
      by.renew({ ...next, newestFrom: 2 })
      const anew = sealed(by)
      const isTold = by.isFormer(former) && !by.isFormer(anew) && anew.readUInt32LE(4) === 2
      return isTold && [former, anew].every((blob) => opened(by, blob)?.equals(BLOCK) ?? false)
    }),

  'no tweak or nonce comes twice under a key, in any life of a frontend': () =>
    ofAll((cipher) => {
      const seen = new Set<string>()
      for (let life = 0; life < 5; life++) {
        const by = new BlockEncryption(keysOf(cipher), undefined, { sessionBlocksMax: 3 })
        for (let i = 0; i < 10; i++) {
          const blob = sealed(by)
          if (blob.readBigUInt64LE(8) > 3n) return false
          seen.add(`${blob.toString('hex', 16, 32)} ${blob.readBigUInt64LE(8)}`)
        }
      }
      return seen.size === 50
    }),

  'a block is what it is at its LBA only': () =>
    ofAll((cipher) => {
      const by = new BlockEncryption(keysOf(cipher))
      return [10, 9 + 2 ** 32].every((lba) => !(opened(by, sealed(by), lba)?.equals(BLOCK) ?? false))
    }),

  'a block is what it is in its volume only': () =>
    ofAll((cipher) => {
      const other = new BlockEncryption(keysOf(cipher, OTHER))
      return !(opened(other, sealed(new BlockEncryption(keysOf(cipher))))?.equals(BLOCK) ?? false)
    }),

  'gcm: what is changed is damage': () => {
    const by = new BlockEncryption(keysOf('aes-256-gcm'))
    const blob = sealed(by)
    return [1, 8, 16, 32, 64, 4000].every((at) => {
      const changed = Buffer.from(blob)
      changed[at]! ^= 1
      return opened(by, changed) === undefined
    })
  },

  'a block that is not encrypted, or by another cipher, is damage': () =>
    ofAll((cipher) => {
      const by = new BlockEncryption(keysOf(cipher))
      const other = sealed(by)
      other[1] = 3 - other[1]!
      const plain = versionOf(BLOCK, 9, 0)
      const isRead = openInto([plain], 9 * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES), by)
      return !isRead && opened(by, BLOCK, 9, 0) === undefined && opened(by, other) === undefined
    }),

  'a wrapped key opens for its volume and cipher only': () => {
    const key = userKeyOf(new Uint8Array(randomBytes(32)))
    const place = { cipher: 'aes-256-xts', volumeId: ID, keyNumber: 1 } as const
    const wrapped = wrapDataKey(newDataKey(), key, place)
    const elsewhere = [{ ...place, volumeId: OTHER }, { ...place, cipher: 'aes-256-gcm' as const }]
    return unwrapDataKey(wrapped, key, place) !== undefined
      && elsewhere.every((one) => unwrapDataKey(wrapped, key, one) === undefined)
  },
}
