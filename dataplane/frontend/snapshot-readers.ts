/**
 * The readers of snapshots in a data worker (`engine/replication/snapshot-reader.ts`): one for each client that opened
 * a snapshot, with its inbox and what it asked. They are by volume, since that is what messages and news are of.
 *
 * A reader is opened before its client is served, while the handshake is under way: only the primary knows whether
 * there is such a snapshot, and how large it is. Whoever opened it closes it.
 */
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { NodeId } from '../../engine/replication/configuration.ts'
import type { FrontendMessage, OpenedSnapshot, SnapshotOperation } from '../../engine/replication/messages.ts'
import {
  closeSnapshotReader, createSnapshotReader, stepSnapshotReader,
} from '../../engine/replication/snapshot-reader.ts'
import type {
  ReaderAnswer, ReaderEvent, ReaderPort, SnapshotReaderState,
} from '../../engine/replication/snapshot-reader.ts'
import { Inbox } from '../copy/turn-loop.ts'
import { NOWHERE } from '../copy/wake-timer.ts'
import type { Sleeper } from '../copy/wake-timer.ts'
import type { FrontendOwner } from './hosted-frontend.ts'
import type { UnwrappedKeys } from '../../cluster/keys/data-key.ts'
import { BlockEncryption } from './block-encryption.ts'
import { asWritten } from './block-bytes.ts'

export const READER_LIMITS = { resendMs: 1000, retryMs: 50, partBlocksMax: 256, inFlightBlocksMax: 1024 }

/** Of one worker in the life of a daemon: with the number of its start it is a whole number below 2^48. */
const READERS_MAX = 2 ** 24

/** What a reader's client is shown besides. */
export interface ReaderFacts {
  volumeId: string
  blockSizeBytes: number
  description: string
}

/** What is to be opened. */
export interface ReaderWish {
  /** Name of a snapshot, else its id. */
  wanted: string
  ioTimeoutMs: number
  /** Of an encrypted volume; the reader's from now on. */
  keys: UnwrappedKeys | undefined
  /** A block of it is not what somebody with the key wrote there. */
  onRefusedBlock(lba: number): void
}

export type ReaderResult = ReaderAnswer | { ok: false; code: 'ended' }

type Answered = (answer: ReaderResult) => void

export class HostedReader implements Sleeper {
  readonly facts: ReaderFacts
  readonly number: number
  readonly state: SnapshotReaderState
  readonly inbox: Inbox<ReaderEvent>
  place = NOWHERE
  readonly #encryption: BlockEncryption | undefined
  readonly #owner: FrontendOwner
  readonly #port: ReaderPort
  readonly #pending = new Map<number, Answered>()
  #nextTag = 1
  #isEnded = false

