/**
 * Risks of the cleaner: it empties the wrong segment, launders rot into a fresh checksum, forgets what only a snapshot
 * sees, or gives a segment back before its copies are safe.
 */
import t from 'tap'
import { peekBatchHeader } from '../../../engine/log/batch.ts'
import { cleanSegment, newCleanerBuffer } from '../../../engine/log/cleaner.ts'
import { ENTRY_WORDS, segmentOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import { SEGMENT_STATE, SegmentTable } from '../../../engine/log/segment-table.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import { chooseVictim } from '../../../engine/log/victim.ts'
import { checkSegment, type StructureDamage } from '../../../engine/log/structure-check.ts'
import { runTask, type Task } from '../../../engine/task.ts'
import { createSnapshot, deleteSnapshot } from '../../../engine/volume/time-travel.ts'
import { fsck } from '../../sim/fsck.ts'
import { Random } from '../../sim/random.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

const SEGMENT_BYTES = 128 * 1024
/** Some in each segment. */
const WINDOW_BLOCKS = 4

/** One volume on one disk with room enough that nothing is cleaned by itself. */
class Scene {
  world = new StoreWorld({ seed: 3, segments: 40, segmentBytes: SEGMENT_BYTES })

  constructor() {
    this.world.open()
    this.world.await((done) => this.world.store!.createVolume(this.world.spec('v', 2 << 20), done))
  }

  get stream(): StoreStream {
    return this.world.store!.streams()[0]!
  }

  get volume() {
    return this.world.store!.volumeObject('v')!
  }

  write(lba: number, stamp: number): void {
    this.world.await<number>((done) => this.volume.write(lba * 4096, stamped(stamp), false, done))
  }

  /** Blocks `first .. end - 1`, stamped by their number and `round`. */
  fill(first: number, end: number, round: number): void {
    for (let lba = first; lba < end; lba++) this.write(lba, round * 1000 + lba)
  }

  read(lba: number): number | string {
    const into = new Uint8Array(4096)
    const errno = this.world.await<number>((done) => this.volume.read(lba * 4096, into, done))
    return errno === 0 ? stampOf(into) : `errno ${errno}`
  }

  /** Where a block lies. */
  place(lba: number): { segment: number; offsetBytes: number } {
    this.read(lba)
    const page = this.stream.map.page([...this.stream.map.volumes.values()][0]!, Math.floor(lba / 256))!
    const at = (lba % 256) * ENTRY_WORDS
    const segment = segmentOf(page.words, at)
    return { segment, offsetBytes: segmentOffsetBytes(SEGMENT_BYTES, segment) + unitsOf(page.words, at) * 64 }
  }

  clean(segment: number): boolean {
    const buffer = newCleanerBuffer(WINDOW_BLOCKS)
    return this.world.await<boolean>((done) => runTask(cleanSegment(this.stream, segment, buffer), done))
  }

  checkpoint(): void {
    this.world.await<boolean>((done) => this.stream.makeCheckpoint(done))
    this.world.clock.runUntilIdle()
  }
}

t.test('the victim is the one whose cleaning wins most for its cost', (t) => {
  const segments = new SegmentTable({ count: 8, streamId: 0, grants: new SharedSegmentGrants(8) })
  const stream = {
    segments,
    log: { segmentBlocks: 64, nextBatch: 1000, position: () => ({ batch: 900 }) },
    context: { clock: { nowMs: () => 0 } },
  } as unknown as StoreStream
  const add = (segment: number, lastBatch: number, liveBlocks: number): void => {
    segments.open(segment, lastBatch)
    segments.add(segment, liveBlocks * 64)
    segments.seal(segment, lastBatch)
  }
  t.equal(chooseVictim(stream), undefined)
  add(0, 100, 61)
  t.equal(chooseVictim(stream), undefined, 'rewriting a full one wins nothing')
  add(1, 950, 0)
  t.equal(chooseVictim(stream), undefined, 'a recovery would begin in or before it')
  add(2, 800, 20)
  t.equal(chooseVictim(stream), 2)
  add(3, 100, 20)
  t.equal(chooseVictim(stream), 3, 'of two alike the older one: less of it will die by itself')
  add(4, 100, 40)
  t.equal(chooseVictim(stream), 3, 'of two as old the emptier one')
  add(5, 890, 0)
  t.equal(chooseVictim(stream), 5, 'one without live data costs nothing')
  t.equal(chooseVictim(stream, new Set([5, 3])), 4)
  add(7, 700, 0)
  t.equal(chooseVictim(stream), 7, 'of several without live data the oldest, or those behind it are never looked at')
  segments.setState(7, SEGMENT_STATE.cleaned)
  segments.setState(5, SEGMENT_STATE.cleaned)
  segments.open(6, 1)
  t.equal(chooseVictim(stream), 3, 'neither one that is clean nor the open one')
  t.end()
})

t.test('a segment is free behind the checkpoint that follows its cleaning, and nothing is lost before', (t) => {
  for (const isCut of [false, true]) {
    const scene = new Scene()
    scene.fill(0, 60, 1)
    scene.fill(0, 20, 2)
    scene.checkpoint()
    const { segment } = scene.place(25)
    t.equal(scene.clean(segment), true)
    t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.cleaned)
    t.not(scene.place(25).segment, segment)
    const { grants } = scene.stream.context
    t.equal(grants.owner(segment), 0, 'it is still the stream’s')
    if (isCut) {
      // Without the copies: they were not synced.
      scene.world = scene.world.crash({ kind: 'synced' }, { kind: 'synced' })
      scene.world.open()
    } else {
      scene.checkpoint()
      t.equal(grants.owner(segment), undefined)
    }
    for (let lba = 0; lba < 60; lba++) t.equal(scene.read(lba), (lba < 20 ? 2000 : 1000) + lba)
    t.strictSame(fsck(scene.world), [])
  }
  t.end()
})

