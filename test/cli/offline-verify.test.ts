/** Verify finds every damage that matters and nothing where there is none; inspect shows what stands there. */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { openDiskFile } from '../../dataplane/disk/disk-file.ts'
import { superblockOffsetBytes } from '../../engine/log/geometry.ts'
import { MIB } from '../../engine/units.ts'
import { controlItem, descriptorOf, leafItem, OfflineDisk, SEGMENT_BYTES, writeItem, zeroItem } from './offline-disk.ts'
import { offline, salvage, stampsOf } from './offline-run.ts'

const VOLUME = 'aa'.repeat(16)
const DISK = 'd1'.repeat(16)
const SEGMENT_AT = (segment: number): number => 2 * MIB + segment * SEGMENT_BYTES

/** Ten batches in two segments, durable, one block of data dead. */
function sample() {
  const disk = new OfflineDisk({ diskUuid: DISK })
  const snapshots = [{ id: 's1', seq: 2, pinnedBy: null }]
  disk.open(0)
  disk.append([controlItem(descriptorOf(VOLUME, { name: 'data', slices: [[DISK, 0, [[0, 1, 1]]]], snapshots }))])
  const first = disk.append([writeItem(VOLUME, { lba: 0, seq: 2 }, [1, 2, 3])])
  const dead = disk.append([writeItem(VOLUME, { lba: 4, seq: 3 }, [7])])
  const live = disk.append([writeItem(VOLUME, { lba: 0, seq: 4 }, [11]), writeItem(VOLUME, { lba: 4, seq: 5 }, [8])])
  disk.seal()
  disk.open(2)
  const zero = zeroItem(VOLUME, { lba: 6, blocks: 2, seq: 7 })
  const open = disk.append([writeItem(VOLUME, { lba: 5, seq: 6 }, [9]), zero])
  disk.root({ watermarkBatch: 5 })
  return { disk, first, dead, live, open }
}

interface Report {
  clean: boolean
  disks: Array<{ damages: string[] }>
  volumes: Array<{ view: string; damagedBlocks: number; liveBlocks: number }>
}

const verify = async (folder: string, disk: OfflineDisk) => {
  const said = await offline('verify', disk.save(folder))
  return { ...said, value: said.value as Report }
}

t.test('a whole disk is clean, its dead blocks are not looked at', async (t) => {
  const { disk, dead } = sample()
  disk.rot(dead.payloadBytesAt)
  const { code, value } = await verify(t.testdir(), disk)
  t.equal(code, 0)
  t.match(value, { clean: true, batches: 5, volumes: [
    { name: 'data', view: 'head', liveBlocks: 5, damagedBlocks: 0 },
    { name: 'data', view: 'snapshot s1', liveBlocks: 1, damagedBlocks: 0 },
  ] })
})

t.test('a list of snapshots in leaves is read whole; what is lost of it is said', async (t) => {
  const make = () => {
    const disk = new OfflineDisk({ diskUuid: DISK })
    const named = { name: 'data', slices: [[DISK, 0, [[0, 1, 1]]] as [string, number, [number, number, number][]]] }
    disk.open(0)
    disk.append([controlItem(descriptorOf(VOLUME, named)), writeItem(VOLUME, { lba: 0, seq: 2 }, [1])])
    const first = leafItem(VOLUME, { revision: 2, seq: 3 }, [{ id: 's3', seq: 3, pinnedBy: null }])
    const second = leafItem(VOLUME, { revision: 3, seq: 4 }, [{ id: 's4', seq: 4, pinnedBy: null }])
    const placed = disk.append([first.item])
    disk.append([second.item])
    const snapshots = [{ id: 's5', seq: 5, pinnedBy: null }]
    const leaves = [first.name, second.name]
    disk.append([controlItem(descriptorOf(VOLUME, { ...named, revision: 4, seq: 5, snapshots, leaves }))])
    disk.root({ watermarkBatch: 4 })
    return { disk, placed }
  }
  const viewsOf = (value: Report): string[] => value.volumes.map(({ view }) => view)
  const whole = await verify(t.testdir(), make().disk)
  t.equal(whole.code, 0)
  t.same(viewsOf(whole.value), ['head', 'snapshot s3', 'snapshot s4', 'snapshot s5'])
  const { disk, placed } = make()
  disk.rot(placed.payloadBytesAt)
  const lost = await verify(t.testdir(), disk)
  t.equal(lost.code, 1)
  t.same(viewsOf(lost.value), ['head', 'snapshot s4', 'snapshot s5'], 'the others are there')
  t.match(lost.value.disks[0]!.damages.join(), '1 of 2 parts of the list of snapshots of volume data are lost')
})

