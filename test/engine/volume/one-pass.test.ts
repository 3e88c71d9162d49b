/**
 * A deep scrub looks at what describes a segment with the blocks beside it: each damaged header is found, each once,
 * by reads that bring hardly more than what lies there; and what it did not come by is left to others.
 */
import t from 'tap'
import { headerBlocksFor, peekBatchHeader } from '../../../engine/log/batch.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { checkSegment, isCheckable, type StructureDamage } from '../../../engine/log/structure-check.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import { runTask } from '../../../engine/task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS } from '../../../engine/units.ts'
import { CopyScrub } from '../../../engine/volume/copy-scrub.ts'
import { CopyWorld, mixedWrite, write } from '../../sim/copy-world.ts'
import { importMutant, type Edit } from '../../sim/mutants.ts'
import { Random } from '../../sim/random.ts'

const SEEDS = 12
const LEAST_HEADER_BYTES = 192

interface Scene {
  world: CopyWorld
  stream: StoreStream
  random: Random
}

/** A volume that was overwritten block by block, so that each batch has a header, beside its blocks. */
function begin(seed: number, segmentBytes?: number): Scene {
  const random = new Random(`one pass ${seed}`)
  const bytes = segmentBytes ?? random.pick([128 * 1024, 256 * 1024, 2 << 20])
  const world = new CopyWorld(
    { seed, segmentBytes: bytes, segments: Math.ceil((24 << 20) / bytes), checkpointBytes: 1 << 20 },
    { sizeBytes: 64 << 20 },
  )
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq < 900; seq++) {
    const lba = Math.floor(random.float() * 8) * PAGE_BLOCKS + Math.floor(random.float() * 100)
    const count = random.pick([1, 1, 1, 4])
    const stamps = Array.from({ length: count }, (_, i) => seq * 16 + i)
    world.append(random.chance(0.7) ? write(1, seq, lba, stamps) : mixedWrite(1, seq, lba, stamps))
    if (random.chance(0.6)) world.settle()
    world.copy.apply(world.storedSeq, {})
  }
  world.settle()
  world.copy.apply(899, {})
  world.drained()
  return { world, stream: world.world.store!.streams()[0]!, random }
}

interface Scrubbed {
  damages: StructureDamage[]
  /** By segment: how often it was looked at. */
  looks: Map<number, number>
  readBytes: number
  blocks: number
  damagedBlocks: number
}

function scrub({ world, stream }: Scene, Scrub = CopyScrub): Scrubbed {
  const found: Scrubbed = { damages: [], looks: new Map(), readBytes: 0, blocks: 0, damagedBlocks: 0 }
  const one = new Scrub(world.copy, {
    wallMs: () => 1_000_000,
    pace: (bytes, go) => {
      found.readBytes += bytes
      go(true)
    },
    structures: {
      isWanted: (_stream, segment) => isCheckable(stream, segment) && !found.looks.has(segment),
      looked: (_stream, segment, damages) => {
        found.looks.set(segment, (found.looks.get(segment) ?? 0) + 1)
        found.damages.push(...damages)
      },
    },
    onProblem: (problem) => {
      throw new Error(problem)
    },
  })
  let isOver = false
  runTask(one.openTask(), () => runTask(one.passTask('deep', () => 'anew'), () => (isOver = true)))
  world.world.clock.runUntil(() => isOver)
  found.blocks = one.summary('deep').counts.blocks
  found.damagedBlocks = one.summary('deep').counts.damaged
  return found
}

const sealedOf = ({ stream }: Scene): number[] =>
  [...stream.segments.state.keys()].filter((segment) => isCheckable(stream, segment))

/** By the bytes of a segment: where its batches begin, and where the last one ends. */
function batchesOf({ world, stream }: Scene, segment: number): { starts: number[]; endBlock: number } {
  const { segmentBytes, diskTag } = stream.context
  const generation = stream.segments.generation[segment]!
  const bytes = world.world.disks[0]!.peek(segmentOffsetBytes(segmentBytes, segment), segmentBytes)
  const starts: number[] = []
  let startBlock = 1
  for (;;) {
    const at = bytes.subarray(startBlock * BLOCK_BYTES)
    const header = at.length < BLOCK_BYTES
      ? undefined : peekBatchHeader(at, { diskTag, segment, generation, startBlock })
    if (header === undefined || headerBlocksFor(header.headerBytes) > header.totalBlocks) break
    starts.push(startBlock)
    startBlock += header.totalBlocks
  }
  return { starts, endBlock: startBlock }
}

const nameOf = ({ segment, block, what }: StructureDamage): string => `${segment} ${block} ${what}`

