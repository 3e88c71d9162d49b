/**
 * Risk: a snapshot is answered with other data than it showed, is deleted while somebody reads it, or is kept for
 * somebody who is gone; and what is asked of it is lost when the lead goes elsewhere (SPEC section 11).
 */
import t from 'tap'
import type { FrontendMessage, OpenedSnapshot } from '../../../engine/replication/messages.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import {
  closeSnapshotReader, createSnapshotReader, stepSnapshotReader,
} from '../../../engine/replication/snapshot-reader.ts'
import type {
  ReaderAnswer, ReaderEvent, ReaderPort, SnapshotReaderState,
} from '../../../engine/replication/snapshot-reader.ts'
import { ASKED_MAX } from '../../../engine/replication/snapshot-reads.ts'
import { SNAPSHOT_USE_MS, USES_MAX } from '../../../engine/replication/snapshot-uses.ts'
import { Copies } from './copies.ts'

/** A reader beside a few copies: what both say goes at once, but for what is lost. */
class Reader {
  readonly copies: Copies
  readonly state: SnapshotReaderState
  readonly answers = new Map<number, ReaderAnswer>()
  opened: OpenedSnapshot | 'none' | undefined
  sent = 0
  private heard = 0
  private nextTag = 1
  private wakeAtMs = Infinity
  private readonly events: ReaderEvent[] = []

  constructor(copies: Copies, wanted: string, ioTimeoutMs = 0) {
    this.copies = copies
    const limits = { resendMs: 1000, retryMs: 50, partBlocksMax: 4, inFlightBlocksMax: 8 }
    this.state = createSnapshotReader({ reader: 7, wanted, ioTimeoutMs, ...limits })
    this.heard = copies.replies.length
    this.events.push({ type: 'tick' })
    this.run(0)
  }

  private readonly port: ReaderPort = {
    send: (to, message) => {
      this.sent++
      this.copies.event(to, { type: 'frontend', from: 'reads', message: structuredClone(message) })
    },
    readConfig: (token) => {
      const value = this.copies.storeIsOut ? undefined : this.copies.value()
      this.events.push({ type: 'config-read', token, ok: value !== undefined, value })
    },
    wakeAt: (atMs) => (this.wakeAtMs = Math.min(this.wakeAtMs, atMs)),
    opened: (snapshot) => (this.opened = snapshot ?? 'none'),
    answer: (tag, answer) => this.answers.set(tag, answer),
  }

  ask(operation: Extract<ReaderEvent, { type: 'ask' }>['operation']): number {
    this.events.push({ type: 'ask', tag: this.nextTag, operation })
    this.settle()
    return this.nextTag++
  }

  close(): void {
    closeSnapshotReader(this.state, this.port)
    this.copies.settle()
  }

  /** Time goes on for everybody. */
  run(forMs: number): void {
    const endMs = this.copies.nowMs + forMs
    this.settle()
    while (this.copies.nowMs < endMs) {
      this.copies.run(Math.min(50, endMs - this.copies.nowMs))
      if (this.wakeAtMs <= this.copies.nowMs) {
        this.wakeAtMs = Infinity
        this.events.push({ type: 'tick' })
      }
      this.settle()
    }
  }

  private settle(): void {
    for (;;) {
      this.copies.settle()
      for (const { from, message } of this.copies.replies.slice(this.heard)) {
        this.heard++
        if ('reader' in message || message.type === 'redirect') this.events.push({ type: 'message', from, message })
      }
      const event = this.events.shift()
      if (event === undefined) return
      stepSnapshotReader(this.state, event, this.copies.nowMs, this.port)
    }
  }

  read(lba: number, blockCount = 1): unknown[] {
    return stampsOf(this.answers.get(this.ask({ type: 'read', lba, blockCount })))
  }
}

const stampsOf = (answer: ReaderAnswer | undefined): unknown[] =>
  answer?.ok === true && answer.type === 'read'
    ? answer.versions.map(({ payload }: BlockVersion) => payload?.data ?? 0)
    : [answer?.ok === false ? answer.code : 'nothing']

function serving(): Copies {
  const copies = new Copies()
  copies.run(500)
  copies.open()
  for (let lba = 0; lba < 10; lba++) copies.write(lba, 100 + lba)
  copies.settle()
  return copies
}