t.test('rot of a block is counted for the views that see it', async (t) => {
  const { disk, first } = sample()
  disk.rot(first.payloadBytesAt)
  const { code, value } = await verify(t.testdir(), disk)
  t.equal(code, 1)
  t.match(value.volumes, [{ view: 'head', damagedBlocks: 0 }, { view: 'snapshot s1', damagedBlocks: 1 }])
})

t.test('every sector of every structure: damage is found, and no wrong byte is salvaged', async (t) => {
  const { disk: whole, first, live, open, dead } = sample()
  const folder = t.testdir()
  const structures: Record<string, number> = {
    ...Object.fromEntries([0, 1, 2, 3].map((i) => [`superblock ${i}`, superblockOffsetBytes(i)])),
    'segment header': SEGMENT_AT(0), 'summary': SEGMENT_AT(1) - 8192, 'trailer': SEGMENT_AT(1) - 4096,
    'open header': SEGMENT_AT(2),
    'batch 2': first.headerBytesAt, 'batch 3': dead.headerBytesAt, 'batch 4': live.headerBytesAt,
    'open batch': open.headerBytesAt,
    'data': live.payloadBytesAt, 'shared data': first.payloadBytesAt + 4096, 'open data': open.payloadBytesAt,
  }
  const expected = [11, 2, 3, 0, 8, 9, 0, 0]
  for (const [name, at] of Object.entries(structures)) {
    for (let sector = at; sector < at + 4096; sector += 512) {
      for (const fill of [0, 0xff, undefined]) {
        const { disk } = sample()
        if (fill === undefined) disk.rot(sector + 20)
        else disk.bytes.fill(fill, sector, sector + 512)
        if (Buffer.compare(disk.bytes, whole.bytes) === 0) continue
        const file = disk.save(folder)
        const where = `${name}, sector ${(sector - at) / 512}, ${fill ?? 'one bit'}`
        const { image, ranges } = await salvage(folder, [file], 'data')
        const isMarked = (lba: number): boolean =>
          ranges.some((r) => r.offsetBytes <= lba * 4096 && lba * 4096 < r.offsetBytes + r.lengthBytes)
        const isWrong = (stamp: number, lba: number): boolean => stamp !== expected[lba] && !isMarked(lba)
        const wrong = stampsOf(image, 8).flatMap((stamp, lba) => isWrong(stamp, lba) ? [lba] : [])
        if (wrong.length > 0) t.fail(`${where}: blocks ${wrong.join()} are wrong and not in the damage map`)
        // Padding behind a header and the part of a summary block that no entry fills are covered by no checksum.
        const isPadding = sector > at && /batch|summary/.test(name)
        const { code } = await offline('verify', file)
        if (code === 0 && !isPadding) t.fail(`${where}: verify says clean`)
        for (const left of fs.readdirSync(folder)) fs.unlinkSync(path.join(folder, left))
      }
    }
  }
  t.pass('looked at all of them')
})

t.test('a daemon on the disk is warned of, and the tool goes on', async (t) => {
  const { disk } = sample()
  const file = disk.save(t.testdir())
  const held = openDiskFile(file)
  if (!held.ok) throw held.error
  const { notes, code } = await offline('verify', file)
  fs.closeSync(held.value.fd)
  t.match(notes, [/a daemon uses/])
  t.equal(code, 0)
  t.same((await offline('verify', file)).notes, [])
})

