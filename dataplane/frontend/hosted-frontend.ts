/**
 * One attachment of a volume in its worker: the frontend machine (`engine/replication/frontend.ts`), its inbox, and the
 * requests of its clients until they are answered. Each client connection has a `FrontendDevice` of its own, so that
 * the machine knows which requests go when a connection does (SPEC S5).
 *
 * A primary in the same worker is told without a message on a wire: what is asked of it is in its inbox in the same
 * turn, and its answer in ours.
 *
 * Memory: a client's bytes are referred to, never copied. What a client may have under way is its connection's to
 * bound; what is on the way to the primary is bounded here, and a write that nobody waits for any more (its connection
 * closed, its time is over) but a copy may have stays within that bound until the primary has answered.
 *
 * An attachment that failed, or ended, answers errors for as long as somebody asks: its clients are not the ones of the
 * attachment that takes its place, and have to hear that something happened (SPEC S6).
 */
import type { NodeId } from '../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import { createFrontend, stepFrontend } from '../../engine/replication/frontend.ts'
import type {
  ClientAnswer, ClientFailure, FrontendEvent, FrontendOptions, FrontendPort,
} from '../../engine/replication/frontend-port.ts'
import type { FrontendState } from '../../engine/replication/frontend-state.ts'
import type { FrontendMessage } from '../../engine/replication/messages.ts'
import type { ClientOperation } from '../../engine/replication/request-parts.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { Done } from '../../engine/volume/block-device.ts'
import type { ConfigPort } from '../copy/config-port.ts'
import { Inbox } from '../copy/turn-loop.ts'
import type { TurnLoop } from '../copy/turn-loop.ts'
import { NOWHERE } from '../copy/wake-timer.ts'
import type { Sleeper, WakeTimer } from '../copy/wake-timer.ts'
import { numberedAt } from '../../engine/replication/numbered.ts'
import { READ_NUMBERS_FROM } from '../../engine/replication/frontend-state.ts'
import type { BlockVersion, RequestId } from '../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import type { Compression } from '../../engine/volume/volume-spec.ts'
import { eraseKeys } from '../../cluster/keys/data-key.ts'
import type { UnwrappedKeys } from '../../cluster/keys/data-key.ts'
import { LatencyHistogram } from '../meters/latency-histogram.ts'
import { letGo, type BlobMemory } from './blob-memory.ts'
import { BlockCompression } from './block-compression.ts'
import { BlockEncryption } from './block-encryption.ts'
import { asWritten, composeBlocks, fillFrom, openInto, strangeLba, type PayloadOf } from './block-bytes.ts'
import { BlockRewriter } from './block-rewriter.ts'
import { errnoOf } from './failures.ts'

export interface FrontendOwner {
  readonly loop: TurnLoop
  readonly timer: WakeTimer
  readonly configs: ConfigPort
  /** Where payloads are laid that are not the client's own bytes. */
  readonly blobs: BlobMemory
  /** Where what is encrypted next is compressed to. */
  readonly compressed: BlobMemory
  /** To the copy of the volume on a node, which may be this one. */
  ask(to: NodeId, volumeId: string, message: FrontendMessage): void
}

/** What an attachment shows its clients. */
export interface ExportFacts {
  volumeId: string
  /** Until the primary has said more. */
  sizeBytes: number
  blockSizeBytes: number
  description: string
  /** Of writes, to begin with; absent: none. */
  compression?: Compression
}

export type SessionFailure = NonNullable<FrontendState['failed']>

/** How an attachment begins, and who hears that its session ended for ever. */
export interface FrontendBeginning {
  /** A configuration to begin with; may be old. */
  known?: VersionedConfig | undefined
  onFailed?: ((code: SessionFailure) => void) | undefined
  /** Of an encrypted volume; the attachment's from now on. */
  keys?: UnwrappedKeys | undefined
  /** A block is not what somebody with the key wrote there. */
  onRefusedBlock?: ((lba: number) => void) | undefined
  /** A primary answered with a block that was not asked for. */
  onStrangeBlock?: ((lba: number) => void) | undefined
}

interface Pending {
  connection: number
  done: Done
  /** Of a read that looks at blobs as they are stored. */
  seen: ((versions: readonly BlockVersion[]) => void) | undefined
  /** Of a read: where it goes. */
  into: Uint8Array | undefined
  isWrite: boolean
  offsetBytes: number
}

export class HostedFrontend implements Sleeper {
  readonly facts: ExportFacts
  readonly state: FrontendState
  readonly inbox: Inbox<FrontendEvent>
  place = NOWHERE
  /** How long requests waited here before they left for the primary: for others, for room, for somebody who leads. */
  readonly admitted = new LatencyHistogram()
  readonly compression: BlockCompression
  readonly #encryption: BlockEncryption | undefined
  readonly #onStrangeBlock: (lba: number) => void
  readonly #owner: FrontendOwner
  readonly #port: FrontendPort
  #rewriter: BlockRewriter | undefined
  /** The wish that it is for. */
  #rewritesFor = ''
  /** By tag; a free place is undefined. */
  readonly #pending: Array<Pending | undefined> = []
  readonly #free: number[] = []
  #nextConnection = 1
  /** What every request is answered, once it has ended. */
  #endedWith: number | undefined
  /** Of the step under way. */
  #nowMs = 0
  /** Highest numbers that left: of changes, and of reads and flushes. */
  #lastChange = 0
  #lastRead = READ_NUMBERS_FROM - 1

