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
  /** Key number that is written under as long as not everybody knows the last one; absent: the last. */
  writesUnder?: number
  /** Blocks under former data keys are to be written anew: 16 hex digits, which each wish draws for itself. */
  rewriting?: string
}

/** A clone's: it reads what its origin wrote, and writes under an entry of its own. */
export const encryptionOfClone = ({ cipher, keys }: VolumeEncryption, volumeId: string): VolumeEncryption =>
  ({ cipher, keys: [...keys, { volumeId }] })

/** Of the data key under which the volume writes. */
export const wrappedKeyOf = ({ keys }: VolumeEncryption): WrappedKey =>
  keys.findLast(({ dataKey }) => dataKey !== undefined)!.dataKey!

/** Whether that is the same entries, as far as one can tell without opening them. */
export function hasSameEntries(a: VolumeEncryption, b: VolumeEncryption): boolean {
  const ids = ({ cipher, keys }: VolumeEncryption): string =>
    [cipher, ...keys.map((key) => `${key.volumeId} ${key.dataKey !== undefined}`)].join()
  return ids(a) === ids(b)
}

/** Whether that is the same data keys, each at its place and at the same step, however they are wrapped. */
export const hasSameKeys = (a: VolumeEncryption, b: VolumeEncryption): boolean =>
  hasSameEntries(a, b) && a.writesUnder === b.writesUnder && a.rewriting === b.rewriting

/** The same and an entry of its own data key, under which nobody writes yet. */
export function isRekeyed(former: VolumeEncryption, next: VolumeEncryption): boolean {
  const count = former.keys.length
  const last = next.keys[count]
  return next.keys.length === count + 1 && last?.dataKey !== undefined && last.volumeId === former.keys.at(-1)!.volumeId
    && next.cipher === former.cipher && former.writesUnder === undefined && next.writesUnder === count
    && next.rewriting === former.rewriting
    && JSON.stringify(next.keys.slice(0, count)) === JSON.stringify(former.keys)
}

/** Step 3 of ENCRYPTION.md section 6: everybody knows the last entry. Undefined: it was done, or is for another one. */
export function rewriteBegun(
  { cipher, keys, writesUnder }: VolumeEncryption, count: number, rewriting: string,
): VolumeEncryption | undefined {
  return writesUnder === undefined || keys.length !== count ? undefined : { cipher, keys, rewriting }
}

/**
 * Step 5: no block of the head is under a former data key.
 * @param ended  the wish that this is said of
 * @returns undefined: it was done, or there is another wish since
 */
export function rewriteEnded(
  { cipher, keys, writesUnder, rewriting }: VolumeEncryption, ended: string,
): VolumeEncryption | undefined {
  return rewriting !== ended || writesUnder !== undefined ? undefined : { cipher, keys }
}

/** Blocks under former data keys come back: a wish of its own. Undefined: the volume never got another data key. */
export function rewriteWished(
  encryption: VolumeEncryption, volumeId: string, rewriting: string,
): VolumeEncryption | undefined {
  const own = encryption.keys.filter((key) => key.volumeId === volumeId).length
  return own < 2 ? undefined : { ...encryption, rewriting }
}

/** The least key number under the newest data key. */
export const newestFrom = ({ keys }: Pick<VolumeEncryption, 'keys'>): number =>
  keys.findLastIndex(({ dataKey }) => dataKey !== undefined) + 1