t.test('a newer format is refused by its version', async (t) => {
  const { disk } = sample()
  const { seal } = await import('../../engine/log/block-seal.ts')
  const { crc32c } = await import('../../dataplane/checksum.ts')
  const block = new Uint8Array(disk.bytes.subarray(0, 4096))
  block[8] = 7
  seal(block, crc32c)
  disk.bytes.set(block, 0)
  t.match(await verify(t.testdir(), disk), { errorCode: 'format-newer', refusal: /version 7/ })
})

t.test('inspect shows the superblock without the salt', async (t) => {
  const { disk } = sample()
  const file = disk.save(t.testdir())
  const { text, value } = await offline('inspect', 'superblock', file)
  t.match(text.join('\n'), /copies +0 valid, 1 valid, 2 valid, 3 valid/)
  const streams = [{ watermarkBatch: 5 }, { state: 'no root' }]
  t.match(value, { superblock: { diskUuid: DISK, nodeName: 'n1' }, streams })
  t.notMatch(JSON.stringify(value), /"salt"/)
})

t.test('inspect shows a segment with its records', async (t) => {
  const { disk } = sample()
  const file = disk.save(t.testdir())
  const { value } = await offline('inspect', 'segment', file, '0', '--records')
  t.match(value, { state: 'sealed', trailer: { batchCount: 4 }, batches: [
    { batch: 1, records: [{ kind: 'control', operation: 'change', descriptor: { spec: { name: 'data' } } }] },
    { batch: 2, records: [{ kind: 'write', lba: 0, blockCount: 3, seq: 2 }] }, { batch: 3 }, { batch: 4 },
  ] })
  t.notMatch(JSON.stringify(value), /"salt"/)
  t.match((await offline('inspect', 'segment', file, '1')).text.join('\n'), /free/)
  for (const bad of ['12', '-1', 'x', '']) t.ok((await offline('inspect', 'segment', file, bad)).refusal, bad)
})

t.test('inspect shows the extent map, in parts when that is asked for', async (t) => {
  const { disk } = sample()
  const file = disk.save(t.testdir())
  const map = (...more: string[]) => offline('inspect', 'extent-map', file, '--volume', 'data', ...more)
  t.match((await map()).value, { dataBytes: 5 * 4096, extents: [
    { offsetBytes: 0, lengthBytes: 4096, segment: 0, seq: 4 }, { offsetBytes: 4096, lengthBytes: 8192, seq: 2 },
    { offsetBytes: 16384, seq: 5 }, { offsetBytes: 20480, segment: 2 },
  ], nextOffsetBytes: null })
  const part = await map('--from', '4096', '--limit', '1')
  t.match(part.value, { extents: [{ offsetBytes: 4096 }], nextOffsetBytes: 16384 })
  t.match(part.text.at(-1), /--from 16384/)
})

t.test('what cannot work is one sentence', async (t) => {
  const { disk } = sample()
  const file = disk.save(t.testdir())
  const cases: Array<[RegExp, 'inspect' | 'verify', ...string[]]> = [
    [/inspect what/, 'inspect'], [/cannot be inspected/, 'inspect', 'toString', file],
    [/PATH is missing/, 'inspect', 'segment'],
    [/one word too many/, 'inspect', 'superblock', file, file], [/--volume is missing/, 'inspect', 'extent-map', file],
    [/unknown option --fix/, 'verify', file, '--fix'], [/PATH is missing/, 'verify'],
    [/not a whole number/, 'inspect', 'extent-map', file, '--volume', 'data', '--from', '1k'],
  ]
  for (const [refusal, tool, ...words] of cases) t.match((await offline(tool, ...words)).refusal, refusal)
  for (const tool of ['inspect', 'verify', 'salvage'] as const) t.equal((await offline(tool, '--help')).code, 0)
})
