/**
 * What one caller may have under way at once, over all his connections: calls, and bytes of answers that he has not
 * taken. A connection has bounds of its own; who opens many gets no more by it.
 *
 * Invariant: an answer that is not taken goes after `answerMs` without a byte of it taken, and its call is over then.
 * A call that waits for something to tell is not looked at: nothing of it waits for the caller.
 */
import { constants } from 'node:http2'
import type { ServerHttp2Stream } from 'node:http2'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import type { Caller } from './access.ts'

export const CALLER_LIMITS = { callsMax: 200, untakenBytesMax: 64 * MIB, answerMs: 30_000 }

const nameOf = ({ by, role, name }: Caller): string => `${by} ${role} ${name}`
/** Nodes ask for each other's clients, and report thousands of copies. */
const isBounded = ({ by, role }: Caller): boolean => by === 'token' || (by === 'certificate' && role !== 'node')

export class CallerBounds {
  readonly #limits: typeof CALLER_LIMITS
  readonly #streams = new Map<string, Set<ServerHttp2Stream>>()

  constructor(limits = CALLER_LIMITS) {
    this.#limits = limits
  }

  /** A call of his begins, unless he has too much under way. */
  begins(caller: Caller, stream: ServerHttp2Stream): HoldfastError | undefined {
    if (!isBounded(caller)) return undefined
    const name = nameOf(caller)
    const streams = this.#streams.get(name) ?? new Set()
    const { callsMax, untakenBytesMax } = this.#limits
    if (streams.size >= callsMax) return busy(caller, `${callsMax} calls`)
    let untaken = 0
    for (const { writableLength } of streams) untaken += writableLength
    if (untaken >= untakenBytesMax) return busy(caller, `answers of ${untaken} bytes that are not taken`)
    this.#streams.set(name, streams.add(stream))
    stream.once('close', () => {
      streams.delete(stream)
      if (streams.size === 0 && this.#streams.get(name) === streams) this.#streams.delete(name)
    })
    return undefined
  }

  /** Something of its answer is sent: from now on, whenever some waits to be taken, it has to be. */
  answers(stream: ServerHttp2Stream): void {
    if (stream.listenerCount('timeout', endUntaken) === 0) stream.on('timeout', endUntaken)
    stream.setTimeout(this.#limits.answerMs)
  }
}

function endUntaken(this: ServerHttp2Stream): void {
  if (this.writableLength > 0 || this.writableEnded) this.close(constants.NGHTTP2_CANCEL)
}

const busy = ({ name }: Caller, what: string): HoldfastError => new HoldfastError('caller-busy', { name, what })
