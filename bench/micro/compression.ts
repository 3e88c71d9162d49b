/**
 * What compressing a block costs the frontend that writes it, and the one that reads it: blocks of which none, a
 * quarter, half and all is noise, and text. `payloadOf` has the checksums and what is skipped in it, as a write has;
 * noise there is the cost of a volume that is compressed in vain. Run alone: `node bench/micro/compression.ts`.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { BlockCompression } from '../../dataplane/frontend/block-compression.ts'
import { compressBlock, decompressBlock } from '../../engine/transform/lz4-block.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'

const ROUNDS = 5
const RUNS = 500
const BLOCKS = 64

/** Microseconds a block, median of the rounds; another block each time, or the processor knows all its branches. */
function measured(run: (i: number) => void): string {
  const results: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < RUNS * BLOCKS; i++) run(i % BLOCKS)
    results.push(Number(process.hrtime.bigint() - start) / 1000 / (RUNS * BLOCKS))
  }
  return results.sort((a, b) => a - b)[ROUNDS >> 1]!.toFixed(2)
}

function noisy(noiseBytes: number): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES, 'text of a kind that compresses; ')
  randomBytes(noiseBytes).copy(block)
  return block
}

const source = readFileSync(new URL('../../engine/log/cleaner.ts', import.meta.url))
const kinds: Record<string, (i: number) => Uint8Array> = {
  'no noise': () => noisy(0),
  'a quarter noise': () => noisy(1024),
  'half noise': () => noisy(2048),
  noise: () => noisy(4096),
  text: (i) => source.subarray(i * 128, i * 128 + BLOCK_BYTES),
}

for (const [kind, make] of Object.entries(kinds)) {
  const blocks = Array.from({ length: BLOCKS }, (_, i) => make(i))
  const into = new Uint8Array(BLOCK_BYTES)
  const back = new Uint8Array(BLOCK_BYTES)
  const blobs = blocks.map((block) => into.slice(0, compressBlock(block, into)))
  const [plain, packed] = [new BlockCompression('none'), new BlockCompression('lz4')]
  const kept = blobs.reduce((sum, blob) => sum + blob.length, 0) / BLOCKS
  const figures = [
    `compress ${measured((i) => compressBlock(blocks[i]!, into))}`,
    ...(kept === 0 ? [] : [`decompress ${measured((i) => decompressBlock(blobs[i]!, back))}`]),
    `payloadOf none ${measured((i) => plain.payloadOf(blocks[i]!))}`,
    `lz4 ${measured((i) => packed.payloadOf(blocks[i]!))} us`,
  ]
  console.log(`${kind.padEnd(16)} ${kept.toFixed(0).padStart(5)} B   ${figures.join('   ')}`)
}
