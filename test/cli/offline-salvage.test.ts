/** Salvage gives back the head of a volume from the log alone, and says where it cannot be trusted. */
import fs from 'node:fs'
import { mock } from 'node:test'
import path from 'node:path'
import t from 'tap'
import { MIB } from '../../engine/units.ts'
import { controlItem, descriptorOf, OfflineDisk, writeItem, zeroItem } from './offline-disk.ts'
import { offline, salvage, stampsOf } from './offline-run.ts'

const VOLUME = 'aa'.repeat(16)
const OTHER = 'bb'.repeat(16)
const DISK = 'd1'.repeat(16)
const DISK2 = 'd2'.repeat(16)
const onDisk = (diskUuid: string, generation = 1): [string, number, Array<[number, number, number]>] =>
  [diskUuid, 0, [[0, 1, generation]]]
const data = (change = {}) => descriptorOf(VOLUME, { name: 'data', slices: [onDisk(DISK)], ...change })

t.test('versions are ordered by epoch and seq, copies and trims included', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(3)
  disk.append([controlItem(data())])
  disk.append([writeItem(VOLUME, { lba: 0, seq: 2 }, [1, 2, 3, 4]), writeItem(VOLUME, { lba: 4, seq: 3 }, [5])])
  const trimItem = zeroItem(VOLUME, { lba: 2, blocks: 2, seq: 4, trim: true })
  disk.append([writeItem(VOLUME, { lba: 1, seq: 5 }, [22]), trimItem])
  disk.seal()
  disk.open(7)
  disk.append([writeItem(VOLUME, { lba: 0, seq: 2, moved: true }, [1, 2])])
  disk.append([writeItem(VOLUME, { lba: 3, seq: 6 }, [44]), writeItem(OTHER, { lba: 0, seq: 9 }, [99])])
  disk.append([zeroItem(VOLUME, { lba: 4, blocks: 252, seq: 7 }), writeItem(VOLUME, { lba: 255, seq: 8 }, [77])])
  const { image, code, ranges } = await salvage(folder, [disk.save(folder)], 'data')
  t.equal(code, 0)
  t.same(ranges, [])
  t.equal(image.length, MIB)
  t.same(stampsOf(image, 6), [1, 22, 0, 44, 0, 0])
  t.same(stampsOf(image, 256).slice(5), [...new Array(250).fill(0), 77])
})

t.test('records cut by a later epoch, or of an older placing of their slice, count for nothing', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  const placed = { sliceGeneration: 2 }
  disk.append([writeItem(VOLUME, { lba: 0, seq: 2, ...placed }, [1])])
  disk.append([writeItem(VOLUME, { lba: 1, seq: 3, ...placed }, [2])])
  disk.append([writeItem(VOLUME, { lba: 1, seq: 9, ...placed }, [66]), writeItem(VOLUME, { lba: 2, seq: 3 }, [67])])
  const epochs = [[1, 1], [2, 4]]
  disk.append([controlItem(data({ epoch: 2, epochs, slices: [onDisk(DISK, 2)], revision: 2, seq: 4 }))])
  disk.append([writeItem(VOLUME, { lba: 3, seq: 5, epoch: 2, sliceGeneration: 2 }, [4])])
  const { image, ranges } = await salvage(folder, [disk.save(folder)], VOLUME)
  t.same(stampsOf(image, 5), [1, 2, 0, 4, 0])
  t.same(ranges, [])
})

t.test('a rollback hides what came between', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([writeItem(VOLUME, { lba: 0, seq: 2 }, [1, 2]), writeItem(VOLUME, { lba: 0, seq: 5 }, [55])])
  const snapshots = [{ id: 's1', seq: 3, pinnedBy: null }]
  disk.append([controlItem(data({ rollbacks: [[3, 6]], snapshots, revision: 2, seq: 6 }))])
  disk.append([writeItem(VOLUME, { lba: 1, seq: 7 }, [22])])
  t.same(stampsOf((await salvage(folder, [disk.save(folder)], 'data')).image, 3), [1, 22, 0])
})