t.test('an index that cannot be read when copies are rolled forward is named as what is wrong', (t) => {
  const scene = new Scene()
  scene.fill(0, 60, 1)
  scene.fill(0, 20, 2)
  scene.checkpoint()
  t.equal(scene.clean(scene.place(25).segment), true)
  const world = scene.world.crash({ kind: 'all' }, { kind: 'all' })
  const reasons: unknown[] = []
  for (let n = 1; reasons.length === 0 && n < 10; n++) {
    const again = world.crash({ kind: 'all' }, { kind: 'all' })
    again.indexes[0]!.failAt('range', n)
    again.open()
    for (const { message, fields } of again.events)
      if (message === 'a disk cannot be served') reasons.push(fields.reason)
  }
  t.same(reasons, ['the index cannot be read'])
  t.end()
})

t.test('a rotten block is not copied, and keeps its segment', (t) => {
  const scene = new Scene()
  scene.fill(0, 60, 1)
  scene.checkpoint()
  const { segment, offsetBytes } = scene.place(25)
  scene.world.disks[0]!.damage(offsetBytes + 512, 'flip')
  scene.clean(segment)
  t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.unreadable)
  scene.checkpoint()
  t.same(scene.place(25), { segment, offsetBytes }, 'its entry stays')
  t.equal(scene.read(25), 'errno 5', 'never a wrong byte')
  t.match(
    scene.world.events.filter(({ level }) => level === 'error').map(({ message }) => message),
    [/fails its checksum/, /left alone/],
  )
  for (let lba = 0; lba < 60; lba++) if (lba !== 25) t.equal(scene.read(lba), 1000 + lba)
  t.equal(chooseVictim(scene.stream) === segment, false, 'it is not tried again and again')
  scene.write(25, 7)
  t.equal(scene.read(25), 7, 'a new version heals it')
  t.end()
})

t.test('dead writes are not looked at; what lies beside them is', (t) => {
  for (const isTrimmed of [false, true]) {
    const scene = new Scene()
    // The first segments hold the volume's control record, too.
    scene.fill(0, 90, 1)
    for (let lba = 90; lba < 120; lba++) {
      scene.write(lba, lba)
      if (isTrimmed) scene.world.await<number>((done) => scene.volume.trim(lba * 4096 - 4096, 4096, false, done))
    }
    const { segment } = scene.place(104)
    scene.fill(0, 120, 2)
    scene.checkpoint()
    t.equal(scene.stream.segments.live[segment], 0)
    t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.sealed)
    t.equal(scene.stream.segments.mixed[segment], isTrimmed ? 1 : 0)
    scene.world.disks[0]!.damage(segmentOffsetBytes(SEGMENT_BYTES, segment) + 4096, 'zero')
    scene.clean(segment)
    t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.cleaned)
    t.equal(scene.world.events.some(({ message }) => /^a header of the log is damaged/.test(message)), isTrimmed)
  }
  t.end()
})

