/**
 * A message of a peer, drawn: of any type, each of its numbers mostly such as mean something to the copy that gets it
 * (its epoch, its tail, what lies beside them), or else the ends of what the wire takes. What comes out went over the
 * wire: a message that no codec lets through is none.
 */
import type { CopyState } from '../../engine/replication/copy.ts'
import { encodeWindows } from '../../engine/replication/session-window.ts'
import type { Payload } from '../../engine/replication/record.ts'
import { U48_MAX } from '../../engine/units.ts'
import { isSayable, FRAME_TYPE } from '../../dataplane/peer/message-codec.ts'
import type { WireMessage } from '../../dataplane/peer/message-codec.ts'
import type { Slab, SlabPool } from '../../dataplane/slab-pool.ts'
import { blobs, blocks, MESSAGE_TYPES } from '../dataplane/peer/any-message.ts'
import { bytesOf, laneOf, read } from '../dataplane/peer/wire.ts'
import type { Random } from '../sim/random.ts'

export interface Known {
  state: CopyState
  /** Of the volume, as its copy tells it. */
  descriptor: unknown
  /** A member, or none. */
  nodes: readonly string[]
}

const EPOCH_MAX = 2 ** 32 - 1
const COUNT_MAX = Number.MAX_SAFE_INTEGER
const MODES = ['single', 'shared', 'read-only', 'open'] as const
const REFUSALS = ['epoch', 'gap', 'not-consistent', 'fenced', 'not-primary', 'not-member'] as const
const STATES = ['in-sync', 'catching-up', 'failed', 'needs-full'] as const
const OTHER_ID = 'cd'.repeat(16)
const PAYLOADS: ReadonlyArray<readonly [Payload, number]> = [
  [blocks(1, 1), 1], [blocks(1, 2), 1], [blocks(3, 3), 3], [blobs([1], 4), 1], [blobs([2, 64], 5, 3), 2],
]

/** Draws messages for one copy. */
export class MessageDraws {
  readonly #random: Random
  readonly #known: Known

  constructor(random: Random, known: Known) {
    this.#random = random
    this.#known = known
  }