t.test('slices spread over disks come together; a disk that is not given is named', async (t) => {
  const folder = t.testdir()
  const descriptor = data({
    sizeBytes: 1025 * MIB, slices: [onDisk(DISK), [DISK2, 0, [[1, 1, 1]]]],
  })
  const [one, two] = [new OfflineDisk({ diskUuid: DISK }), new OfflineDisk({ diskUuid: DISK2 })]
  one.open(0)
  one.append([controlItem(descriptor), writeItem(VOLUME, { lba: 5, seq: 2 }, [1])])
  two.open(0)
  two.append([controlItem(descriptor), writeItem(VOLUME, { lba: 262144, seq: 3 }, [2])])
  const paths = [one.save(folder, 'one'), two.save(folder, 'two')]
  const both = await salvage(folder, paths, 'data')
  t.equal(both.code, 0)
  t.same([both.image[5 * 4096], both.image[262144 * 4096]], [1, 2])
  t.ok(fs.statSync(path.join(folder, 'image-2')).blocks < 1000, 'the image is sparse')
  const alone = await salvage(folder, [paths[0]!], 'data')
  t.equal(alone.code, 1)
  t.match(alone.ranges, [{ offsetBytes: 1024 * MIB, lengthBytes: MIB, reason: 'missing-disk', detail: DISK2 }])
})

t.test('a torn tail is cut, also when later batches are whole', async (t) => {
  const build = () => {
    const disk = new OfflineDisk({ diskUuid: DISK })
    disk.open(0)
    disk.append([controlItem(data()), writeItem(VOLUME, { lba: 0, seq: 2 }, [1])])
    const torn = disk.append([writeItem(VOLUME, { lba: 0, seq: 3 }, [2])], { durableBatch: 1 })
    disk.append([writeItem(VOLUME, { lba: 1, seq: 4 }, [3])], { durableBatch: 1 })
    return { disk, torn }
  }
  const tears: Record<string, (made: ReturnType<typeof build>) => void> = {
    'its header is missing': ({ disk, torn }) => disk.erase(torn.headerBytesAt),
    'its header is torn': ({ disk, torn }) => disk.rot(torn.headerBytesAt + 100),
    'its payload is torn': ({ disk, torn }) => disk.rot(torn.payloadBytesAt + 512),
    'its payload is missing': ({ disk, torn }) => disk.erase(torn.payloadBytesAt),
    'the segment was sealed, but that is all that landed': ({ disk, torn }) => {
      disk.seal()
      disk.erase(torn.headerBytesAt, 2 * 4096)
    },
  }
  for (const [name, tear] of Object.entries(tears)) {
    const made = build()
    tear(made)
    const folder = fs.mkdtempSync(path.join(t.testdir(), 'x'))
    const { image, ranges, code } = await salvage(folder, [made.disk.save(folder)], 'data')
    t.same(stampsOf(image, 2), [1, 0], name)
    t.same({ code, ranges }, { code: 0, ranges: [] }, name)
  }
})

t.test('the same below the watermark is rot: what may be missing is said', async (t) => {
  for (const sealed of [false, true]) {
    const folder = fs.mkdtempSync(path.join(t.testdir(), 'x'))
    const disk = new OfflineDisk({ diskUuid: DISK })
    disk.open(0)
    disk.append([controlItem(data()), writeItem(VOLUME, { lba: 0, seq: 2 }, [1, 2])])
    const lost = disk.append([writeItem(VOLUME, { lba: 0, seq: 3 }, [9])])
    disk.append([writeItem(VOLUME, { lba: 1, seq: 4 }, [3]), writeItem(VOLUME, { lba: 2, seq: 1, moved: true }, [4])])
    if (sealed) disk.seal()
    else disk.root({ watermarkBatch: 3 })
    disk.rot(lost.headerBytesAt + 90)
    const { image, ranges, code, notes } = await salvage(folder, [disk.save(folder)], 'data')
    t.equal(code, 1)
    t.match(notes.join(), /batch 2 of stream 0 cannot be read/)
    t.same(stampsOf(image, 3), [1, 3, 4])
    t.match(ranges, [
      { offsetBytes: 0, lengthBytes: 4096, reason: 'unknown' },
      { offsetBytes: 8192, lengthBytes: MIB - 8192, reason: 'unknown' },
    ], 'all but the block that was surely written later')
  }
})

t.test('the last durable batches of an open segment are missed', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([controlItem(data())])
  const last = disk.append([writeItem(VOLUME, { lba: 0, seq: 2 }, [1])])
  disk.root({ watermarkBatch: 2 })
  disk.erase(last.headerBytesAt)
  const { ranges } = await salvage(folder, [disk.save(folder)], 'data')
  t.match(ranges, [{ offsetBytes: 0, lengthBytes: MIB, reason: 'unknown' }])
})