t.test('what only a snapshot sees is moved too, and goes with the snapshot', (t) => {
  for (const index of ['synced', 'lost'] as const) {
    const scene = new Scene()
    scene.fill(0, 60, 1)
    scene.world.await((done) => createSnapshot(scene.volume, 's', done))
    const { segment } = scene.place(25)
    scene.fill(0, 60, 2)
    scene.checkpoint()
    const live = scene.stream.segments.liveUnits()
    t.equal(live, 120 * 64)
    scene.clean(segment)
    t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.cleaned)
    t.equal(scene.stream.segments.liveUnits(), live)
    scene.checkpoint()
    const cut = index === 'lost' ? 'lost' : ({ kind: 'synced' } as const)
    scene.world = scene.world.crash({ kind: 'synced' }, cut)
    scene.world.open()
    t.strictSame(fsck(scene.world), [], `after a restart (index ${index})`)
    t.equal(scene.stream.segments.liveUnits(), live)
    scene.world.await((done) => deleteSnapshot(scene.volume, 's', done))
    scene.world.clock.runUntilIdle()
    t.equal(scene.stream.segments.liveUnits(), 60 * 64)
    t.strictSame(fsck(scene.world), [])
  }
  t.end()
})

t.test('a block that is overwritten while its copy is under way keeps the newer version', (t) => {
  const scene = new Scene()
  scene.fill(0, 60, 1)
  scene.checkpoint()
  const { segment } = scene.place(25)
  let isClean = false
  runTask(cleanSegment(scene.stream, segment, newCleanerBuffer(WINDOW_BLOCKS)), () => {
    isClean = true
  })
  let answered = 0
  for (let i = 0; !isClean; i++) {
    if (i % 2 === 0 && i < 60)
      scene.volume.write(i * 4096, stamped(2000 + i), false, () => {
        answered++
      })
    scene.world.clock.step()
  }
  scene.world.clock.runUntilIdle()
  t.ok(answered > 0, `${answered} overwrites beside the cleaner`)
  scene.checkpoint()
  for (let lba = 0; lba < 60; lba++)
    t.equal(scene.read(lba), lba % 2 === 0 && lba < answered * 2 ? 2000 + lba : 1000 + lba)
  t.strictSame(fsck(scene.world), [])
  t.end()
})

t.test('what is looked up ahead is not believed when it changed before its turn', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const scene = new Scene()
    const random = new Random(seed)
    const below = (end: number): number => random.int(end)
    const shown = new Map<number, number>()
    let stamp = 1
    const write = (lba: number): void => {
      shown.set(lba, stamp)
      scene.volume.write(lba * 4096, stamped(stamp++), false, (errno) => t.equal(errno, 0))
    }
    for (let lba = 0; lba < 60; lba++) write(lba)
    scene.world.clock.runUntilIdle()
    const names: string[] = []
    const snap = (): void => {
      names.push(`s${stamp++}`)
      createSnapshot(scene.volume, names.at(-1)!, () => {})
    }
    for (let round = 0; round < 6; round++) {
      snap()
      for (let i = 0; i < 12; i++) write(below(60))
      scene.world.clock.runUntilIdle()
    }
    scene.checkpoint()
    const { segments } = scene.stream
    const sealed = Array.from({ length: segments.count }, (_, i) => i).filter(
      (i) => segments.state[i] === SEGMENT_STATE.sealed,
    )
    let changes = 0
    for (const segment of sealed) {
      let isClean = false
      runTask(cleanSegment(scene.stream, segment, newCleanerBuffer(WINDOW_BLOCKS)), () => (isClean = true))
      while (!isClean) {
        const what = below(30)
        if (changes < 60 && what < 10) {
          changes++
          if (what < 4) write(below(60))
          else if (what === 4) snap()
          else if (what === 5) scene.stream.makeCheckpoint(() => {})
          else if (names.length > 1) deleteSnapshot(scene.volume, names.splice(below(names.length), 1)[0]!, () => {})
        }
        scene.world.clock.step()
      }
    }
    scene.world.clock.runUntilIdle()
    scene.checkpoint()
    t.strictSame(fsck(scene.world), [], `seed ${seed}`)
    for (const [lba, wanted] of shown) t.equal(scene.read(lba), wanted, `seed ${seed}, block ${lba}`)
  }
  t.end()
})

t.test('a cleaning that ends early waits for what it reads ahead', (t) => {
  const scene = new Scene()
  const [disk] = scene.world.disks
  scene.fill(0, 60, 1)
  scene.checkpoint()
  // The record of the volume's creation, the first of this segment.
  const { controlSegment } = [...scene.stream.map.volumes.values()][0]!
  disk!.damage(segmentOffsetBytes(SEGMENT_BYTES, controlSegment) + 2 * 4096, 'zero')
  let reading = 0
  let inAll = 0
  const read = disk!.read.bind(disk)
  disk!.tryRead = () => false
  disk!.read = (offset, into, done) => {
    reading++
    read(offset, into, (ok) => {
      // The windows behind it are not there when the body is.
      inAll++
      scene.world.clock.after(inAll === 4 || inAll === 5 ? 50 : 0, () => {
        reading--
        done(ok)
      })
    })
  }
  scene.clean(controlSegment)
  t.equal(scene.stream.segments.state[controlSegment], SEGMENT_STATE.unreadable)
  t.equal(inAll, 6, 'trailer, summary, the first window, two behind it, and the body')
  t.equal(reading, 0, 'the buffers are free for the next one')
  t.end()
})