  message(type: WireMessage['type'] = this.#pick(MESSAGE_TYPES)): unknown {
    return { type, ...(this.#fields(type) as object) }
  }

  #fields(type: WireMessage['type']): unknown {
    const { state } = this.#known
    const epoch = this.#epoch()
    switch (type) {
      case 'beacon':
        return { number: this.#count(), got: this.#maybe(() => ({ instance: this.#instance(), number: this.#count() })),
          left: this.#list(() => this.#volumeId()),
          commits: this.#list(() => [this.#volumeId(), this.#epoch(), this.#seq()]) }
      case 'ended':
      case 'ended-heard':
        return { instance: this.#instance() }
      case 'append': {
        const previous = this.#id()
        return { epoch, previous, records: this.#records(previous.seq), commitSeq: this.#seq() }
      }
      case 'stored':
        return { epoch, seq: this.#seq(), durableSeq: this.#seq(), ...this.#optional('fill', () => this.#fill()) }
      case 'refused':
        return { epoch, promised: this.#promised(), tail: this.#id(), why: this.#pick(REFUSALS) }
      case 'sync':
        return { epoch, seq: this.#seq() }
      case 'new-epoch':
        return { epoch, config: this.#config(epoch), ...this.#optional('since', () => this.#epoch()),
          ...this.#optional('token', () => this.#count()) }
      case 'promised':
        return { epoch, ...this.#report(), ...this.#optional('answerTo', () => this.#token()) }
      case 'hello':
        return { epoch, ...this.#report() }
      case 'join':
        return this.#report()
      case 'fetch-log':
        return { epoch, aboveSeq: this.#seq() }
      case 'log':
        return { epoch, records: this.#records(this.#seq()) }
      case 'reconcile': {
        const fork = this.#id()
        return { epoch, fork, records: this.#records(fork.seq), commitSeq: this.#seq() }
      }
      case 'release':
        return { epoch, ...this.#optional('token', () => this.#token()) }
      case 'confirm':
      case 'confirmed':
        return { epoch, token: this.#token() }
      case 'fence':
      case 'fenced':
        return { epoch, fence: this.#fence() }
      case 'fill-start':
        return this.#fillStart(epoch)
      case 'fill-started':
      case 'fill-end':
        return { epoch, fill: this.#fill() }
      case 'fill':
        return { epoch, fill: this.#fill(), number: this.#count(), versions: this.#list(() => this.#version()),
          slicesDone: this.#list(() => this.#slice()), ...this.#optional('appliedSeq', () => this.#seq()) }
      case 'filled':
        return { epoch, fill: this.#fill(), number: this.#count() }
      case 'fill-ended':
        return { epoch, fill: this.#fill(), tail: this.#seq() }
      case 'fetch-versions':
        return { epoch, wanted: this.#list(() => this.#versionId()), ...this.#optional('asked', () => this.#token()) }
      case 'versions':
        return { epoch, versions: this.#list(() => this.#version()), missing: this.#list(() => this.#versionId()),
          ...this.#optional('asked', () => this.#token()) }
      case 'open':
        return { session: this.#session(), mode: this.#pick(['read', 'write']) }
      case 'opened':
        return { session: this.#session(), epoch, sizeBytes: this.#size() }
      case 'held':
        return { session: this.#session(), epoch }
      case 'request':
        return { id: this.#requestId(), epoch, operation: this.#operation(), answeredBelow: this.#count() }
      case 'reply':
        return { id: this.#requestId(), epoch, result: this.#random.int(2) === 0 ? { ok: false, code: 'range' }
          : { ok: true, versions: this.#list(() => this.#version()) } }
      case 'redirect':
        return { epoch, id: this.#maybe(() => this.#requestId()), primary: this.#maybe(() => this.#node()) }
      case 'snapshot-open':
        return { reader: this.#count(), wanted: this.#snapshotId() }
      case 'snapshot-opened':
        return { reader: this.#count(), epoch }
      case 'snapshot-close':
        return { reader: this.#count() }
      case 'snapshot-ask':
        return { reader: this.#count(), number: this.#count(), snapshot: this.#place(),
          operation: this.#random.int(2) === 0 ? { type: 'read', lba: this.#lba(), blockCount: 1 + this.#random.int(8) }
            : { type: 'map', lba: this.#lba(), blockCount: 1 + this.#random.int(300),
              ...this.#optional('since', () => this.#place()) } }
      case 'snapshot-blocks':
        return { reader: this.#count(), number: this.#count(), epoch, versions: this.#list(() => this.#version()) }
      case 'snapshot-map':
        return { reader: this.#count(), number: this.#count(), epoch, runs: [], endLba: this.#seq() }
      case 'snapshot-refused':
        return { reader: this.#count(), number: this.#count(), epoch, code: 'gone' }
      default:
        return { epoch: state.promise.epoch }
    }
  }

  #fillStart(epoch: number): unknown {
    const { state, descriptor } = this.#known
    const fork = this.#seq()
    return {
      epoch, fill: this.#fill(), fork, target: this.#random.int(4) === 0 ? this.#seq() : fork + this.#random.int(3),
      slices: this.#list(() => [this.#slice(), this.#seq()]), wipe: this.#list(() => this.#slice()),
      descriptor: this.#descriptor(descriptor), epochs: this.#epochs(),
      windows: this.#random.int(2) === 0 ? encodeWindows(state.windows)
        : [[1, 1, this.#count(), this.#count(), [[this.#count(), 2, 0], [this.#count(), 1]]]],
      sizeBytes: this.#size(), forInstance: this.#random.int(8) === 0 ? OTHER_ID : state.options.instance,
      joinOf: this.#random.int(4) === 0 ? this.#count() : state.joinNumber, attach: this.#fence(),
      forgottenSeq: this.#seq(), isWhole: this.#random.int(2) === 0,
      ...this.#optional('sliceCount', () => this.#slice()),
      ...this.#optional('durability', () => this.#pick(['durable', 'writeback'])),
    }
  }

  /** What the copy has, with one of its values changed now and then. */
  #descriptor(descriptor: unknown): unknown {
    const copy = structuredClone(descriptor) as Record<string, unknown>
    if (this.#random.int(2) === 0) return copy
    const spec = copy.spec as Record<string, unknown>
    switch (this.#random.int(6)) {
      case 0: copy.epochs = this.#epochs(); break
      case 1: copy.snapshots = this.#list(() => ({ id: this.#snapshotId(), seq: this.#seq(), pinnedBy: null })); break
      case 2: copy.rollbacks = this.#list(() => [this.#seq(), this.#seq()]); break
      case 3: copy.deleted = true; break
      case 4: copy.forgottenSeq = this.#seq(); break
      case 5: spec.sizeBytes = this.#size(); break
    }
    return copy
  }

  #report(): object {
    const isFilling = this.#random.int(4) === 0
    const { state } = this.#known
    return {
      copyId: this.#random.int(8) === 0 ? OTHER_ID : `c-${this.#node()}`, promised: this.#promised(),
      epochs: this.#random.int(3) === 0 ? this.#epochs() : [...state.log.epochs], tail: this.#seq(),
      durableSeq: this.#seq(), commitSeq: this.#seq(),
      consistency: isFilling
        ? { state: 'filling', target: this.#seq(), slices: this.#list(() => [this.#slice(), this.#seq()]) }
        : { state: 'consistent' },
      attach: this.#fence(), isWhole: this.#random.int(4) > 0,
      forgottenSeq: this.#random.int(2) === 0 ? 0 : this.#seq(),
      lostSlices: this.#random.int(4) === 0 ? this.#list(() => this.#slice()) : [],
      ...this.#optional('joinNumber', () => this.#count()),
    }
  }

  #config(epoch: number): unknown {
    const { state } = this.#known
    const known = state.config?.config
    if (known !== undefined && this.#random.int(3) > 0) {
      return { ...known, epoch, primary: this.#random.int(2) === 0 ? known.primary : this.#node() }
    }
    const members = this.#list(() => this.#node())
    return {
      volumeId: this.#volumeId(), epoch: this.#epoch(), primary: this.#node(), inSync: this.#list(() => this.#node()),
      members: Object.fromEntries(members.map((node) =>
        [node, { copyId: `c-${node}`, state: this.#pick(STATES) }])),
      minInSync: this.#random.int(4), nonce: `n${this.#random.int(3)}`,
      attach: { generation: this.#count(), mode: this.#pick(MODES), holders: { [this.#node()]: this.#count() } },
    }
  }

  #records(behind: number): unknown[] {
    const count = this.#random.int(4)
    const isOrdered = this.#random.int(4) > 0
    const epoch = this.#epoch()
    return Array.from({ length: count }, (_, i) => {
      const seq = isOrdered ? Math.min(U48_MAX, behind + 1 + i) : this.#seq()
      const id = { epoch: isOrdered ? epoch : this.#epoch(), seq,
        request: this.#random.int(3) === 0 ? undefined : this.#requestId() }
      switch (this.#random.int(4)) {
        case 0:
          return { ...id, kind: 'control', change: this.#change(epoch, seq) }
        case 1:
          return { ...id, kind: this.#pick(['zero', 'trim']), lba: this.#lba(), blockCount: 1 + this.#random.int(300) }
        default: {
          const [payload, blockCount] = this.#pick(PAYLOADS)
          return { ...id, kind: 'write', lba: this.#lba(), blockCount, payload }
        }
      }
    })
  }

  #change(epoch: number, seq: number): unknown {
    const id = this.#snapshotId()
    const title = { name: 's', createdAtMs: 1, labels: {} }
    switch (this.#random.int(8)) {
      case 0: return { operation: 'resize', sizeBytes: this.#size() }
      case 1: return { operation: 'shrink', sizeBytes: this.#size() }
      case 2: return { operation: 'durability', to: this.#pick(['durable', 'writeback']) }
      case 3: return { operation: 'snapshot', id, title }
      case 4: return { operation: 'snapshot-delete', id }
      case 5: {
        const kept = (): unknown => ({ id: this.#snapshotId(), title })
        return { operation: 'rollback', to: id, ...this.#optional('kept', kept) }
      }
      case 6: return { operation: 'delete' }
      default: {
        const known = this.#known.state.log.epochs.filter(([, first]) => first < seq)
        return { operation: 'epoch', epochs: this.#random.int(3) === 0 ? this.#epochs() : [...known, [epoch, seq]] }
      }
    }
  }

  #operation(): unknown {
    const fua = this.#random.int(2) === 0
    switch (this.#random.int(4)) {
      case 0:
        return { type: 'flush' }
      case 1:
        return { type: 'read', lba: this.#lba(), blockCount: 1 + this.#random.int(300) }
      case 2:
        return { type: this.#pick(['zero', 'trim']), lba: this.#lba(), blockCount: 1 + this.#random.int(300), fua }
      default: {
        const [payload, blockCount] = this.#pick(PAYLOADS)
        return { type: 'write', lba: this.#lba(), blockCount, payload, fua,
          edges: this.#list(() => [this.#lba(), this.#seq()]) }
      }
    }
  }

  #version(): unknown {
    const kind = this.#pick(['write', 'write', 'zero', 'trim'])
    return { ...(this.#versionId() as object), kind, payload: kind === 'write' ? this.#pick(PAYLOADS.slice(0, 2))[0]
      : undefined }
  }

  #versionId(): unknown {
    return { ...this.#id(), lba: this.#lba() }
  }

  #fence(): unknown {
    if (this.#random.int(2) === 0) return this.#known.state.attach
    return {
      brokenGeneration: this.#count(), incarnations: this.#list(() => [this.#count(), this.#count()]),
      ...this.#optional('open', () => this.#list(() => [this.#node(), this.#count(), this.#count()])),
    }
  }

  #promised(): unknown {
    const { promise } = this.#known.state
    return this.#random.int(2) === 0 ? promise
      : { epoch: this.#epoch(), primary: this.#random.int(4) === 0 ? '' : this.#node() }
  }

  #requestId(): unknown {
    const parts = 1 + this.#random.int(3)
    return {
      ...(this.#session() as object), request: this.#count(), part: this.#random.int(parts), parts,
      ...this.#optional('answeredBelow', () => this.#count()),
    }
  }

  #session(): unknown {
    return { generation: 1 + this.#random.int(2), incarnation: this.#random.int(8) === 0 ? COUNT_MAX : 1 }
  }

  #epochs(): Array<[number, number]> {
    let epoch = 0
    let seq = 0
    return this.#list(() => [(epoch += 1 + this.#random.int(2)), (seq += 1 + this.#random.int(3))])
  }

  #place(): unknown {
    return { id: this.#snapshotId(), ...this.#id() }
  }

  #id(): { epoch: number; seq: number } {
    const { log } = this.#known.state
    return this.#random.int(3) === 0 ? { epoch: this.#epoch(), seq: this.#seq() }
      : { epoch: log.epochs.at(-1)?.[0] ?? 0, seq: log.tail }
  }

  #epoch(): number {
    const { promise, config } = this.#known.state
    switch (this.#random.int(12)) {
      case 0: return 0
      case 1: return 1
      case 2: return EPOCH_MAX
      case 3: return promise.epoch + 2
      case 4: case 5: return promise.epoch + 1
      case 6: return config?.config.epoch ?? 1
      default: return promise.epoch
    }
  }

  #seq(): number {
    const { log } = this.#known.state
    switch (this.#random.int(12)) {
      case 0: return 0
      case 1: return 1
      case 2: return U48_MAX
      case 3: return log.commitSeq
      case 4: return Math.min(U48_MAX, log.tail + 1)
      case 5: return Math.min(U48_MAX, log.tail + 2)
      case 6: return log.durableSeq
      case 7: return Math.max(0, log.tail - 1)
      default: return log.tail
    }
  }

  #token(): number {
    return this.#random.int(8) === 0 ? this.#count() : Math.max(0, this.#known.state.nextToken - this.#random.int(4))
  }

  #fill(): number {
    return this.#random.int(4) === 0 ? this.#count() : this.#token()
  }

  #count(): number {
    const drawn = this.#random.int(8)
    return drawn === 7 ? COUNT_MAX : drawn
  }

  #lba(): number {
    return this.#random.int(8) === 0 ? this.#pick([255, 256, 2 ** 18 - 1, 2 ** 18, 2 ** 32, U48_MAX - 300_000])
      : this.#random.int(16)
  }

  #size(): number {
    return this.#pick([0, 4096, 65_536, 2 ** 20, 2 ** 21, 2 ** 30, 2 ** 31, 2 ** 46, COUNT_MAX])
  }

  #slice(): number {
    return this.#random.int(8) === 0 ? this.#pick([2, 65_535, EPOCH_MAX]) : this.#random.int(2)
  }

  #volumeId(): string {
    return this.#random.int(8) === 0 ? OTHER_ID : this.#known.state.options.volumeId
  }

  #instance(): string {
    return this.#random.int(2) === 0 ? this.#known.state.options.instance : OTHER_ID
  }

  #node(): string {
    return this.#pick(this.#known.nodes)
  }

  #snapshotId(): string {
    return `s${this.#random.int(3)}`
  }

  #list<T>(one: () => T): T[] {
    return Array.from({ length: this.#random.int(4) }, one)
  }

  #maybe<T>(one: () => T): T | undefined {
    return this.#random.int(2) === 0 ? undefined : one()
  }

  #optional(name: string, one: () => unknown): object {
    return this.#random.int(2) === 0 ? {} : { [name]: one() }
  }

  #pick<T>(from: readonly T[]): T {
    return this.#random.pick(from)
  }
}

/** As it comes out at the other end. Undefined: the other end does not take it. */
export function overTheWire(drawn: unknown, pool: SlabPool): { message: WireMessage; slabs: Slab[] } | undefined {
  const message = drawn as WireMessage
  if (FRAME_TYPE[message.type] === undefined || !isSayable(message)) return undefined
  let bytes: Uint8Array
  try {
    bytes = bytesOf([message], { pool })
  } catch {
    // Whoever lays it may expect what the machine keeps to; what is looked for here is behind the wire.
    return undefined
  }
  const { messages, slabs, problem } = read(bytes, { lane: laneOf(message), pool })
  if (problem !== undefined || messages.length !== 1) {
    for (const slab of slabs) pool.release(slab)
    return undefined
  }
  return { message: messages[0]!, slabs }
}