/** Damage some of them. @returns as a check has to say it */
function rot(scene: Scene): Set<string> {
  const { world, stream, random } = scene
  const { segmentBytes } = stream.context
  const last = segmentBytes / BLOCK_BYTES - 1
  const damaged = new Set<string>()
  for (const segment of sealedOf(scene)) {
    if (stream.segments.live[segment] === 0 || random.chance(0.4)) continue
    const at = (block: number): number => segmentOffsetBytes(segmentBytes, segment) + block * BLOCK_BYTES
    const hurt = (block: number, what: StructureDamage['what']): void => {
      const [disk] = world.world.disks
      // Of a header with one record; what fills the block is in no checksum.
      const bytesOf = (): string => Buffer.from(disk!.peek(at(block), LEAST_HEADER_BYTES)).toString('latin1')
      const before = bytesOf()
      while (bytesOf() === before) disk!.damage(at(block), 'flip')
      damaged.add(nameOf({ segment, block, what }))
    }
    if (random.chance(0.3)) hurt(0, 'segment header')
    if (random.chance(0.1)) hurt(last, 'trailer')
    else for (const start of batchesOf(scene, segment).starts) if (random.chance(0.1)) hurt(start, 'batch header')
  }
  return damaged
}

/** What is wrong with a scrub that looks at damaged headers. */
function wrong(seed: number, Scrub = CopyScrub): string | undefined {
  const scene = begin(seed)
  const expected = rot(scene)
  const { damages, damagedBlocks, looks } = scrub(scene, Scrub)
  const found = damages.map(nameOf)
  for (const name of expected) if (!found.includes(name)) return `${name} is not found`
  if (found.length !== expected.size) return `${found.length} are told, ${expected.size} are damaged`
  for (const [segment, count] of looks) if (count !== 1) return `segment ${segment} is looked at ${count} times`
  for (const segment of sealedOf(scene))
    if (scene.stream.segments.live[segment]! > 0 && !looks.has(segment)) return `segment ${segment} is left out`
  if (scene.stream.segments.readers.some((readers) => readers !== 0)) return 'a segment is held for ever'
  return damagedBlocks === 0 ? undefined : `${damagedBlocks} blocks are called damaged`
}

t.test('each damaged header is found once, and no block is called damaged for it', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) t.equal(wrong(seed), undefined, `seed ${seed}`)
  t.end()
})

t.test('where headers lie beside their blocks they cost no read of their own', (t) => {
  const scene = begin(99, 2 << 20)
  let usedBlocks = 0
  for (const segment of sealedOf(scene))
    if (scene.stream.segments.live[segment]! > 0) usedBlocks += batchesOf(scene, segment).endBlock
  const { readBytes, looks } = scrub(scene)
  t.ok(looks.size > 1, `${looks.size} segments`)
  const { stream } = scene
  const open = [...stream.segments.live.keys()].filter((segment) => !isCheckable(stream, segment))
  const openBytes = open.reduce((sum, segment) => sum + 2 * 64 * stream.segments.live[segment]!, 0)
  const tailBytes = looks.size * 4 * BLOCK_BYTES
  const most = usedBlocks * BLOCK_BYTES + openBytes + tailBytes
  t.ok(readBytes <= most, `${readBytes} bytes are read, ${most} lie there`)
  let aloneBytes = 0
  function* wait(bytes: number): Generator<never, boolean, unknown> {
    aloneBytes += bytes
    return true
  }
  for (const segment of sealedOf(scene)) {
    let isOver = false
    runTask(checkSegment(stream, segment, { wait, blocksMost: () => 256 }), () => (isOver = true))
    scene.world.world.clock.runUntil(() => isOver)
  }
  t.ok(aloneBytes > 0.7 * usedBlocks * BLOCK_BYTES, `${aloneBytes} bytes by themselves`)
  t.end()
})

const READS = 'engine/volume/place-reads.ts'
const PLANTED: Array<Edit & { name: string }> = [
  {
    name: 'headers of the last stretch are left out',
    file: READS,
    replace: 'const endBlock = stretch === last ? Infinity : (stretch + 1) * STRETCH_BLOCKS',
    by: 'const endBlock = stretch * STRETCH_BLOCKS',
  },
  {
    name: 'of a read the first header is looked at',
    file: READS,
    replace: 'for (const header of headers) if',
    by: 'for (const header of headers.slice(0, 1)) if',
  },
  {
    name: 'headers that do not fit are told to nobody',
    file: READS,
    replace: 'look.suspects.push(header)',
    by: 'void header',
  },
  {
    name: 'a segment is held for ever',
    file: READS,
    replace: '      first.structures.close()\n',
    by: '',
  },
  {
    name: 'the last segment is not told',
    file: READS,
    replace: '((yield* this.settle()) && (yield* this.endLooks()))',
    by: '(yield* this.settle())',
  },
  {
    name: 'a header of another batch is taken for it',
    file: 'engine/log/structure-check.ts',
    replace: 'header?.headerCrc === entry.headerCrc && checkBatchHeader(bytes, crc32c)',
    by: 'header !== undefined',
  },
]

for (const planted of PLANTED)
  t.test(`planted: ${planted.name}`, async (t) => {
    const mutant = await importMutant<{ CopyScrub: typeof CopyScrub }>(planted, 'engine/volume/copy-scrub.ts')
    let seed = 1
    while (seed <= SEEDS && wrong(seed, mutant.CopyScrub) === undefined) seed++
    t.ok(seed <= SEEDS, `hunted in ${Math.min(seed, SEEDS)} seeds`)
    t.end()
  })
