/**
 * One attempt to reach a peer: connect, say our preface, read and judge the answer. Ends once, with a socket that is
 * ready for frames or with a reason, within a deadline.
 */
import type net from 'node:net'
import type { ClockPort } from '../../engine/ports.ts'
import { PeerSocket, PrefaceReader } from './peer-socket.ts'
import type { PeerEndpoint } from './peer-socket.ts'
import { decodePreface, encodePreface, judgeAnswer } from './preface.ts'
import type { Preface } from './preface.ts'
import { FRAME_BYTES_MAX } from './protocol.ts'

export interface DialOptions {
  endpoint: PeerEndpoint
  preface: Preface
  clock: ClockPort
  deadlineMs: number
  /** `strange`: somebody else answers there, or in words that are not ours. */
  failed(why: string, strange: boolean): void
  answered(socket: PeerSocket, answer: Preface): void
}

/** @returns what gives the attempt up without a word */
export function dial(options: DialOptions): () => void {
  const { endpoint, preface, clock, deadlineMs } = options
  let isOver = false
  const over = (): boolean => {
    if (isOver) return false
    isOver = true
    deadline.cancel()
    return true
  }
  const fail = (why: string, strange: boolean): void => {
    if (!over()) return
    peer.socket.destroy()
    options.failed(why, strange)
  }
  const reader = new PrefaceReader((bytes) => {
    const answer = decodePreface(bytes)
    if (typeof answer === 'string') return fail(answer, true)
    const problem = judgeAnswer(preface, answer)
    if (problem !== undefined) return fail(problem, answer.answer !== 'duplicate' && answer.answer !== 'stopping')
    if (answer.windowBytes < 2 * FRAME_BYTES_MAX) return fail('its window is smaller than two frames', true)
    if (!over()) return
    withoutDialEvents(peer.socket)
    options.answered(peer, answer)
  })
  const deadline = clock.after(deadlineMs, () => fail('no answer in time', false))
  const peer = new PeerSocket({ endpoint, reader })
  peer.socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message, false))
  peer.socket.on('close', () => fail('it closed the connection', false))
  peer.socket.on('end', () => fail('it ended the connection', false))
  peer.socket.on('connect', () => peer.socket.write(encodePreface(preface)))
  return () => {
    if (over()) peer.socket.destroy()
  }
}

/** The connection has its own; an error that comes before it listens must still not end the process. */
function withoutDialEvents(socket: net.Socket): void {
  for (const event of ['close', 'end', 'connect']) socket.removeAllListeners(event)
}
