/** Changed blocks: every byte that a difference names is told once, in order, from any offset, in parts of any size. */
import fc from 'fast-check'
import t from 'tap'
import type { DiffPart, DiffRequest } from '../../../cluster/api/snapshot-diff.ts'
import type { ControlClient } from '../../../cluster/api/client.ts'
import { metadataAllocated, metadataDelta } from '../../../csi/controller/snapshot-metadata.ts'
import type { BlockMetadata, MetadataPart } from '../../../csi/messages.ts'
import { snapshotHandle } from '../../../csi/names.ts'
import { HoldfastError } from '../../../engine/errors.ts'

const BLOCK = 4096
const BLOCKS = 64
const CAPACITY = BLOCKS * BLOCK
const VOLUMES = ['a', 'b'].map((digit) => digit.repeat(32)) as [string, string]
const IDS = ['1', '2'].map((digit) => digit.repeat(32)) as [string, string]

const api = {
  getSnapshot: async ({ volume, name }: { volume: string; name: string }) => {
    if (!VOLUMES.includes(volume) || !IDS.includes(name)) {
      throw new HoldfastError('snapshot-not-found', { volume, snapshot: name })
    }
    return { volume: `v-${volume[0]}`, volumeId: volume, id: name, name: 's', sizeBytes: CAPACITY }
  },
} as unknown as ControlClient

const handle = (volume: 0 | 1, id: 0 | 1): string => snapshotHandle({ volumeId: VOLUMES[volume], snapshotId: IDS[id] })

const asked: DiffRequest[] = []
const diffOf = (written: readonly boolean[]) => async function* (request: DiffRequest): AsyncGenerator<DiffPart> {
  asked.push(request)
  for (let i = 0; i < written.length; i += 5) {
    const blocks = written.slice(i, i + 5).flatMap((isWritten, j) => (isWritten ? [i + j] : []))
    const [offsetBytes, lengthBytes] = [blocks.map((block) => block * BLOCK), blocks.map(() => BLOCK)]
    yield { offsetBytes, lengthBytes, kinds: blocks.map((block) => 1 + (block % 3)) }
  }
}

async function all(parts: AsyncIterable<MetadataPart>): Promise<MetadataPart[]> {
  const found: MetadataPart[] = []
  for await (const part of parts) found.push(part)
  return found
}

t.test('ranges tile what is told, and go on where they were cut off', async (t) => {
  const written = fc.array(fc.boolean(), { minLength: BLOCKS, maxLength: BLOCKS })
  const from = fc.integer({ min: 0, max: CAPACITY })
  const length = fc.integer({ min: 0, max: 4 })
  await fc.assert(fc.asyncProperty(written, from, length, async (blocks, startingOffset, most) => {
    const options = { api, diff: diffOf(blocks) }
    const request = { snapshotId: handle(0, 0), startingOffset, maxResults: most }
    const parts = await all(metadataAllocated(options, request))
    const told: boolean[] = Array(CAPACITY / 512).fill(false)
    let end = startingOffset
    for (const { blockMetadata, volumeCapacityBytes, blockMetadataType } of parts) {
      t.ok(blockMetadata.length > 0 && (most === 0 || blockMetadata.length <= most))
      t.same({ volumeCapacityBytes, blockMetadataType }, {
        volumeCapacityBytes: CAPACITY, blockMetadataType: 'VARIABLE_LENGTH',
      })
      for (const { byteOffset, sizeBytes } of blockMetadata) {
        t.ok(byteOffset >= end && sizeBytes > 0)
        end = byteOffset + sizeBytes
        for (let at = Math.ceil(byteOffset / 512); at * 512 < end; at++) told[at] = true
      }
    }
    const wanted = told.map((_, at) => blocks[Math.floor((at * 512) / BLOCK)]! && at * 512 >= startingOffset)
    t.same(told, wanted)
  }), { numRuns: 100 })
})

t.test('ranges that touch are one', async (t) => {
  const written = [true, true, false, true, true, true, true, false]
  const parts = await all(metadataAllocated(
    { api, diff: diffOf(written) }, { snapshotId: handle(0, 0), startingOffset: 0, maxResults: 0 },
  ))
  const ranges: BlockMetadata[] = [[0, 2], [3, 4]].map(([at, count]) =>
    ({ byteOffset: at! * BLOCK, sizeBytes: count! * BLOCK }))
  t.same(parts.map(({ blockMetadata }) => blockMetadata), [ranges])
})

t.test('a difference is of two snapshots of one volume', async (t) => {
  const options = { api, diff: diffOf([true]) }
  const delta = (base: string, target: string, startingOffset = 0) => all(metadataDelta(options, {
    baseSnapshotId: base, targetSnapshotId: target, startingOffset, maxResults: 0,
  }))
  t.equal((await delta(handle(0, 0), handle(0, 1))).length, 1)
  t.same(asked.at(-1), { volume: VOLUMES[0], snapshot: IDS[1], since: IDS[0] })
  await t.rejects(delta(handle(0, 0), handle(1, 0)), { code: 3, message: /two volumes \(v-a and v-b\)/ })
  await t.rejects(delta('', handle(0, 0)), { code: 3 })
  await t.rejects(delta(handle(0, 0), ''), { code: 3 })
  await t.rejects(delta(handle(0, 0), 'foreign'), { code: 5 })
  await t.rejects(delta(handle(0, 0), handle(0, 1), CAPACITY + 1), { code: 11, message: /ends at byte 262144/ })
  await t.rejects(delta(handle(0, 0), handle(0, 1), -1), { code: 11 })
})
