/**
 * What a volume's spec says of its encryption (dataplane/frontend/ENCRYPTION.md section 1). Nothing here is secret: a
 * data key is wrapped by a key that no spec has.
 */
export type Cipher = 'aes-256-xts' | 'aes-256-gcm'
export const CIPHERS = ['aes-256-xts', 'aes-256-gcm'] as const satisfies readonly Cipher[]

export interface WrappedKey {
  /** Id of the key that opens it: 16 hex digits, or `vault:MOUNT/KEY` of one that a key server keeps. */
  wrappedBy: string
  /** Base64, or what the key server made of it. */
  wrapped: string
}

/** Under which a volume, or one that it began as a clone of, writes its blocks. */
export interface VolumeKey {
  /** Who writes under it. */
  volumeId: string
  /** Absent: that of the entry before. */
  dataKey?: WrappedKey
}

export interface VolumeEncryption {
  /** Of every block; it never changes. */
  cipher: Cipher
  /** The key number of a blob is the place of its entry, from 1 on. The last one is the volume's own. */
  keys: VolumeKey[]
}

/** A clone's: it reads what its origin wrote, and writes under an entry of its own. */
export const encryptionOfClone = ({ cipher, keys }: VolumeEncryption, volumeId: string): VolumeEncryption =>
  ({ cipher, keys: [...keys, { volumeId }] })

/** Of the data key under which the volume writes. */
export const wrappedKeyOf = ({ keys }: VolumeEncryption): WrappedKey =>
  keys.findLast(({ dataKey }) => dataKey !== undefined)!.dataKey!

/** Whether that is the same data keys, each at its place, however they are wrapped. */
export function hasSameKeys(a: VolumeEncryption, b: VolumeEncryption): boolean {
  const ids = ({ cipher, keys }: VolumeEncryption): string =>
    [cipher, ...keys.map(({ volumeId, dataKey }) => `${volumeId} ${dataKey !== undefined}`)].join()
  return ids(a) === ids(b)
}
