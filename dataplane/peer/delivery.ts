/**
 * A message that arrived, on its way to whoever uses it. Until `done` its bytes count against the window of its sender,
 * who holds back when it is used up: so `done` belongs where the store has taken what the message brought.
 */
import type { Slab, SlabPool } from '../slab-pool.ts'
import type { MessageFamily, WireMessage } from './message-codec.ts'

/** Who is at the other end: bound by the preface, the same for every frame of the connection. */
export interface PeerIdentity {
  node: string
  instance: string
  worker: number
  role: 'worker' | 'supervisor'
  /** Of the socket, for the log. */
  address: string
}

export class Delivery {
  readonly from: PeerIdentity
  readonly family: MessageFamily
  /** Zeroes for messages between nodes. */
  readonly volumeId: string
  readonly message: WireMessage
  readonly #pool: SlabPool
  readonly #slabs: readonly Slab[]
  readonly #onDone: () => void
  #isDone = false
  #isReleased = false

  constructor(options: {
    from: PeerIdentity
    family: MessageFamily
    volumeId: string
    message: WireMessage
    pool: SlabPool
    /** Where payload lies. */
    slabs: readonly Slab[]
    onDone: () => void
  }) {
    this.from = options.from
    this.family = options.family
    this.volumeId = options.volumeId
    this.message = options.message
    this.#pool = options.pool
    this.#slabs = options.slabs
    this.#onDone = options.onDone
  }

  /** The sender may send as much again. The payload stays where it is for as long as somebody refers to it. */
  done(): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#onDone()
  }

  /** `done`, and nobody looks at the payload any more: its memory is used again at once. */
  release(): void {
    this.done()
    if (this.#isReleased) return
    this.#isReleased = true
    for (const slab of this.#slabs) this.#pool.release(slab)
  }
}