const change = (copies: Copies, operation: 'snapshot' | 'snapshot-delete', id: string) =>
  copies.results.get(copies.command(copies.primary!.name, { type: 'change', change: { operation, id } }))

/** Another one leads, and serves. */
function failOver(copies: Copies): void {
  copies.kill(copies.primary!.name)
  while (copies.primary === undefined) copies.run(100)
}

t.test('it shows what it showed, whoever leads', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  copies.write(3, 203)
  copies.settle()
  const reader = new Reader(copies, 's')
  t.match(reader.opened, { id: 's', sizeBytes: 64 * 4096 })
  t.same(reader.read(0, 10), [100, 101, 102, 103, 104, 105, 106, 107, 108, 109], 'in parts')
  const map = reader.answers.get(reader.ask({ type: 'map', lba: 0, blockCount: 64 }))
  t.match(map, { ok: true, type: 'map', endLba: 64 })
  failOver(copies)
  const tag = reader.ask({ type: 'read', lba: 3, blockCount: 1 })
  reader.run(3000)
  t.same(stampsOf(reader.answers.get(tag)), [103], 'the next primary was asked')
  t.equal(copies.primary!.state.primary!.uses.size, 1, 'and knows that it is in use')
  t.end()
})

t.test('what is asked while nobody leads is held, or fails after its time', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  const reader = new Reader(copies, 's', 5000)
  copies.kill('n1')
  const tag = reader.ask({ type: 'read', lba: 3, blockCount: 1 })
  t.notOk(reader.answers.has(tag))
  copies.storeIsOut = true
  reader.run(4500)
  t.notOk(reader.answers.has(tag), 'held')
  reader.run(1000)
  t.match(reader.answers.get(tag), { ok: false, code: 'timeout' })
  copies.storeIsOut = false
  reader.run(9000)
  t.same(reader.read(3), [103])
  t.end()
})

t.test('N4: one in use is not deleted, for as long as its reader says so', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  const reader = new Reader(copies, 's')
  t.match(change(copies, 'snapshot-delete', 's'), { ok: false, code: 'in-use', why: /node reads reads it/ })
  reader.run(3 * SNAPSHOT_USE_MS)
  t.match(change(copies, 'snapshot-delete', 's'), { ok: false, code: 'in-use' }, 'it says it again and again')
  reader.close()
  t.match(change(copies, 'snapshot-delete', 's'), { ok: true })
  t.end()
})

t.test('N4: who is gone without a word keeps it for a while, and no longer', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  void new Reader(copies, 's')
  copies.run(SNAPSHOT_USE_MS - 500)
  t.match(change(copies, 'snapshot-delete', 's'), { ok: false, code: 'in-use' })
  copies.run(1000)
  t.match(change(copies, 'snapshot-delete', 's'), { ok: true })
  t.end()
})

t.test('N4: a primary that has just begun deletes what it made itself, and waits to hear of the rest', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 'old')
  failOver(copies)
  t.match(change(copies, 'snapshot-delete', 'old'), { ok: false, code: 'superseded' }, 'somebody may read it')
  change(copies, 'snapshot', 'new')
  t.match(change(copies, 'snapshot-delete', 'new'), { ok: true }, 'nobody can have been told of it')
  change(copies, 'snapshot', 'newer')
  copies.event(copies.primary!.name, { type: 'clock-doubt' })
  t.match(change(copies, 'snapshot-delete', 'newer'), { ok: false, code: 'superseded' }, 'it may have slept')
  copies.run(SNAPSHOT_USE_MS + 100)
  t.match(change(copies, 'snapshot-delete', 'old'), { ok: true })
  t.match(change(copies, 'snapshot-delete', 'newer'), { ok: true })
  t.end()
})

t.test('one that is being deleted is not opened before it is known what became of that', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  copies.isolate('n1')
  const token = copies.command('n1', { type: 'change', change: { operation: 'snapshot-delete', id: 's' } })
  const reader = new Reader(copies, 's')
  reader.run(100)
  t.equal(reader.opened, undefined)
  copies.cut.clear()
  reader.run(3000)
  t.match(copies.results.get(token), { ok: true })
  t.equal(reader.opened, 'none')
  t.same(reader.read(0), ['snapshot-gone'])
  t.end()
})

