/**
 * The bearer tokens of the cluster as one node knows them: a watch of `tokens/`, so that a stranger's guess costs a
 * hash and no question to the cluster store.
 *
 * Invariants: a token is taken before its end only, by the clock of this host, and while the store answers, since
 * nobody would hear of its revocation else. What goes on under a token that is revoked or over is ended.
 */
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import { afterPrefix } from '../store/json-value.ts'
import { PrefixWatch } from '../store/prefix-watch.ts'
import { TOKEN_PREFIX, decodeToken } from '../store/token-records.ts'
import type { TokenRecord } from '../store/token-records.ts'
import { isTokenOf, parseToken } from '../tls/bearer-token.ts'
import type { Caller } from './access.ts'
import { HeldCalls } from './held-calls.ts'
import type { End } from './held-calls.ts'

export interface TokenBookOptions {
  store: ClusterStore
  clusterId: string
  isStoreReachable(): boolean
  onProblem(error: HoldfastError): void
  /** Since 1970; unset: the clock of the host. */
  wallMs?(): number
}

/** The longest that a timer of Node waits. */
const TIMER_MS_MAX = 2 ** 31 - 1

export class TokenBook {
  readonly #o: TokenBookOptions
  readonly #tokens = new Map<string, TokenRecord>()
  /** By which each was taken: a name may get another token later. */
  readonly #taken = new WeakMap<Caller, TokenRecord>()
  /** What goes on under a token, by its name. */
  readonly #held = new HeldCalls()
  readonly #watch: PrefixWatch
  #isListed = false

  constructor(options: TokenBookOptions) {
    this.#o = options
    const { store, onProblem } = options
    this.#watch = new PrefixWatch({
      store,
      prefix: TOKEN_PREFIX,
      onChange: (key, value) => this.#changed(key, value),
      onListed: () => (this.#isListed = true),
      onProblem,
    })
  }

  /** None: nobody can come in by one. */
  get isEmpty(): boolean {
    return this.#tokens.size === 0
  }

  /** @param text  what was shown. @returns who that is, or why he is nobody */
  judge(text: string): Caller | HoldfastError {
    const token = parseToken(text)
    if (token === undefined) return refused('it has not the form of one')
    const { clusterId } = this.#o
    if (token.clusterId !== clusterId) return refused(`it is for cluster ${token.clusterId}`)
    const unchecked = this.#whyUnchecked()
    if (unchecked !== undefined) return unchecked
    const record = this.#tokens.get(token.name)
    // One sentence for both: who guesses learns no names.
    if (record === undefined || !isTokenOf(record.hash, token)) return refused('it is not known, or was revoked')
    if (this.#isOver(record)) return refused(endOf(record))
    const caller: Caller = { role: record.role, name: record.name, by: 'token', issuedAtMs: record.createdAtMs }
    this.#taken.set(caller, record)
    return caller
  }

  /** @param caller  as `judge` returned him, some time ago. @returns why he is nobody now */
  whyOver(caller: Caller): HoldfastError | undefined {
    const record = this.#taken.get(caller)
    assert(record !== undefined, 'who is judged again was taken once')
    if (this.#isOver(record)) return refused(endOf(record))
    return isSame(this.#tokens.get(record.name), record) ? this.#whyUnchecked() : refused('it was revoked')
  }

  /**
   * Of a call that goes on: `end` is called, once, when the token of its caller is good no more.
   * @returns to be called when the call is over
   */
  hold(caller: Caller, end: End): () => void {
    const why = this.whyOver(caller)
    if (why !== undefined) {
      end(why)
      return () => undefined
    }
    const record = this.#taken.get(caller)!
    let timer: NodeJS.Timeout | undefined
    const over: End = (why) => {
      letGo()
      end(why)
    }
    const release = this.#held.add(caller.name, over)
    const letGo = (): void => {
      clearTimeout(timer)
      release()
    }
    const wait = (): void => {
      if (this.#isOver(record)) return over(refused(endOf(record)))
      timer = setTimeout(wait, Math.min(record.expiresAtMs - this.#nowMs(), TIMER_MS_MAX))
      timer.unref()
    }
    wait()
    return letGo
  }

  close(): void {
    this.#watch.close()
  }

  #whyUnchecked(): HoldfastError | undefined {
    if (this.#isListed && this.#o.isStoreReachable()) return undefined
    return new HoldfastError('token-unchecked', { reason: 'this node cannot ask the cluster store whether it is good' })
  }

  #nowMs(): number {
    return this.#o.wallMs?.() ?? Date.now()
  }

  #isOver({ expiresAtMs }: TokenRecord): boolean {
    return this.#nowMs() >= expiresAtMs
  }

  #changed(key: string, value: Uint8Array | undefined): void {
    const name = afterPrefix(key, TOKEN_PREFIX)!
    // What cannot be read is nobody's token.
    const now = value === undefined ? undefined : decodeToken(name, value)
    const before = this.#tokens.get(name)
    if (now === undefined) this.#tokens.delete(name)
    else this.#tokens.set(name, now)
    if (isSame(before, now)) return
    this.#held.end(name, refused('it was revoked'))
  }
}

const isSame = (one: TokenRecord | undefined, other: TokenRecord | undefined): boolean =>
  one?.hash === other?.hash && one?.role === other?.role && one?.expiresAtMs === other?.expiresAtMs

const refused = (reason: string): HoldfastError => new HoldfastError('token-refused', { reason })

const endOf = ({ expiresAtMs }: TokenRecord): string => `it was valid until ${new Date(expiresAtMs).toISOString()}`
