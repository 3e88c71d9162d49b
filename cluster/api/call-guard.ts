/**
 * Who calls, and whether he may: judged when the headers of a call are there, before any message of it is read.
 *
 *   headers -> bearer token, if there is one, else certificate, socket -> roles (access.ts), removed nodes -> handler
 *                `-> UNAUTHENTICATED                                     `-> PERMISSION_DENIED
 *
 * Invariants: a token that is not good lets nobody in, whatever certificate comes with it. No handler sees a token, and
 * none is reached by a call that was not judged.
 */
import { ServerInterceptingCall } from '@grpc/grpc-js'
import type { Metadata, ServerInterceptor } from '@grpc/grpc-js'
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { callerOf, denied, rpcOf } from './access.ts'
import type { Caller } from './access.ts'
import type { AuditTrail, From } from './audit-trail.ts'
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

export class CallGuard {
  readonly #o: CallGuardOptions
  /** Of calls that were let in, by the headers that their handlers get. */
  readonly #admitted = new WeakMap<Metadata, Admitted>()

  constructor(options: CallGuardOptions) {
    this.#o = options
  }

  /** For all calls of a server. */
  readonly interceptor: ServerInterceptor = ({ path }, call) => new ServerInterceptingCall(call, {
    start: (next) => next({
      onReceiveMetadata: (metadata, forward) => {
        const caller = this.#judge(call, metadata)
        const refusal = caller instanceof HoldfastError ? caller : denied(path, caller) ?? this.#whyRemoved(caller!)
        const from = call.getConnectionInfo()
        if (caller !== undefined && !(caller instanceof HoldfastError)) {
          if (refusal === undefined) this.#admitted.set(metadata, { caller, rpc: rpcOf(path), from })
          else this.#o.audit?.denied(rpcOf(path), caller, from)
        }
        if (refusal === undefined) forward(metadata)
        else call.sendStatus(refusalToStatus(refusal))
      },
    }),
  })

  /** Of a call that reached its handler. */
  caller(metadata: Metadata): Caller {
    return this.#of(metadata).caller
  }

  /** It begins. @returns to be told what came of it: undefined, or why not */
  begins(metadata: Metadata, request: unknown): (error?: unknown) => void {
    const { rpc, caller, from } = this.#of(metadata)
    return this.#o.audit?.asked(rpc, request as object, caller, from) ?? (() => undefined)
  }

  /** `end` is called when the caller is nobody any more. @returns to be called when the call is over */
  hold({ by, role, name }: Caller, end: (why: HoldfastError) => void): () => void {
    const { tokens, removed } = this.#o
    const letGo = by === 'token' ? tokens!.hold(name, end) : () => undefined
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

  #judge(call: Call, metadata: Metadata): Caller | HoldfastError | undefined {
    const { everybody, tokens, unproved } = this.#o
    const shown = metadata.get(TOKEN_HEADER)
    metadata.remove(TOKEN_HEADER)
    if (everybody !== undefined) {
      const uid = UID.exec(call.getConnectionInfo().remoteAddress ?? '')?.[1]
      return uid === undefined ? everybody : { ...everybody, uid: Number(uid) }
    }
    if (shown.length === 0) return callerOf(call)
    const text = shown.length === 1 ? BEARER.exec(String(shown[0]))?.[1] : undefined
    const caller = tokens?.judge(text ?? '') ?? new HoldfastError('token-refused', { reason: 'none is taken here' })
    unproved?.judged(call.getConnectionInfo(), !(caller instanceof HoldfastError))
    return caller
  }
}
