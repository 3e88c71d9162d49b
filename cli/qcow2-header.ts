/**
 * The part of a qcow2 image's header that says whether it is an image by itself. One that names a backing file, or a
 * data file, shows what that file holds: any file that whoever runs the import may read, chosen by whoever made the
 * image. Looked at before `qemu-img`, which opens them.
 *
 * Source: QEMU docs/interop/qcow2.rst "Header"; big-endian.
 */
const MAGIC = 'QFI\xfb'
const VERSION_AT = 4
const BACKING_AT = 8
const INCOMPATIBLE_AT = 72
/** Low word of the features. */
const EXTERNAL_DATA = 1 << 2
/** The longest part of a header that is looked at. */
export const QCOW2_HEAD_BYTES = 80

export const isQcow2 = (head: Buffer): boolean => head.toString('latin1', 0, 4) === MAGIC

/** @returns why it is no image by itself; undefined: it is one, or no qcow2 that anybody could read */
export function otherFileOf(head: Buffer): string | undefined {
  if (head.length < BACKING_AT + 8) return undefined
  if (head.readBigUInt64BE(BACKING_AT) !== 0n) return 'it names a backing file'
  if (head.readUInt32BE(VERSION_AT) < 3 || head.length < QCOW2_HEAD_BYTES) return undefined
  return (head.readUInt32BE(INCOMPATIBLE_AT + 4) & EXTERNAL_DATA) === 0 ? undefined : 'it names a data file'
}