  /** @param opened  once: what it opened; undefined when there is no such snapshot */
  constructor(
    facts: ReaderFacts,
    { number, wanted, ioTimeoutMs, keys, onRefusedBlock }: ReaderWish & { number: number },
    owner: FrontendOwner,
    opened: (snapshot: OpenedSnapshot | undefined) => void,
  ) {
    const { volumeId } = facts
    this.facts = facts
    this.number = number
    this.#encryption = keys === undefined ? undefined : new BlockEncryption(keys, onRefusedBlock)
    this.#owner = owner
    this.state = createSnapshotReader({ reader: number, wanted, ioTimeoutMs, ...READER_LIMITS })
    this.#port = {
      send: (to, message) => owner.ask(to, volumeId, message),
      readConfig: (token) =>
        owner.configs.read(volumeId, (read) => {
          const value = read.ok ? read.value : undefined
          if (!this.#isEnded) this.inbox.put({ type: 'config-read', token, ok: read.ok, value })
        }),
      wakeAt: (atMs) => owner.timer.wakeAt(this, atMs),
      opened,
      answer: (tag, answer) => this.#take(tag)?.(answer),
    }
    this.inbox = new Inbox<ReaderEvent>(owner.loop, (event) => {
      if (this.#isEnded) return
      stepSnapshotReader(this.state, asWritten(event, this.#encryption), owner.loop.nowMs(), this.#port)
    })
    owner.timer.add(this)
    this.inbox.put({ type: 'tick' })
  }

  /** As it was when it was opened. */
  get snapshot(): OpenedSnapshot | undefined {
    return this.state.snapshot
  }

  wake(): void {
    this.inbox.put({ type: 'tick' })
  }

  /** `answered` once; `ended` when the reader was closed before. */
  ask(operation: SnapshotOperation, answered: Answered): void {
    if (this.#isEnded) return answered({ ok: false, code: 'ended' })
    const tag = this.#nextTag++
    this.#pending.set(tag, answered)
    this.inbox.put({ type: 'ask', tag, operation })
  }

  /** What is not answered never will be by a copy. */
  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#encryption?.close()
    closeSnapshotReader(this.state, this.#port)
    this.#owner.timer.delete(this)
    for (const tag of [...this.#pending.keys()]) this.#take(tag)?.({ ok: false, code: 'ended' })
  }

  #take(tag: number): Answered | undefined {
    const answered = this.#pending.get(tag)
    this.#pending.delete(tag)
    return answered
  }
}

export class SnapshotReaders {
  readonly #owner: FrontendOwner
  readonly #firstNumber: number
  readonly #byVolume = new Map<string, Map<number, HostedReader>>()
  readonly #unwatch: () => void
  #opened = 0

  /** @param startNumber  of this start of the daemon, as no other in the cluster has; below 2^24 */
  constructor(owner: FrontendOwner, startNumber: number) {
    this.#owner = owner
    this.#firstNumber = startNumber * READERS_MAX
    this.#unwatch = owner.configs.watch((value) => {
      for (const reader of this.#of(value.config.volumeId)) reader.inbox.put({ type: 'config-hint', value })
    })
  }

  /**
   * @param opened  once; undefined when there is no such snapshot, and then the reader is gone
   * @returns the reader's number
   */
  open(
    facts: ReaderFacts,
    wish: ReaderWish,
    opened: (snapshot: OpenedSnapshot | undefined) => void,
  ): number {
    const { volumeId } = facts
    const number = this.#firstNumber + (this.#opened++ % READERS_MAX)
    const reader = new HostedReader(facts, { number, ...wish }, this.#owner, (snapshot) => {
      if (snapshot === undefined) this.close(number)
      opened(snapshot)
    })
    const readers = this.#byVolume.get(volumeId)
    if (readers === undefined) this.#byVolume.set(volumeId, new Map([[number, reader]]))
    else readers.set(number, reader)
    return number
  }

  reader(number: number): HostedReader | undefined {
    for (const readers of this.#byVolume.values()) {
      const reader = readers.get(number)
      if (reader !== undefined) return reader
    }
    return undefined
  }

  /** Nobody reads any more. Repeatable. */
  close(number: number): void {
    const reader = this.reader(number)
    if (reader === undefined) return
    reader.end()
    const { volumeId } = reader.facts
    const readers = this.#byVolume.get(volumeId)!
    readers.delete(number)
    if (readers.size === 0) this.#byVolume.delete(volumeId)
  }

  /** The volume is gone: who reads it is told so whatever he asks. */
  endVolume(volumeId: string): void {
    for (const reader of this.#of(volumeId)) reader.end()
  }

  has(volumeId: string): boolean {
    return this.#byVolume.has(volumeId)
  }

  /** A copy answers, of this worker or another. */
  tell(volumeId: string, from: NodeId, message: FrontendMessage): void {
    const readers = this.#byVolume.get(volumeId)
    if (readers === undefined) return
    const event = { type: 'message', from, message } as const
    if ('reader' in message) readers.get(message.reader)?.inbox.put(event)
    else for (const reader of readers.values()) reader.inbox.put(event)
  }

  shutDown(): void {
    this.#unwatch()
    for (const readers of this.#byVolume.values()) for (const reader of readers.values()) reader.end()
    this.#byVolume.clear()
  }

  #of(volumeId: string): HostedReader[] {
    return [...(this.#byVolume.get(volumeId)?.values() ?? [])]
  }
}

/** What a client is told of an answer that is none. */
export const ERRNO_OF = {
  timeout: NBD_ERRNO.EIO,
  'snapshot-gone': NBD_ERRNO.EIO,
  range: NBD_ERRNO.EINVAL,
  damaged: NBD_ERRNO.EIO,
  ended: NBD_ERRNO.ESHUTDOWN,
} as const
