/**
 * Risk: an append is answered before what it says is true, or after something failed, or never. The disk is in the
 * test's hands: each write and sync ends when, and in the order, the test says.
 */
import t from 'tap'
import { peekBatchHeader } from '../../../engine/log/batch.ts'
import { hexToUuid } from '../../../engine/log/bytes.ts'
import type { Append } from '../../../engine/log/log-batch.ts'
import { LogStream } from '../../../engine/log/log-stream.ts'
import type { RecordHeader } from '../../../engine/log/record.ts'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import { SegmentTable } from '../../../engine/log/segment-table.ts'
import type { ClockPort, DiskPort } from '../../../engine/ports.ts'
import { crc32c, DISK_UUID } from './damage.ts'

const SEGMENT_BYTES = 64 * 1024
const DISK_TAG = hexToUuid(DISK_UUID).subarray(0, 8)

class Stage {
  writes: Array<{ batch: number | undefined; durableBatch: number | undefined; end(ok?: boolean): void }> = []
  syncs: Array<(ok: boolean) => void> = []
  answers: string[] = []
  segmentsFree = 8
  readonly log: LogStream
  readonly segments: SegmentTable
  private deferred: Array<() => void> = []
  private seq = 0

  constructor(syncsMax = 2) {
    const grants = new SharedSegmentGrants(8)
    this.segments = new SegmentTable({ count: 8, streamId: 0, grants })
    const disk = {
      sizeBytes: 8 * SEGMENT_BYTES,
      write: (_at: number, [first]: readonly Uint8Array[], done: (ok: boolean) => void) => {
        const header = this.headerOf(first!)
        this.writes.push({ batch: header?.batch, durableBatch: header?.durableBatch, end: (ok = true) => done(ok) })
        return false
      },
      sync: (done: (ok: boolean) => void) => void this.syncs.push(done),
    } as unknown as DiskPort
    this.log = new LogStream({
      disk,
      crc32c,
      clock: { nowMs: () => 0, defer: (run: () => void) => void this.deferred.push(run) } as unknown as ClockPort,
      segments: this.segments,
      takeSegment: () => (this.segmentsFree-- > 0 ? grants.grant(0) : undefined),
      onFailed: (reason) => this.answers.push(reason),
      diskUuid: DISK_UUID,
      diskTag: DISK_TAG,
      streamId: 0,
      segmentBytes: SEGMENT_BYTES,
      incarnation: 1,
      salt: new Uint8Array(8),
      nextBatch: 1,
      syncsMax,
    })
  }

  /** Append one block; its answer is `NAME`, or `NAME!` when it failed. */
  append(name: string, durable = true): Append {
    const append: Append = {
      record: recordOf(++this.seq),
      payload: [new Uint8Array(4096)],
      payloadUnits: 64,
      durable,
      done: (ok) => void this.answers.push(ok ? name : `${name}!`),
      segment: 0,
      units: 0,
      batch: undefined,
      mapOnly: true,
    }
    this.log.append(append)
    return append
  }

  /** Run what was deferred; tell the answers since the last time. */
  turn(): string {
    while (this.deferred.length > 0) this.deferred.shift()!()
    return this.answers.splice(0).join(' ')
  }

  /** One more turn, after the writes so far have ended. */
  written(): string {
    for (const write of this.writes.splice(0)) write.end()
    return this.turn()
  }

  private headerOf(bytes: Uint8Array): ReturnType<typeof peekBatchHeader> {
    for (let segment = 0; segment < 8; segment++) {
      const header = peekBatchHeader(bytes, { diskTag: DISK_TAG, segment, generation: 1 })
      if (header !== undefined) return header
    }
    return undefined
  }
}

function recordOf(seq: number): RecordHeader {
  return {
    kind: 1,
    flags: 0,
    blockCount: 1,
    volumeId: new Uint8Array(16).fill(1),
    lba: seq,
    part: 0,
    parts: 1,
    seq,
    epoch: 1,
    attachGeneration: 0,
    previousSeq: seq - 1,
    transform: 0,
    operation: 0,
    frontendIncarnation: 0,
    keyId: 0,
    requestNumber: 0,
    sliceGeneration: 0,
    payloadUnits: 0,
    fromSegment: 0,
    fromGeneration: 0,
    fromUnits: 0,
    bornBatch: 0,
    bodyBytes: 0,
    bodyCrc: 0,
    crcs: [0],
    storedUnits: [64],
  }
}

t.test('a durable append is answered when a sync that began after its write has ended', (t) => {
  const stage = new Stage()
  stage.append('a')
  t.equal(stage.turn(), '')
  t.equal(stage.syncs.length, 0, 'nothing is written, so nothing is synced')
  t.equal(stage.written(), '')
  t.equal(stage.syncs.length, 1)
  stage.append('b')
  stage.turn()
  t.equal(stage.written(), '', 'written while the sync runs, which does not cover it')
  t.equal(stage.syncs.length, 2, 'so another one does')
  stage.syncs[0]!(true)
  t.equal(stage.turn(), 'a')
  stage.syncs[1]!(true)
  t.equal(stage.turn(), 'b')
  t.end()
})

t.test('a later sync that ends first proves nothing', (t) => {
  const stage = new Stage()
  stage.append('a')
  stage.turn()
  stage.written()
  stage.append('b')
  stage.turn()
  stage.written()
  stage.syncs[1]!(true)
  t.equal(stage.turn(), '', 'the error of a write back may be told to the first one only')
  stage.syncs[0]!(false)
  t.equal(stage.turn(), 'a sync failed a! b!')
  t.end()
})