t.test('a rotten block becomes zeroes and is named, its neighbours are not', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([controlItem(data())])
  const older = disk.append([writeItem(VOLUME, { lba: 1, seq: 2 }, [8])])
  const placed = disk.append([writeItem(VOLUME, { lba: 0, seq: 3 }, [1, 2, 3])])
  disk.seal()
  disk.root({ watermarkBatch: 3 })
  disk.rot(placed.payloadBytesAt + 4096 + 77)
  disk.rot(older.payloadBytesAt)
  const map = path.join(folder, 'map.json')
  const { image, ranges, code } = await salvage(folder, [disk.save(folder)], 'data', '--damage-map', map)
  t.same(stampsOf(image, 3), [1, 0, 3])
  t.match(ranges, [{ offsetBytes: 4096, lengthBytes: 4096, reason: 'checksum' }])
  t.equal(ranges.length, 1, 'a dead block is nobody\'s loss')
  t.equal(code, 1)
  t.match(JSON.parse(fs.readFileSync(map, 'utf8')), { volume: 'data', sizeBytes: MIB, ranges })
})

t.test('superblocks, roots, frames and summary may be gone', async (t) => {
  const tears: Record<string, (disk: OfflineDisk) => void> = {
    'superblocks': (disk) => disk.erase(0, MIB),
    'superblocks and roots': (disk) => disk.erase(0, 2 * MIB),
    'segment headers': (disk) => [1, 2].forEach((n) => disk.rot(2 * MIB + n * 65536 + 40)),
    'trailer': (disk) => disk.rot(2 * MIB + 2 * 65536 - 4096 + 44),
    'summary': (disk) => disk.rot(2 * MIB + 2 * 65536 - 8192 + 3),
    'header and trailer of the open one': (disk) => disk.rot(2 * MIB + 2 * 65536 + 50),
  }
  for (const [name, tear] of Object.entries(tears)) {
    const folder = fs.mkdtempSync(path.join(t.testdir(), 'x'))
    const disk = new OfflineDisk({ diskUuid: DISK })
    disk.open(1)
    disk.append([controlItem(data()), writeItem(VOLUME, { lba: 0, seq: 2 }, [1, 2])])
    disk.append([writeItem(VOLUME, { lba: 1, seq: 3 }, [3])])
    disk.seal()
    disk.open(2)
    disk.append([writeItem(VOLUME, { lba: 2, seq: 4 }, [5])])
    tear(disk)
    const { image, ranges } = await salvage(folder, [disk.save(folder)], 'data')
    t.same(stampsOf(image, 4), [1, 3, 5, 0], name)
    t.same(ranges, [], name)
  }
})

t.test('a segment that was given back counts for nothing', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([writeItem(VOLUME, { lba: 0, seq: 99 }, [9])])
  disk.open(0, 2)
  disk.append([controlItem(data()), writeItem(VOLUME, { lba: 1, seq: 2 }, [1])])
  t.same(stampsOf((await salvage(folder, [disk.save(folder)], 'data')).image, 2), [0, 1])
})

t.test('a clone shows its origin as it was, under its own writes and trims', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  const clone = descriptorOf(OTHER, { name: 'clone', origin: [VOLUME, 3], slices: [onDisk(DISK)] })
  disk.open(0)
  disk.append([controlItem(data()), writeItem(VOLUME, { lba: 0, seq: 2 }, [1, 2, 3])])
  disk.append([writeItem(VOLUME, { lba: 0, seq: 5 }, [55]), controlItem(clone)])
  disk.append([writeItem(OTHER, { lba: 1, seq: 2 }, [22]), zeroItem(OTHER, { lba: 2, blocks: 1, seq: 3, trim: true })])
  const file = disk.save(folder)
  t.same(stampsOf((await salvage(folder, [file], 'clone')).image, 4), [1, 22, 0, 0])
  t.same(stampsOf((await salvage(folder, [file], 'data')).image, 4), [55, 2, 3, 0])
})

