/**
 * Who calls, and whether he may: judged when the headers of a call are there, before any message of it is read, and
 * again when its request is whole, for in between a token may end, or a node be removed.
 *
 *   headers -> bearer token, if there is one, else certificate, socket -> roles (access.ts), removed nodes
 *                `-> UNAUTHENTICATED                                     |  `-> PERMISSION_DENIED
 *                                                                        v
 *   request whole, within 10 s -> is the token the same and good still? -> removed nodes -> handler
 *             `-> DEADLINE_EXCEEDED, the stream is closed
 *
 * Invariants: a token that is not good lets nobody in, whatever certificate comes with it. No handler sees a token, and
 * none is reached by a call that was not judged in the same turn of the loop. A request that does not become whole is
 * not kept, nor is an answer that is not taken (caller-bounds.ts).
 */
import { constants } from 'node:http2'
import type { ServerHttp2Stream } from 'node:http2'
import { ServerInterceptingCall, status } from '@grpc/grpc-js'
import type { Metadata, ServerInterceptor, ServerListener } from '@grpc/grpc-js'
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { PASS_ON_HEADER, callerOf, denied, deniedField, isPassedOn, rpcOf } from './access.ts'
import type { Caller } from './access.ts'
import type { AuditTrail, From } from './audit-trail.ts'
import type { CallerBounds } from './caller-bounds.ts'
import { refusalToStatus } from './refusal.ts'
import type { RemovedList } from './removed-list.ts'
import type { TokenBook } from './token-book.ts'
import type { UnprovedConnections } from './unproved-connections.ts'

const TOKEN_HEADER = 'authorization'
const BEARER = /^bearer +(\S+)$/i

export interface CallGuardOptions {
  /** Everybody there is; unset: over TLS, and he says it himself. */
  everybody?: Caller | undefined
  /** Over TLS. Unset: there are none. */
  tokens?: TokenBook | undefined
  unproved?: UnprovedConnections | undefined
  audit?: AuditTrail | undefined
  /** Unset: no node was ever removed. */
  removed?: RemovedList | undefined
  /** Unset: of who may have as much as he likes. */
  bounds?: CallerBounds | undefined
  /** From the headers of a call until its request is whole. */
  requestMs: number
}

interface Admitted {
  caller: Caller
  rpc: string
  from: From
}

const UID = /^uid (\d+)$/
/** What the address of a unix socket is called, which has none: by it a call is known to be of that user. */
export const addressOfUid = (uid: number): string => `uid ${uid}`

type Call = Parameters<ServerInterceptor>[1]

function passedOn(caller: Caller, rpc: string, headers: Metadata): Caller {
  const isAsked = caller.role === 'node' && headers.get(PASS_ON_HEADER).length > 0
  return isAsked && isPassedOn(rpc) ? { ...caller, isPassedOn: true } : caller
}

const streamOf = (call: Call): ServerHttp2Stream => (call as unknown as { stream: ServerHttp2Stream }).stream

/** The answer alone would leave the stream, with what came of the request, for as long as the caller likes. */
function endUnfinished(call: Call): void {
  call.sendStatus({ code: status.DEADLINE_EXCEEDED, details: 'the request did not become whole in time' })
  streamOf(call).close(constants.NGHTTP2_NO_ERROR)
}

export class CallGuard {
  readonly #o: CallGuardOptions
  /** Of calls that were let in, by the headers that their handlers get. */
  readonly #admitted = new WeakMap<Metadata, Admitted>()

  constructor(options: CallGuardOptions) {
    this.#o = options
  }