t.test('a segment that cannot be read now is tried again, and not at once', (t) => {
  for (const what of ['disk', 'index'] as const) {
    const scene = new Scene()
    const [disk] = scene.world.disks
    scene.fill(0, 60, 1)
    scene.fill(0, 20, 2)
    scene.checkpoint()
    const { segment } = scene.place(25)
    const { segments, map } = scene.stream
    if (what === 'disk') {
      disk!.tryRead = () => false
      // A read that fails is done once more; a summary that cannot be read is not needed.
      for (const n of [3, 4]) disk!.failAt('read', n)
    } else {
      for (const volume of map.volumes.values()) map.dropPages(volume)
      scene.world.indexes[0]!.failAt('range', 1)
    }
    t.equal(scene.clean(segment), true)
    t.equal(segments.state[segment], SEGMENT_STATE.sealed, `the ${what} fails`)
    const others = new Set(Array.from(segments.state.keys()).filter((one) => one !== segment))
    t.equal(chooseVictim(scene.stream, others), undefined)
    t.match(
      scene.world.events.filter(({ level }) => level !== 'info').map(({ message }) => message),
      [/tried again/],
    )
    scene.world.clock.advance(70_000)
    scene.world.clock.runUntilIdle()
    t.equal(chooseVictim(scene.stream, others), segment, 'a minute later it is a candidate')
    t.equal(scene.clean(segment), true)
    t.equal(segments.state[segment], SEGMENT_STATE.cleaned)
    scene.checkpoint()
    for (let lba = 0; lba < 60; lba++) t.equal(scene.read(lba), (lba < 20 ? 2000 : 1000) + lba)
    t.strictSame(fsck(scene.world), [])
  }
  t.end()
})

t.test('a deletion is kept while older data of its volume is on the disk', (t) => {
  const scene = new Scene()
  scene.fill(0, 90, 1)
  const { world } = scene
  const { volumes } = scene.stream.map
  const gone = [...volumes.values()][0]!
  world.await((done) => world.store!.deleteVolume('v', done))
  world.clock.runUntilIdle()
  world.await((done) => world.store!.createVolume(world.spec('w', 2 << 20), done))
  const other = world.store!.volumeObject('w')!
  const { segments } = scene.stream
  const told = gone.controlSegment
  for (let lba = 0; segments.state[told] !== SEGMENT_STATE.sealed; lba++)
    world.await<number>((done) => other.write(lba * 4096, stamped(lba), false, done))
  t.ok(gone.emptied, 'nothing of it is shown any more')
  t.ok(scene.clean(told), 'its control record is moved before its data goes')
  scene.checkpoint()
  const rebuilt = world.crash('kill', 'lost')
  rebuilt.open()
  t.notOk(rebuilt.store!.volumeObject('v') !== undefined, 'a rebuild finds that it was deleted')
  t.end()
})

/** Of a sealed segment: what a check of it finds on the medium. */
function check(scene: Scene, segment: number): string[] {
  function* always(): Task<boolean> {
    return true
  }
  const pace = { wait: always, blocksMost: () => 256 }
  const found = scene.world.await<StructureDamage[] | undefined>((done) =>
    runTask(checkSegment(scene.stream, segment, pace), done))
  return found!.map(({ what, block }) => `${what} ${block}`)
}

t.test('a segment of which the seal is still being written is not called damaged', (t) => {
  const scene = new Scene()
  const [disk] = scene.world.disks
  const write = disk!.write.bind(disk)
  let segment = -1
  let goOn = (): void => {}
  disk!.write = (offset, buffers, done) => {
    const { segments } = scene.stream
    const endBytes = offset + buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const open = segments.state.indexOf(SEGMENT_STATE.open)
    const isSeal = open >= 0 && segmentOffsetBytes(SEGMENT_BYTES, open) + SEGMENT_BYTES === endBytes
    if (segment >= 0 || !isSeal) return write(offset, buffers, done)
    segment = open
    goOn = () => {
      if (write(offset, buffers, done)) done(true)
    }
    return false
  }
  for (let lba = 0; segment < 0; lba++) {
    scene.volume.write(lba * 4096, stamped(lba), false, () => {})
    // All in front of it is written and applied when the seal begins.
    scene.world.clock.runUntilIdle()
  }
  t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.sealed)
  t.same(check(scene, segment), [])
  goOn()
  scene.world.clock.runUntilIdle()
  t.same(check(scene, segment), [])
  const last = SEGMENT_BYTES / 4096 - 1
  disk!.damage(segmentOffsetBytes(SEGMENT_BYTES, segment) + last * 4096, 'flip')
  t.same(check(scene, segment), [`trailer ${last}`], 'it is looked at now')
  t.end()
})

