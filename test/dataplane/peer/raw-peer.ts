/** Somebody who speaks the protocol by hand, as well or as badly as a test wants. */
import { once } from 'node:events'
import net from 'node:net'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { encodeHeader } from '../../../dataplane/peer/frame-header.ts'
import type { HeaderFields } from '../../../dataplane/peer/frame-header.ts'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import type { PeerEndpoint } from '../../../dataplane/peer/peer-socket.ts'
import { askingPreface, decodePreface, directionSeed, encodePreface } from '../../../dataplane/peer/preface.ts'
import type { Preface } from '../../../dataplane/peer/preface.ts'
import { HEADER_BYTES, LANE_FRAME, VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import { bytesOf } from './wire.ts'
import { CLUSTER, hex, until } from './workers.ts'

export class RawPeer {
  readonly socket: net.Socket
  answer: Preface | undefined
  isClosed = false
  seed = 0
  version = VERSION_GREATEST
  number = 0
  #got = Buffer.alloc(0) as Buffer

  constructor(endpoint: PeerEndpoint) {
    this.socket = net.connect(endpoint)
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => (this.isClosed = true))
    this.socket.on('data', (bytes) => (this.#got = Buffer.concat([this.#got, bytes])))
  }

  /** Says a preface that is right but for `wrong`, and waits for the answer, or for the end. */
  static async meet(endpoint: PeerEndpoint, wrong: Partial<Preface> = {}): Promise<RawPeer> {
    const peer = new RawPeer(endpoint)
    await once(peer.socket, 'connect')
    const self = { clusterId: CLUSTER, node: 'n3', instance: hex(), worker: 0, role: 'worker' as const }
    const options = { node: 'n2', worker: 0, lane: 'data' as const, nonce: hex(), windowBytes: 32 << 20 }
    const asked = { ...askingPreface(self, options), ...wrong }
    peer.socket.write(encodePreface(asked))
    await until(() => peer.isClosed || peer.#got.length >= 224)
    const answer = peer.isClosed && peer.#got.length < 224 ? undefined : decodePreface(peer.#got.subarray(0, 224))
    if (typeof answer !== 'object') return peer
    peer.answer = answer
    peer.version = answer.version
    peer.seed = directionSeed(asked, answer)
    return peer
  }

  /** A frame whose header says what the test wants, sealed as it should be. */
  frame(fields: Partial<HeaderFields>, body: Uint8Array = new Uint8Array(0)): Buffer {
    const bytes = Buffer.alloc(HEADER_BYTES + body.length)
    bytes.set(body, HEADER_BYTES)
    const bodyCrc = crc32c(body, this.seed) >>> 0
    const whole: HeaderFields = {
      type: LANE_FRAME.alive, flags: 0, controlBytes: body.length, payloadBytes: 0, volume: new Uint8Array(16),
      epoch: 0, number: this.number++, consumedBytes: 0, bodyCrc, ...fields,
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    encodeHeader(bytes, view, 0, whole, { version: this.version, seed: this.seed })
    return bytes
  }

  /** The first frames of this connection. */
  messages(...messages: WireMessage[]): Buffer {
    return bytesOf(messages, { seed: this.seed, pool: new SlabPool(), version: this.version })
  }

  async ended(): Promise<void> {
    await until(() => this.isClosed)
  }
}