t.test('N3: one that is gone stays so, also when its id or name is given again', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  const reader = new Reader(copies, 's')
  // Its use has ended, as for a reader that nobody heard for long.
  for (const node of copies.nodes.values()) if (node.state.primary !== undefined) node.state.primary.uses = new Map()
  t.match(change(copies, 'snapshot-delete', 's'), { ok: true })
  copies.write(3, 203)
  copies.settle()
  change(copies, 'snapshot', 's')
  t.same(reader.read(3), ['snapshot-gone'])
  t.match(new Reader(copies, 's').read(3), [203], 'another reader has the other one')
  t.end()
})

t.test('an answer is given once, whatever is said twice; no reads of snapshots need a lease', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  const reader = new Reader(copies, 's')
  copies.cut.add('n2>n1').add('n3>n1').add('n1>n2').add('n1>n3')
  copies.nowMs += 3000
  t.same(reader.read(3), [103], 'its primary is cut off, its leases are over: what is committed stays so')
  const snapshot = reader.state.snapshot!
  const place = { id: snapshot.id, epoch: snapshot.epoch, seq: snapshot.seq }
  const message: FrontendMessage = {
    type: 'snapshot-ask', reader: 7, number: 99, snapshot: place, operation: { type: 'read', lba: 1, blockCount: 1 },
  }
  const before = copies.replies.length
  for (let i = 0; i < 3; i++) copies.event('n1', { type: 'frontend', from: 'reads', message })
  copies.settle()
  const blocks = copies.replies.slice(before).filter((one) => one.message.type === 'snapshot-blocks')
  t.equal(blocks.length, 1, 'asked three times while it was read')
  t.end()
})

t.test('N6: a node that asks for ever more has few answers waiting, and others are answered', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  const reader = new Reader(copies, 's')
  const { id, epoch, seq } = reader.state.snapshot!
  const primary = copies.primary!.state.primary!
  const before = copies.replies.length
  const askMany = (count: number) => {
    for (let number = 0; number < count; number++) {
      const operation = { type: 'read', lba: number % 64, blockCount: 1 } as const
      const message: FrontendMessage = {
        type: 'snapshot-ask', reader: 1, number, snapshot: { id, epoch, seq }, operation,
      }
      copies.event('n1', { type: 'frontend', from: 'greedy', message })
    }
  }
  askMany(ASKED_MAX + 500)
  t.equal(primary.snapshotReads.get('greedy')!.size, ASKED_MAX)
  t.ok(primary.snapshotsWaiting.length < ASKED_MAX)
  t.same(reader.read(3), [103])
  const answered = copies.replies.slice(before).filter(({ message }) => 'number' in message && message.reader === 1)
  t.equal(answered.length, ASKED_MAX)
  t.equal(primary.snapshotReads.size, 0, 'nothing is kept of what was answered')
  askMany(1)
  copies.settle()
  t.equal(copies.replies.length, before + ASKED_MAX + 2, 'and it may ask again')
  t.end()
})

t.test('N6: a node has so many uses, which go on; one more begins when another has ended', (t) => {
  const copies = serving()
  change(copies, 'snapshot', 's')
  const primary = copies.primary!.state.primary!
  const hears = (from: string, reader: number): boolean => {
    const before = copies.replies.length
    copies.event('n1', { type: 'frontend', from, message: { type: 'snapshot-open', reader, wanted: 's' } })
    return copies.replies.length > before
  }
  for (let reader = 1; reader <= USES_MAX; reader++) if (!hears('greedy', reader)) t.fail(`${reader}`)
  t.notOk(hears('greedy', USES_MAX + 1))
  t.equal(primary.uses.get('greedy')!.size, USES_MAX)
  t.ok(hears('greedy', 1), 'whoever has one goes on')
  t.ok(hears('other', 7), 'and other nodes begin')
  t.match(change(copies, 'snapshot-delete', 's'), { code: 'in-use', why: /node greedy and other reads it for 2049 / })
  copies.event('n1', { type: 'frontend', from: 'greedy', message: { type: 'snapshot-close', reader: 2 } })
  t.ok(hears('greedy', USES_MAX + 1))
  copies.run(SNAPSHOT_USE_MS / 2)
  t.ok(hears('greedy', 3))
  copies.run(SNAPSHOT_USE_MS / 2 + 100)
  t.ok(hears('greedy', USES_MAX + 2), 'nothing was heard of the others for long')
  t.same([...primary.uses].map(([node, own]) => [node, [...own.keys()]]), [['greedy', [3, USES_MAX + 2]]])
  t.end()
})