t.test('a volume whose control record lies behind a damaged header is there when the index is built anew', (t) => {
  for (const isDeleted of [false, true]) {
    const scene = new Scene()
    const { world } = scene
    scene.fill(0, 20, 1)
    if (isDeleted) {
      world.await((done) => world.store!.createVolume(world.spec('w', 2 << 20), done))
      world.await((done) => world.store!.deleteVolume('w', done))
    }
    const volumes = [...scene.stream.map.volumes.values()]
    const { controlSegment: segment } = volumes.at(-1)!
    // Its data elsewhere goes on, so that the record has to stay.
    scene.fill(20, 120, 1)
    t.equal(scene.stream.segments.state[segment], SEGMENT_STATE.sealed)
    for (const { block } of everyHeader(scene, segment))
      world.disks[0]!.damage(segmentOffsetBytes(SEGMENT_BYTES, segment) + block * 4096, 'zero')
    world.store!.emptySegment(scene.stream, segment)
    world.clock.runUntilIdle()
    t.not(volumes.at(-1)!.controlSegment, segment)
    t.strictSame(fsck(world), [])
    scene.world = world.crash({ kind: 'all' }, 'lost')
    scene.world.open()
    for (let lba = 0; lba < 120; lba++) t.equal(scene.read(lba), 1000 + lba)
    t.equal(scene.world.store!.volumeObject('w'), undefined)
  }
  t.end()
})

/** Where the headers of its batches are. */
function everyHeader({ world, stream }: Scene, segment: number): Array<{ block: number }> {
  const headers: Array<{ block: number }> = []
  const { diskTag } = stream.context
  const generation = stream.segments.generation[segment]!
  for (let block = 1; ;) {
    const at = segmentOffsetBytes(SEGMENT_BYTES, segment) + block * 4096
    const header = peekBatchHeader(world.disks[0]!.peek(at, 4096), { diskTag, segment, generation, startBlock: block })
    if (header === undefined) return headers
    headers.push({ block })
    block += header.totalBlocks
  }
}

t.test('what describes a segment is looked at, and where that is damaged its blocks are moved', (t) => {
  const last = SEGMENT_BYTES / 4096 - 1
  const damages: ReadonlyArray<[block: number, found: string[], isMoved: boolean]> = [
    [0, ['segment header 0'], true],
    [last, [`trailer ${last}`], true],
    [last - 1, [`summary ${last - 1}`], true],
    [1, ['batch header 1'], true],
  ]
  for (const [block, found, isMoved] of damages) {
    const scene = new Scene()
    scene.fill(0, 120, 1)
    scene.fill(90, 96, 2)
    const { segment } = scene.place(40)
    t.same(check(scene, segment), [], 'it is whole')
    scene.world.disks[0]!.damage(segmentOffsetBytes(SEGMENT_BYTES, segment) + block * 4096, 'flip')
    t.same(check(scene, segment), found)
    scene.world.store!.emptySegment(scene.stream, segment)
    scene.world.clock.runUntilIdle()
    const { state } = scene.stream.segments
    const wanted = isMoved ? [SEGMENT_STATE.none, SEGMENT_STATE.open, SEGMENT_STATE.sealed] : [SEGMENT_STATE.unreadable]
    t.ok(wanted.includes(state[segment] as never), `state ${state[segment]} of ${found.join()}`)
    t.equal(scene.place(40).segment !== segment, isMoved, found.join())
    for (let lba = 0; lba < 120; lba++) t.equal(scene.read(lba), (lba >= 90 && lba < 96 ? 2000 : 1000) + lba)
    if (!isMoved) continue
    t.strictSame(fsck(scene.world), [])
    scene.world = scene.world.crash({ kind: 'all' }, 'lost')
    scene.world.open()
    for (let lba = 0; lba < 120; lba++) t.equal(scene.read(lba), (lba >= 90 && lba < 96 ? 2000 : 1000) + lba)
  }
  t.end()
})
