/**
 * A client's request in bytes, cut into the parts that are sent to the primary in blocks (SPEC.md S1, S4). A part lies
 * within one slice, because a record lies on one disk, and moves at most `partBlocksMax` blocks of payload; a write
 * lies within one page of the map too, because its record does (FORMAT.md 2.3). Edge blocks that are covered in part
 * are written whole, with what was read of them; of a trim or zero they become small writes of zeroes.
 */
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { BlockVersion, Payload } from './record.ts'

/** What a client asks. `data` is never looked at. */
export type ClientOperation =
  | { type: 'write'; offsetBytes: number; lengthBytes: number; data: unknown; fua: boolean }
  | { type: 'zero' | 'trim'; offsetBytes: number; lengthBytes: number; fua: boolean }
  | { type: 'read'; offsetBytes: number; lengthBytes: number }
  | { type: 'flush' }

export type RangedOperation = Exclude<ClientOperation, { type: 'flush' }>

export interface RequestPart {
  type: 'write' | 'zero' | 'trim' | 'read' | 'flush'
  lba: number
  blockCount: number
  /** Of a write: where the client's bytes begin in the first block, which of its bytes, how many. */
  skipBytes: number
  fromBytes: number
  lengthBytes: number
  /** Blocks it covers in part. */
  edges: number[]
  /** What was read of them last. */
  old: BlockVersion[]
  /** Reads of edges under way. */
  edgesMissing: number
  /** How often it was refused because an edge changed. */
  refusals: number
  payload: Payload | undefined
}

/** The blocks a request touches. */
export function blocksOf({ offsetBytes, lengthBytes }: RangedOperation): { first: number; end: number } {
  return {
    first: Math.floor(offsetBytes / BLOCK_BYTES),
    end: Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES),
  }
}

export function partsOf(operation: ClientOperation, partBlocksMax: number): RequestPart[] {
  if (operation.type === 'flush') return [part('flush', 0, 0)]
  const { first, end } = blocksOf(operation)
  if (operation.type === 'read') {
    const pieces = piecesOf(first, end, partBlocksMax, SLICE_BLOCKS)
    return pieces.map(([lba, blockCount]) => part('read', lba, blockCount))
  }
  if (operation.type === 'write') return writeParts(operation, first, end, partBlocksMax)
  const firstWhole = Math.ceil(operation.offsetBytes / BLOCK_BYTES)
  const endWhole = Math.floor((operation.offsetBytes + operation.lengthBytes) / BLOCK_BYTES)
  const parts: RequestPart[] = []
  if (first < firstWhole) parts.push(...writeParts(operation, first, first + 1, 1))
  for (const [lba, blockCount] of piecesOf(firstWhole, endWhole, SLICE_BLOCKS, SLICE_BLOCKS)) {
    parts.push(part(operation.type, lba, blockCount))
  }
  if (endWhole < end && endWhole >= firstWhole) parts.push(...writeParts(operation, endWhole, end, 1))
  return parts
}

function writeParts(operation: RangedOperation, first: number, end: number, blocksMax: number): RequestPart[] {
  const { offsetBytes } = operation
  if (offsetBytes === first * BLOCK_BYTES && operation.lengthBytes === BLOCK_BYTES) {
    const one = part('write', first, 1)
    one.lengthBytes = BLOCK_BYTES
    return [one]
  }
  const endBytes = offsetBytes + operation.lengthBytes
  return piecesOf(first, end, blocksMax, PAGE_BLOCKS).map(([lba, blockCount]) => {
    const from = Math.max(offsetBytes, lba * BLOCK_BYTES)
    const to = Math.min(endBytes, (lba + blockCount) * BLOCK_BYTES)
    const one = part('write', lba, blockCount)
    one.skipBytes = from - lba * BLOCK_BYTES
    one.fromBytes = from - offsetBytes
    one.lengthBytes = to - from
    const last = lba + blockCount - 1
    const lastIsCut = to < (last + 1) * BLOCK_BYTES
    if (one.skipBytes > 0) one.edges.push(lba)
    if (lastIsCut && one.edges[0] !== last) one.edges.push(last)
    return one
  })
}

/** Runs of at most `blocksMax`, each within one of the units of `unitBlocks`. */
function piecesOf(
  first: number,
  end: number,
  blocksMax: number,
  unitBlocks: number,
): Array<[lba: number, blockCount: number]> {
  const pieces: Array<[number, number]> = []
  for (let lba = first; lba < end;) {
    const unitEnd = (Math.floor(lba / unitBlocks) + 1) * unitBlocks
    const blockCount = Math.min(end, unitEnd, lba + blocksMax) - lba
    pieces.push([lba, blockCount])
    lba += blockCount
  }
  return pieces
}

const part = (type: RequestPart['type'], lba: number, blockCount: number): RequestPart => ({
  type,
  lba,
  blockCount,
  skipBytes: 0,
  fromBytes: 0,
  lengthBytes: 0,
  edges: [],
  old: [],
  edgesMissing: 0,
  refusals: 0,
  payload: undefined,
})