t.test('a batch counts as written when those before it are', (t) => {
  const stage = new Stage()
  stage.append('a')
  stage.turn()
  stage.append('b')
  stage.turn()
  const [header, a, b] = stage.writes
  t.same([a!.batch, b!.batch], [1, 2])
  header!.end()
  b!.end()
  t.equal(stage.turn(), '')
  t.equal(stage.syncs.length, 0, 'a sync now would say that both are durable')
  t.equal(stage.log.writtenBatch, 0)
  a!.end()
  stage.turn()
  t.equal(stage.log.writtenBatch, 2)
  t.equal(stage.syncs.length, 1, 'one for both')
  stage.syncs[0]!(true)
  t.equal(stage.turn(), 'a b')
  t.end()
})

t.test('a batch counts as written when the header of its segment is', (t) => {
  const stage = new Stage()
  stage.append('a', false)
  stage.turn()
  const [header, a] = stage.writes
  a!.end()
  t.equal(stage.turn(), '')
  header!.end()
  t.equal(stage.turn(), 'a')
  t.end()
})

t.test('what arrives while all syncs run shares a batch', (t) => {
  const stage = new Stage(1)
  stage.append('a')
  stage.turn()
  stage.written()
  for (const name of ['b', 'c', 'd']) {
    stage.append(name)
    stage.turn()
  }
  t.equal(stage.writes.length, 0, 'the sync runs')
  stage.syncs[0]!(true)
  t.equal(stage.turn(), 'a')
  t.equal(stage.writes.length, 1, 'one batch')
  stage.written()
  stage.syncs[1]!(true)
  t.equal(stage.turn(), 'b c d')
  t.end()
})

t.test('a failed write or sync answers everything, and is the last thing the disk hears', (t) => {
  for (const what of ['write', 'sync'] as const) {
    const stage = new Stage(1)
    let isTold: boolean | undefined
    stage.append('a')
    stage.turn()
    if (what === 'sync') {
      stage.written()
      stage.append('b')
      stage.log.sync((ok) => {
        isTold = ok
      })
      stage.syncs[0]!(false)
      t.equal(stage.turn(), 'a sync failed a! b!')
      t.equal(isTold, false)
    } else {
      stage.writes[1]!.end(false)
      stage.writes[0]!.end()
      t.equal(stage.turn(), 'a write failed a!')
    }
    const before = [stage.writes.length, stage.syncs.length]
    stage.append('c')
    stage.log.sync(() => stage.answers.push('synced?'))
    stage.log.resume()
    stage.log.sealOpen()
    t.match(stage.turn(), 'c!')
    t.same([stage.writes.length, stage.syncs.length], before, `after a failed ${what}`)
  }
  t.end()
})

t.test('one that need not be durable is answered when written, and a sync covers it later', (t) => {
  const stage = new Stage()
  stage.append('a', false)
  stage.turn()
  t.equal(stage.written(), 'a')
  t.equal(stage.syncs.length, 0)
  stage.log.sync((ok) => stage.answers.push(`synced ${ok}`))
  t.equal(stage.turn(), '')
  stage.syncs[0]!(true)
  t.equal(stage.turn(), 'synced true')
  stage.log.sync((ok) => stage.answers.push(`again ${ok}`))
  t.equal(stage.turn(), 'again true')
  t.equal(stage.syncs.length, 1, 'nothing was new')
  t.end()
})

t.test('a batch says what is durable, never more', (t) => {
  const stage = new Stage()
  const said: Array<[number, number]> = []
  for (let i = 0; i < 40; i++) {
    stage.append(`${i}`)
    stage.turn()
    for (const { batch, durableBatch } of stage.writes)
      if (batch !== undefined) said.push([durableBatch!, stage.log.durableBatch])
    stage.written()
    if (i % 3 === 2) for (const end of stage.syncs.splice(0)) end(true)
    stage.turn()
  }
  t.ok(said.some(([durable]) => durable > 10))
  for (const [durable, known] of said) t.ok(durable <= known)
  t.end()
})

t.test('the position stays at the oldest batch that is not applied', (t) => {
  const stage = new Stage()
  const [a, b] = ['a', 'b'].map((name) => {
    const append = stage.append(name, false)
    stage.turn()
    return append
  })
  t.equal(stage.written(), 'a b')
  t.equal(stage.log.position().batch, 1)
  stage.log.applied(b!.batch!)
  t.equal(stage.log.position().batch, 1, 'the second one before the first')
  stage.log.applied(a!.batch!)
  t.equal(stage.log.position().batch, 3)
  t.equal(stage.log.inFlight, 0, 'nothing is kept')
  t.end()
})

t.test('without a segment appends wait, and a sync of what was written does not', (t) => {
  const stage = new Stage()
  stage.segmentsFree = 1
  let names = 0
  for (; stage.log.queuedBlocks === 0; names++) {
    stage.append(`${names}`, false)
    stage.turn()
    stage.written()
  }
  t.ok(names > 3)
  stage.log.sync((ok) => stage.answers.push(`synced ${ok}`))
  stage.turn()
  stage.syncs.splice(0).forEach((end) => end(true))
  t.equal(stage.turn(), 'synced true', 'the checkpoint that gives segments back waits for it')
  stage.segmentsFree = 1
  stage.log.resume()
  stage.turn()
  t.equal(stage.written(), `${names - 1}`)
  t.end()
})