  /** For all calls of a server. */
  readonly interceptor: ServerInterceptor = ({ path }, call) => {
    let admitted: Caller | undefined
    let timer: NodeJS.Timeout | undefined
    let over = (): void => undefined
    const onReceiveMetadata: ServerListener['onReceiveMetadata'] = (metadata, forward) => {
      const caller = this.#judge(call, metadata)
      const refusal = caller instanceof HoldfastError ? caller : denied(path, caller) ?? this.#whyRemoved(caller!)
      const from = call.getConnectionInfo()
      if (caller !== undefined && !(caller instanceof HoldfastError)) {
        const rpc = rpcOf(path)
        if (refusal === undefined) this.#admitted.set(metadata, { caller: passedOn(caller, rpc, metadata), rpc, from })
        else this.#o.audit?.denied(rpcOf(path), caller, from)
      }
      if (caller !== undefined && !(caller instanceof HoldfastError) && caller.by === 'token') {
        over = this.#o.unproved?.begins(from) ?? over
      }
      if (refusal !== undefined) return call.sendStatus(refusalToStatus(refusal))
      admitted = caller as Caller
      const tooMuch = this.#o.bounds?.begins(admitted, streamOf(call))
      if (tooMuch !== undefined) return call.sendStatus(refusalToStatus(tooMuch))
      timer = setTimeout(() => endUnfinished(call), this.#o.requestMs)
      forward(metadata)
    }
    const onReceiveHalfClose: ServerListener['onReceiveHalfClose'] = (forward) => {
      clearTimeout(timer)
      const refusal = this.#whyNoMore(admitted!)
      if (refusal === undefined) forward()
      else call.sendStatus(refusalToStatus(refusal))
    }
    // However it ended.
    const onCancel = (): void => {
      clearTimeout(timer)
      over()
    }
    const { bounds } = this.#o
    const answers = (): void => {
      if (admitted !== undefined) bounds?.answers(streamOf(call))
    }
    return new ServerInterceptingCall(call, {
      start: (next) => next({ onReceiveMetadata, onReceiveHalfClose, onCancel }),
      sendMessage: (message, next) => {
        answers()
        next(message)
      },
      sendStatus: (ending, next) => {
        answers()
        next(ending)
      },
    })
  }

  /** Of a call that reached its handler. */
  caller(metadata: Metadata): Caller {
    return this.#of(metadata).caller
  }

  /** Of a call that reached its handler: why he may not ask that. */
  whyNot(metadata: Metadata, request: unknown): HoldfastError | undefined {
    const { rpc, caller } = this.#of(metadata)
    return deniedField(rpc, request as object, caller)
  }

  /** It begins. @returns to be told what came of it: undefined, or why not */
  begins(metadata: Metadata, request: unknown): (error?: unknown) => void {
    const { rpc, caller, from } = this.#of(metadata)
    return this.#o.audit?.asked(rpc, request as object, caller, from) ?? (() => undefined)
  }

  /** `end` is called when the caller is nobody any more. @returns to be called when the call is over */
  hold(caller: Caller, end: (why: HoldfastError) => void): () => void {
    const { tokens, removed } = this.#o
    const { by, role, name } = caller
    const letGo = by === 'token' ? tokens!.hold(caller, end) : () => undefined
    const letNodeGo = role === 'node' && removed !== undefined ? removed.hold(name, end) : () => undefined
    return () => {
      letGo()
      letNodeGo()
    }
  }

  #of(metadata: Metadata): Admitted {
    const admitted = this.#admitted.get(metadata)
    assert(admitted !== undefined, 'a handler is reached by calls that were let in')
    return admitted
  }

  #whyRemoved({ role, name, issuedAtMs }: Caller): HoldfastError | undefined {
    return role === 'node' && issuedAtMs !== undefined ? this.#o.removed?.judge(name, issuedAtMs) : undefined
  }

  /** Of one who was let in some time ago. */
  #whyNoMore(caller: Caller): HoldfastError | undefined {
    return (caller.by === 'token' ? this.#o.tokens!.whyOver(caller) : undefined) ?? this.#whyRemoved(caller)
  }

  #judge(call: Call, metadata: Metadata): Caller | HoldfastError | undefined {
    const { everybody, tokens } = this.#o
    const shown = metadata.get(TOKEN_HEADER)
    metadata.remove(TOKEN_HEADER)
    if (everybody !== undefined) {
      const uid = UID.exec(call.getConnectionInfo().remoteAddress ?? '')?.[1]
      return uid === undefined ? everybody : { ...everybody, uid: Number(uid) }
    }
    if (shown.length === 0) return callerOf(call)
    const text = shown.length === 1 ? BEARER.exec(String(shown[0]))?.[1] : undefined
    return tokens?.judge(text ?? '') ?? new HoldfastError('token-refused', { reason: 'none is taken here' })
  }
}
