/**
 * The accepting side's half of the prefaces, in the worker that is meant: judge who came, answer, and keep the socket
 * or end it. The answer says why not, so that the log of the other node does too.
 */
import type { PeerIdentity } from './delivery.ts'
import type { PeerSocket } from './peer-socket.ts'
import { answeringPreface, encodePreface, judgeAsked } from './preface.ts'
import type { PeerSelf, Preface } from './preface.ts'
import { FRAME_BYTES_MAX, WINDOW_BYTES } from './protocol.ts'
import type { Answer } from './protocol.ts'

/** A connection whose preface was read and not answered. */
export interface Arrival {
  /** Owned by the receiver. */
  fd: number
  preface: Preface
  address: string
}

/** The same, in the worker. */
export interface ArrivedPeer {
  socket: PeerSocket
  preface: Preface
  address: string
}

export interface Judgement {
  answer: Answer
  /** In words; empty when it is nobody's fault. */
  why: string
}

const WORDS: Record<Answer, string> = {
  asked: '',
  accepted: '',
  version: 'it speaks no version that we do',
  cluster: 'it belongs to another cluster',
  'not-me': 'it asks for another node, worker or instance',
  self: 'it says that it is this node',
  unknown: '',
  duplicate: '',
  stopping: '',
  'start-tls': '',
  'tls-required': 'it speaks plain text, and this node TLS only',
  'no-tls': 'it speaks TLS, and this node plain text only',
}

/** Of a preface in plain text, in a worker that speaks TLS: nothing in it is believed but which worker is meant. */
export function judgePlain(self: PeerSelf, preface: Preface): Judgement {
  const asked = judgeAsked(self, preface)
  const answer = asked !== 'accepted' ? asked : preface.wantsTls ? 'start-tls' : 'tls-required'
  return { answer, why: WORDS[answer] }
}

/** @returns what we said; or why it was refused, in words, empty when that is nobody's fault */
export function answerArrival(
  { socket: peer, preface, address }: ArrivedPeer,
  options: { self: PeerSelf; nonce: string; judge: (peer: PeerIdentity) => Judgement },
): Preface | string {
  const { self, nonce, judge } = options
  const { node, instance, worker, role } = preface
  let answer = judgeAsked(self, preface)
  let why = WORDS[answer]
  if (answer === 'accepted') {
    if (preface.wantsTls) [answer, why] = ['no-tls', WORDS['no-tls']]
    else if (preface.windowBytes < 2 * FRAME_BYTES_MAX) {
      [answer, why] = ['unknown', 'its window is smaller than two frames']
    } else if (role === 'supervisor' && preface.lane !== 'urgent') {
      [answer, why] = ['unknown', 'a supervisor has no data']
    } else ({ answer, why } = judge({ node, instance, worker, role, address }))
  }
  const { socket } = peer
  const own = answeringPreface(self, preface, { nonce, windowBytes: WINDOW_BYTES, answer })
  socket.on('error', () => socket.destroy())
  socket.write(encodePreface(own))
  if (answer === 'accepted') return own
  const scratch = new Uint8Array(64)
  peer.reader = { space: () => scratch, received: () => undefined }
  socket.on('end', () => socket.destroy())
  socket.destroySoon()
  return why
}
