/**
 * A block that says who wrote it: writer, operation number, LBA and a random number, 32 bytes, repeated over the whole
 * block, so that a block put together from two writes, moved or cut shows itself. A block of zeroes is operation 0.
 */
export const BLOCK_BYTES = 4096
const STAMP_BYTES = 32
const MAGIC = 0x53_74_4d_70

export interface Writer {
  /** Which client of which run. */
  id: number
  random: number
}

/** What the block at an LBA is: an operation's number, or words about what is wrong with it. */
export type Found = { op: number } | { wrong: string }

function randomOf(writer: Writer, op: number): number {
  return Math.imul(writer.random ^ op, 0x9e3779b1) >>> 0
}

export function fillStamps(target: Buffer, writer: Writer, op: number, lba: number): void {
  for (let at = 0; at < target.length; at += BLOCK_BYTES, lba++) {
    target.writeUInt32LE(MAGIC, at)
    target.writeUInt32LE(writer.id, at + 4)
    target.writeUIntLE(op, at + 8, 6)
    target.writeUInt16LE(0, at + 14)
    target.writeUIntLE(lba, at + 16, 6)
    target.writeUInt16LE(0, at + 22)
    target.writeUInt32LE(randomOf(writer, op), at + 24)
    target.writeUInt32LE((randomOf(writer, op) + lba) % 2 ** 32, at + 28)
    for (let done = STAMP_BYTES; done < BLOCK_BYTES; done *= 2) target.copy(target, at + done, at, at + done)
  }
}

const ZEROES = Buffer.alloc(BLOCK_BYTES)

export function readStamp(block: Buffer, writer: Writer, lba: number): Found {
  if (block.readUInt32LE(0) === 0 && block.equals(ZEROES)) return { op: 0 }
  if (block.readUInt32LE(0) !== MAGIC) return { wrong: `no stamp (${block.subarray(0, 16).toString('hex')}..)` }
  if (block.compare(block, 0, BLOCK_BYTES - STAMP_BYTES, STAMP_BYTES) !== 0) {
    let at = STAMP_BYTES
    while (block.compare(block, 0, STAMP_BYTES, at, at + STAMP_BYTES) === 0) at += STAMP_BYTES
    return { wrong: `it is torn at byte ${at}` }
  }
  const op = block.readUIntLE(8, 6)
  const place = block.readUIntLE(16, 6)
  if (block.readUInt32LE(4) !== writer.id) return { wrong: `writer ${block.readUInt32LE(4)} wrote it` }
  if (place !== lba) return { wrong: `it belongs to block ${place} (operation ${op})` }
  if (block.readUInt32LE(24) !== randomOf(writer, op)) return { wrong: `operation ${op} of another run wrote it` }
  return { op }
}
