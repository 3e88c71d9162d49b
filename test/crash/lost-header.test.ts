/**
 * A power cut may leave any of the writes no sync has covered, so also the end of a segment without its start
 * (FORMAT.md 2.1). The header then still says free, of the former use, though the present one left traces:
 *
 *   only the seal was left       the generation is used up; taken again under the same one, the old seal would count
 *                                for the new use (found by test/crash/run.ts, plain, seed 1489)
 *   the batches, no header       they may be kept, then the segment is in use: for a rebuild and for the offline tools
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import { readFrame, readRoot, type LogDisk } from '../../engine/log/disk-reader.ts'
import { segmentOffsetBytes } from '../../engine/log/geometry.ts'
import { scanLog } from '../../engine/log/scan.ts'
import { encodeSeal, encodeSegmentHeader } from '../../engine/log/segment.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { DiskImage } from '../sim/disk-image.ts'
import { StoreWorld } from '../sim/store-world.ts'
import { hasRefused, openStore, ScriptedWork, thaw, workVolume, type Frozen } from './scripted-work.ts'

t.setTimeout(600_000)

const SEGMENTS = 14
const SEGMENT_BYTES = 64 * 1024
const DISK_UUID = '1'.padStart(32, '0')
const frame = { streamId: 0, diskUuid: DISK_UUID }

interface Scene {
  world: StoreWorld
  work: ScriptedWork
}

function makeScene(): Scene {
  const world = new StoreWorld({
    seed: 1,
    segments: SEGMENTS,
    segmentBytes: SEGMENT_BYTES,
    checkpointBytes: 128 * 1024,
    pendingMax: 60,
    pagesMax: 3,
  })
  openStore(world)
  const work = new ScriptedWork(1, [workVolume('a', 1, [[0, 30]]), workVolume('b', 2, [[244, 26]])])
  work.run(world, { rounds: 40 })
  return { world, work }
}

/** What the media hold now; the world goes on. */
const frozenNow = (world: StoreWorld): Frozen => ({
  options: world.options,
  disks: world.disks.map((disk) => disk.image({ kind: 'all' })),
  indexes: world.indexes.map((index) => index.image({ kind: 'synced' })),
})

function logDisk(image: DiskImage): LogDisk {
  const read = (offsetBytes: number, lengthBytes: number): Uint8Array => {
    const bytes = new Uint8Array(lengthBytes)
    image.read(offsetBytes, bytes)
    return bytes
  }
  const [segmentBytes, segmentCount] = [SEGMENT_BYTES, SEGMENTS]
  return { read, crc32c, diskUuid: DISK_UUID, segmentBytes, segmentCount, streamCount: 1 }
}

function put(image: DiskImage, offsetBytes: number, bytes: Uint8Array): void {
  const count = bytes.length / BLOCK_BYTES
  image.apply(
    offsetBytes,
    Array.from({ length: count }, (_, i) => bytes.slice(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)),
  )
}

for (const lost of [false, true])
  t.test(`a seal without its header and batches, index ${lost ? 'lost' : 'there'}`, (t) => {
    const { world, work } = makeScene()
    const [stream] = world.store!.streams()
    const { segments, log, context } = stream!
    const frozen = frozenNow(world)
    const disk = logDisk(frozen.disks[0]!)
    const { incarnation } = readRoot(disk, 0)!
    const isFree = (segment: number): boolean =>
      segments.state[segment] === SEGMENT_STATE.none && readFrame(disk, segment).header?.free === true
    const segment = Array.from({ length: SEGMENTS }, (_, i) => i).find(isFree)!
    t.ok(segment >= 0, `segment ${segment} was given back`)
    const generation = context.grants.generation(segment) + 1
    const seal = encodeSeal(
      {
        ...frame,
        segment,
        generation,
        firstBatch: log.nextBatch,
        incarnation,
        endBlock: 10,
        flags: 0,
        entries: [{ startBlock: 1, headerCrc: 1, batch: log.nextBatch, headerBlocks: 1 }],
      },
      crc32c,
    )
    put(frozen.disks[0]!, segmentOffsetBytes(SEGMENT_BYTES, segment + 1) - seal.length, seal)

    const after = thaw(frozen, { seed: 2, lost })
    openStore(after)
    t.notOk(hasRefused(after), 'the disk is served')
    t.same(work.readBack(after).wrong, [], 'and reads right')
    // Every state of the segment while it is used for the first time again.
    const uses: Array<{ cut: Frozen; of: number }> = []
    const seen = new Set<string>()
    const media = after.disks[0]!
    media.onOperation = (what) => {
      if (what !== 'write-end') return
      const cut = frozenNow(after)
      const { header, trailer, first } = readFrame(logDisk(cut.disks[0]!), segment)
      const isSealed = trailer !== undefined && trailer.firstBatch === header?.firstBatch
      const state = `${header?.generation} ${first?.batch} ${isSealed}`
      if (header?.free !== false || seen.has(state) || uses.length > 5) return
      seen.add(state)
      uses.push({ cut, of: header.generation })
    }
    new ScriptedWork(2, [workVolume('c', 1, [[0, 30]])]).run(after, { rounds: 40 })
    t.ok(uses.length > 2, 'the segment was used again')
    for (const { cut, of } of uses) {
      t.ok(of > generation, `under generation ${of}, not ${generation}`)
      const rebuilt = thaw(cut, { seed: of, lost: true })
      openStore(rebuilt)
      t.notOk(hasRefused(rebuilt), rebuilt.store!.disks()[0]!.reason || 'it is served after a crash')
      t.same(work.readBack(rebuilt).wrong, [], 'and reads right')
    }
    t.end()
  })

t.test('batches without their header', (t) => {
  const { world, work } = makeScene()
  const [stream] = world.store!.streams()
  const { openSegment: segment } = stream!.log
  t.ok(segment >= 0 && stream!.segments.lastBatch[segment]! >= stream!.segments.firstBatch[segment]!, 'one is open')
  const generation = stream!.segments.generation[segment]!
  const frozen = frozenNow(world)
  const free = { ...frame, segment, generation: generation - 1, firstBatch: 0, incarnation: 0, free: true }
  t.ok(generation > 1, 'it was used before')
  const headerAt = segmentOffsetBytes(SEGMENT_BYTES, segment)
  put(frozen.disks[0]!, headerAt, encodeSegmentHeader(free, crc32c))
  const found = scanLog(logDisk(frozen.disks[0]!)).segments.find((one) => one.segment === segment)
  t.ok(found !== undefined && found.batches.length > 0, 'the offline tools find them')

  for (const lost of [false, true]) {
    const after = thaw(frozen, { seed: 3, lost })
    openStore(after)
    t.notOk(hasRefused(after), `index lost ${lost}: the disk is served`)
    t.same(work.readBack(after).wrong, [], 'and reads right')
    const then = frozenNow(after)
    const { header, trailer } = readFrame(logDisk(then.disks[0]!), segment)
    t.match(header, { generation, free: false }, 'the header is there again')
    t.match(trailer, { generation }, 'and the seal')
    // A damaged seal is seen as such: without the header the segment would pass for a free one.
    put(then.disks[0]!, segmentOffsetBytes(SEGMENT_BYTES, segment + 1) - BLOCK_BYTES, new Uint8Array(BLOCK_BYTES))
    const rotten = thaw(then, { seed: 4, lost: true })
    openStore(rotten)
    t.ok(hasRefused(rotten), 'a lost seal is damage')
    t.same(work.readBack(rotten).wrong, [], 'nothing older is read')
  }
  t.end()
})
