/**
 * The accepting side's half of the prefaces, in the worker that is meant: judge who came, answer, and keep the socket
 * or end it. The answer says why not, so that the log of the other node does too.
 */
import type { PeerIdentity } from './delivery.ts'
import { PeerSocket } from './peer-socket.ts'
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
}

/** @returns the socket with what we said on it; or why it was refused, in words, empty when that is nobody's fault */
export function answerArrival(
  { fd, preface, address }: Arrival,
  options: {
    self: PeerSelf
    nonce: string
    judge: (peer: PeerIdentity) => { answer: Answer; why: string }
  },
): { socket: PeerSocket; own: Preface } | string {
  const { self, nonce, judge } = options
  const { node, instance, worker, role } = preface
  let answer = judgeAsked(self, preface)
  let why = WORDS[answer]
  if (answer === 'accepted') {
    if (preface.windowBytes < 2 * FRAME_BYTES_MAX) [answer, why] = ['unknown', 'its window is smaller than two frames']
    else if (role === 'supervisor' && preface.lane !== 'urgent') [answer, why] = ['unknown', 'a supervisor has no data']
    else ({ answer, why } = judge({ node, instance, worker, role, address }))
  }
  const socket = new PeerSocket({ fd })
  const own = answeringPreface(self, preface, { nonce, windowBytes: WINDOW_BYTES, answer })
  socket.socket.on('error', () => socket.socket.destroy())
  socket.socket.write(encodePreface(own))
  if (answer === 'accepted') return { socket, own }
  const scratch = new Uint8Array(64)
  socket.reader = { space: () => scratch, received: () => undefined }
  socket.socket.on('end', () => socket.socket.destroy())
  socket.socket.destroySoon()
  return why
}