t.test('deleted volumes are listed and come with --deleted; a lost descriptor leaves the id', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([controlItem(data({ deleted: true, revision: 2, seq: 3 })), writeItem(VOLUME, { lba: 0, seq: 2 }, [1])])
  disk.append([writeItem(OTHER, { lba: 300, seq: 2 }, [2])])
  const file = disk.save(folder)
  const listed = await offline('salvage', file)
  t.match(listed.value, [
    { name: 'data', id: VOLUME, state: 'deleted', sizeBytes: MIB },
    { name: OTHER, state: 'no descriptor', sizeBytes: 2 * MIB },
  ])
  t.match((await salvage(folder, [file], 'data')).refusal, /deleted; add --deleted/)
  t.same(stampsOf((await salvage(folder, [file], 'data', '--deleted')).image, 2), [1, 0])
  t.equal((await salvage(folder, [file], OTHER)).image[300 * 4096], 2)
})

t.test('what cannot work is one sentence', async (t) => {
  const folder = t.testdir({ empty: '', text: 'not a disk'.repeat(100_000) })
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([controlItem(data())])
  const file = disk.save(folder)
  const foreign = new OfflineDisk({ diskUuid: DISK2, nodeId: '22'.repeat(16) }).save(folder, 'foreign')
  const out = path.join(folder, 'out')
  const cases: Array<[RegExp, ...string[]]> = [
    [/PATH is missing/], [/unknown option --volum; did you mean --volume/, file, '--volum', 'x'],
    [/--to is missing/, file, '--volume', 'data'], [/--volume is missing/, file, '--to', out],
    [/exists already/, file, '--volume', 'data', '--to', file],
    [/no volume nope/, file, '--volume', 'nope', '--to', out],
    [/no such file/, path.join(folder, 'absent')], [/neither a file nor a block device/, folder],
    [/is not a Holdfast disk: it/, path.join(folder, 'text')], [/is not a Holdfast disk/, path.join(folder, 'empty')],
    [/belongs to node/, file, foreign], [/are the same disk/, file, file],
    [/exists already/, file, '--volume', 'data', '--to', out, '--damage-map', file],
  ]
  for (const [refusal, ...words] of cases) t.match((await offline('salvage', ...words)).refusal, refusal)
  t.notOk(fs.existsSync(out))
})

t.test('nothing is written to the disk', async (t) => {
  const folder = t.testdir()
  const disk = new OfflineDisk({ diskUuid: DISK })
  disk.open(0)
  disk.append([controlItem(data()), writeItem(VOLUME, { lba: 0, seq: 2 }, [1])])
  const file = disk.save(folder)
  fs.chmodSync(file, 0o400)
  await salvage(folder, [file], 'data')
  await offline('verify', file)
  t.equal(Buffer.compare(fs.readFileSync(file), disk.bytes), 0)
})

const IMAGE_AND_MAP = ['image', 'folder', 'map', 'folder']
for (let failing = 0; failing <= IMAGE_AND_MAP.length; failing++) {
  const which = failing === IMAGE_AND_MAP.length ? 'none' : `${failing + 1}, of ${IMAGE_AND_MAP[failing]},`
  t.test(`image and damage map are durable when it says so: of four syncs ${which} fails`, async (t) => {
    const folder = t.testdir()
    const disk = new OfflineDisk({ diskUuid: DISK })
    disk.open(0)
    disk.append([controlItem(data()), writeItem(VOLUME, { lba: 0, seq: 2 }, [1])])
    const saved = disk.save(folder)
    const [image, map] = [path.join(folder, 'image'), path.join(folder, 'map')]
    const names = [['image', image], ['map', map], ['folder', folder]] as const
    const synced: string[] = []
    const sync = mock.method(fs, 'fsyncSync', (fd: number) => {
      const { ino } = fs.fstatSync(fd)
      const [name] = names.find(([, file]) => fs.existsSync(file) && fs.statSync(file).ino === ino)!
      // What is written behind it is not synced.
      if (name === 'image') t.same(stampsOf(fs.readFileSync(image), 1), [1])
      if (name === 'map') t.match(JSON.parse(fs.readFileSync(map, 'utf8')), { volume: 'data' })
      if (synced.push(name) === failing + 1) throw Object.assign(new Error('EIO'), { code: 'EIO' })
    })
    t.teardown(() => sync.mock.restore())
    const said = await offline('salvage', saved, '--volume', 'data', '--to', image, '--damage-map', map)
    t.same(synced, IMAGE_AND_MAP.slice(0, failing + 1))
    const isWhole = failing === IMAGE_AND_MAP.length
    t.equal(said.errorCode, isWhole ? '' : 'image-write')
    t.equal(said.value !== undefined, isWhole, 'success is said of what is durable only')
  })
}