  constructor(
    facts: ExportFacts,
    options: FrontendOptions,
    owner: FrontendOwner,
    { known, onFailed, keys, onRefusedBlock, onStrangeBlock }: FrontendBeginning = {},
  ) {
    this.facts = facts
    this.#owner = owner
    const { blobs: memory, compressed } = owner
    this.compression = new BlockCompression(facts.compression ?? 'none', keys === undefined ? memory : compressed)
    this.#onStrangeBlock = onStrangeBlock ?? (() => undefined)
    this.#encryption = keys === undefined ? undefined : new BlockEncryption(keys, onRefusedBlock, { memory })
    this.state = createFrontend(options)
    this.inbox = new Inbox<FrontendEvent>(owner.loop, (event) => {
      if (this.#endedWith !== undefined) return
      const { failed } = this.state
      this.#nowMs = owner.loop.turnMs
      stepFrontend(this.state, this.#asWritten(event), this.#nowMs, this.#port)
      if (failed === undefined && this.state.failed !== undefined) onFailed?.(this.state.failed)
    })
    const { volumeId } = facts
    const payloadOf: PayloadOf = (bytes, lba) =>
      this.#encryption?.payloadOf(this.compression.blobsOf(bytes), lba) ?? this.compression.payloadOf(bytes)
    this.#port = {
      send: (to, message) => {
        if (message.type === 'request') this.#noteLeft(message.id)
        owner.ask(to, volumeId, message)
      },
      answer: (connection, tag, answer) => this.#answered(connection, tag, answer),
      readConfig: (token) =>
        owner.configs.read(volumeId, (read) => {
          const value = read.ok ? read.value : undefined
          if (this.#endedWith === undefined) this.inbox.put({ type: 'config-read', token, ok: read.ok, value })
        }),
      wakeAt: (atMs) => owner.timer.wakeAt(this, atMs),
      compose: (write) => composeBlocks(write, payloadOf),
      composedEnded: letGo,
    }
    owner.timer.add(this)
    this.inbox.put(known === undefined ? { type: 'tick' } : { type: 'config-hint', value: known })
  }

  get sizeBytes(): number {
    return this.state.sizeBytes ?? this.facts.sizeBytes
  }

  /** Of its session. */
  get generation(): number {
    return this.state.options.session.generation
  }

  /** Why nothing is served under this session any more; undefined: nobody said so. */
  get failed(): SessionFailure | undefined {
    return this.state.failed
  }

  /** Requests that are not answered. */
  get pendingCount(): number {
    return this.#pending.length - this.#free.length
  }

  wake(): void {
    this.inbox.put({ type: 'tick' })
  }

  connect(): number {
    return this.#nextConnection++
  }

  /**
   * @param into  of a read; filled before `done(0)`
   * @param seen  of a read, instead: its versions as they are stored, before `done(0)`
   */
  request(connection: number, operation: ClientOperation, done: Done, into?: Uint8Array, seen?: Pending['seen']): void {
    if (this.#endedWith !== undefined) return done(this.#endedWith)
    const tag = this.#free.pop() ?? this.#pending.push(undefined) - 1
    const offsetBytes = operation.type === 'flush' ? 0 : operation.offsetBytes
    const isWrite = operation.type === 'write' || operation.type === 'zero'
    this.#pending[tag] = { connection, done, seen, into, isWrite, offsetBytes }
    this.inbox.put({ type: 'request', connection, tag, operation })
  }

  /** Its requests end here; those that a copy may have go on without it. */
  disconnect(connection: number): void {
    for (let tag = 0; tag < this.#pending.length; tag++) {
      if (this.#pending[tag]?.connection === connection) this.#take(tag).done(NBD_ERRNO.ESHUTDOWN)
    }
    if (this.#endedWith === undefined) this.inbox.put({ type: 'connection-closed', connection })
  }

  /**
   * The attachment ends; what is not answered never will be by a copy. Its clients are told why as long as they ask;
   * without a reason that this worker goes on without it. What failed before stays the reason.
   */
  end(code?: ClientFailure): void {
    if (this.#endedWith !== undefined) return
    const reason = this.state.failed ?? code
    const errno = reason === undefined ? NBD_ERRNO.ESHUTDOWN : errnoOf(reason)
    this.#endedWith = errno
    this.#rewriter?.end()
    this.#encryption?.close()
    this.#owner.timer.delete(this)
    for (let tag = 0; tag < this.#pending.length; tag++) {
      if (this.#pending[tag] !== undefined) this.#take(tag).done(errno)
    }
  }

  /** Of an encrypted volume; 0: it is none. */
  get keyCount(): number {
    return this.#encryption?.keyCount ?? 0
  }

  get writesUnder(): number {
    return this.#encryption?.writesUnder ?? 0
  }

  /** The keys of its spec as it is now; the attachment's from now on. */
  renewKeys(keys: UnwrappedKeys): void {
    if (this.#endedWith === undefined && this.#encryption !== undefined) this.#encryption.renew(keys)
    else eraseKeys(keys)
  }

  /**
   * The pass that writes blocks of former data keys anew: begun by the first who asks, until it has ended and somebody
   * was told. Who asks then asks for another one, and so does another wish: a rollback may have brought back what it
   * wrote anew.
   */
  rewriteFormer(wish: string): BlockRewriter | undefined {
    const encryption = this.#encryption
    if (encryption === undefined || this.#endedWith !== undefined || this.failed !== undefined) return undefined
    // Written under a former one it would not be done, whatever it says.
    if (this.state.options.mode === 'read' || !encryption.writesNewest) return undefined
    const known = this.#rewriter
    if (known !== undefined && this.#rewritesFor === wish) {
      if (known.hasEnded) this.#rewriter = undefined
      return known
    }
    known?.end()
    this.#rewritesFor = wish
    const connection = this.connect()
    const isOwn = (pending: Pending | undefined): boolean => pending?.connection === connection
    return (this.#rewriter = new BlockRewriter({
      sizeBytes: () => this.sizeBytes,
      hasFailed: () => this.failed !== undefined,
      isBusy: () => this.#pending.some((one) => one !== undefined && !isOwn(one)),
      look: (lba, blockCount, seen) => {
        const range = { offsetBytes: lba * BLOCK_BYTES, lengthBytes: blockCount * BLOCK_BYTES }
        let versions: readonly BlockVersion[] = []
        const done = (errno: number): void => seen(errno, versions)
        this.request(connection, { type: 'read', ...range }, done, undefined, (found) => void (versions = found))
      },
      isFormer: ({ payload }) => payload !== undefined && encryption.isFormer(blobsOf(payload).bytes),
      rewrite: (lba, done) => {
        const inside = { offsetBytes: lba * BLOCK_BYTES + BLOCK_BYTES / 2, lengthBytes: 0 }
        this.request(connection, { type: 'write', ...inside, data: new Uint8Array(0), fua: false }, done)
      },
    }, this.#owner.loop))
  }

  /** Numbers are given in the order in which requests leave, so one that is not above the last was sent before. */
  #noteLeft({ request: number, part }: RequestId): void {
    const isRead = number >= READ_NUMBERS_FROM
    if (part !== 0 || number <= (isRead ? this.#lastRead : this.#lastChange)) return
    if (isRead) this.#lastRead = number
    else this.#lastChange = number
    const { outgoing, requests } = this.state
    const first = numberedAt(outgoing, number)?.[0]
    // The edges of a narrow write are read before it leaves.
    if (first === undefined || first.edgeOf !== undefined) return
    this.admitted.observe(this.#nowMs - numberedAt(requests, first.arrival)!.atMs)
  }

  /** What a client reads of an encrypted volume is opened when it is answered, where it goes. */
  #asWritten(event: FrontendEvent): FrontendEvent {
    if (this.#encryption === undefined) return asWritten(event)
    if (event.type === 'message' && event.message.type === 'reply') {
      // Of a request in several parts some may have their answers.
      const one = numberedAt(this.state.outgoing, event.message.id.request)?.find((part) => part !== undefined)
      if (one !== undefined && one.edgeOf === undefined) return event
    }
    return asWritten(event, this.#encryption)
  }

  #take(tag: number): Pending {
    const pending = this.#pending[tag]!
    this.#pending[tag] = undefined
    this.#free.push(tag)
    return pending
  }

  #answered(connection: number, tag: number, answer: ClientAnswer): void {
    // Its connection may have gone in this turn, and its place be another's.
    if (this.#pending[tag]?.connection !== connection) return
    const { done, seen, into, isWrite, offsetBytes } = this.#take(tag)
    if (!answer.ok) return done(errnoOf(answer.code, isWrite))
    seen?.(answer.versions)
    if (into === undefined) return done(NBD_ERRNO.NONE)
    const isFilled = this.#encryption === undefined
      ? fillFrom(answer.versions, offsetBytes, into)
      : openInto(answer.versions, offsetBytes, into, this.#encryption)
    if (isFilled) return done(NBD_ERRNO.NONE)
    // Else it could not be opened, which is told where that is found.
    const strange = strangeLba(answer.versions, offsetBytes, into.length)
    if (strange !== undefined) this.#onStrangeBlock(strange)
    done(errnoOf('damaged'))
  }
}
