/**
 * The endpoints of one cluster store, each with a connection of its own, and which of them is asked now. A connection
 * counts as ready when the store behind it was read and recognised (S4) since it was made; so a compare-and-swap never
 * goes to a store that took the place of ours while we were not connected.
 *
 * Connections are made when somebody asks, with grpc-js's own backoff; no call is ever repeated by the library (S1).
 */
import { Client, Metadata, connectivityState, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { pause } from '../pause.ts'
import { channelCredentials } from '../tls/grpc-credentials.ts'
import type { StoreTls } from '../tls/store-tls.ts'
import { isRefusal, reasonOf } from './etcd-answers.ts'
import type { CallError } from './etcd-answers.ts'
import { etcdServices } from './etcd-api.ts'
import type { RangeRequest, RangeResponse, Sent, WatchRequest, WatchResponse } from './etcd-api.ts'
import type { StoreIdentity } from './store-identity.ts'

/** Failures reach us as values; the library's own lines on stderr would be a second voice. */
setLogVerbosity(logVerbosity.NONE)

/** A page of 128 values of 64 KiB is 8 MiB. */
const ANSWER_BYTES_MAX = 32 * 2 ** 20
const RECONNECT_FIRST_MS = 50
const RECONNECT_MOST_MS = 2000
const PAUSE_MS = 100

export type Answered<T> = { ok: true; response: T } | { ok: false; error: CallError }

/** A call on a client that was closed a moment ago; the library would throw. */
const CLOSED: CallError = { code: status.CANCELLED, details: 'it was closed meanwhile' }

export type WatchCall = ClientDuplexStream<Sent<WatchRequest>, WatchResponse>

export class Endpoint {
  readonly url: string
  private readonly identity: StoreIdentity
  private readonly keepaliveMs: number
  private readonly tls: StoreTls | undefined
  /** Why TLS came to nothing, since the store was read last. */
  private tlsProblem: string | undefined
  private client: Client
  /** The client on whose present connection the store was recognised. */
  private recognised: Client | undefined
  /** What is under way on the present client. */
  private readonly calls = new Set<{ cancel(): void }>()

  /** @throws HoldfastError `store-address` where TLS is asked for and there are no certificates */
  constructor(url: string, identity: StoreIdentity, keepaliveMs: number, tls: StoreTls | undefined) {
    this.url = url
    this.tls = tls
    this.identity = identity
    this.keepaliveMs = keepaliveMs
    this.client = this.connect()
  }

  /** One request to the KV service, one answer, sent at most once. @param timeoutMs  above 0 */
  call<Q, S>(rpc: 'Range' | 'Txn', request: Sent<Q>, timeoutMs: number): Promise<Answered<S>> {
    const { path, requestSerialize, responseDeserialize } = etcdServices().KV[rpc]!
    const { client, calls } = this
    if (stateOf(client) === connectivityState.SHUTDOWN) return Promise.resolve({ ok: false, error: CLOSED })
    return new Promise((resolve) => {
      const options = { deadline: Date.now() + timeoutMs }
      const done = (error: ServiceError | null, response: unknown) => {
        calls.delete(call)
        if (error === null) return resolve({ ok: true, response: response as S })
        if (error.code === status.DEADLINE_EXCEEDED) this.replace(client)
        resolve({ ok: false, error })
      }
      const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, done)
      calls.add(call)
    })
  }

  /** A stream of watches; to be asked of an endpoint that is ready. It ends with the connection, or with `cancel`. */
  watch(): WatchCall {
    const { path, requestSerialize, responseDeserialize } = etcdServices().Watch.Watch!
    const metadata = new Metadata()
    // A member that lost its leader ends the stream instead of keeping silent.
    metadata.set('hasleader', 'true')
    const call: WatchCall = this.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata)
    this.calls.add(call)
    call.on('status', () => this.calls.delete(call))
    return call
  }

  /**
   * Undefined when the connection is there and the store behind it is ours; else why not.
   * @param isHasty  come back at once when the connection was refused, instead of waiting for the next try
   */
  async ready(timeoutMs: number, isHasty: boolean): Promise<HoldfastError | undefined> {
    const { client } = this
    const deadlineMs = performance.now() + timeoutMs
    if (this.recognised === client && stateOf(client) === connectivityState.READY) return undefined
    if (!(await this.connected(client, timeoutMs, isHasty))) {
      return this.unreachable(this.tlsProblem ?? 'nothing answers there')
    }
    const leftMs = deadlineMs - performance.now()
    if (leftMs <= 0) return this.unreachable('it did not answer in time')
    const { revision } = this.identity
    const request = { key: Uint8Array.of(0), keysOnly: true }
    const answer = await this.call<RangeRequest, RangeResponse>('Range', request, leftMs)
    if (!answer.ok) {
      const reason = reasonOf(answer.error)
      if (!isRefusal(answer.error)) return this.unreachable(reason)
      return new HoldfastError('store-refused', { endpoint: this.url, reason })
    }
    const strange = this.identity.check(this.url, answer.response.header, revision)
    this.tlsProblem = undefined
    if (strange === undefined && this.client === client) this.recognise(client)
    return strange
  }

  close(): void {
    this.recognised = undefined
    for (const call of this.calls) call.cancel()
    this.calls.clear()
    this.client.close()
  }

  unreachable(reason: string): HoldfastError {
    return new HoldfastError('store-unreachable', { endpoints: this.url, reason })
  }

  private connected(client: Client, timeoutMs: number, isHasty: boolean): Promise<boolean> {
    const deadline = new Date(Date.now() + timeoutMs)
    return new Promise((resolve) => {
      const look = (error?: Error) => {
        const state = stateOf(client, true)
        if (state === connectivityState.READY) return resolve(true)
        const isHopeless = isHasty && state === connectivityState.TRANSIENT_FAILURE
        if (error !== undefined || isHopeless || state === connectivityState.SHUTDOWN) return resolve(false)
        client.getChannel().watchConnectivityState(state, deadline, look)
      }
      look()
    })
  }

  /** Until the connection is lost. */
  private recognise(client: Client): void {
    this.recognised = client
    if (stateOf(client) !== connectivityState.READY) return
    client.getChannel().watchConnectivityState(connectivityState.READY, Infinity, () => {
      if (this.recognised === client) this.recognised = undefined
    })
  }

  /** A connection on which a deadline passed may be half-open, and looks alive for minutes; a new one tells. */
  private replace(client: Client): void {
    if (this.client !== client || stateOf(client) === connectivityState.SHUTDOWN) return
    this.close()
    this.client = this.connect()
  }

  private connect(): Client {
    const { protocol, host, hostname } = new URL(this.url)
    const wish = protocol === 'https:' ? this.tls?.wishFor(hostname) : undefined
    if (protocol === 'https:' && wish === undefined) throw new HoldfastError('store-needs-tls', { address: this.url })
    const onFailed = (why: string): void => void (this.tlsProblem = why)
    return new Client(host, channelCredentials(wish && { ...wish, onFailed }), {
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': RECONNECT_FIRST_MS,
      'grpc.min_reconnect_backoff_ms': RECONNECT_FIRST_MS,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MOST_MS,
      'grpc.keepalive_time_ms': this.keepaliveMs,
      'grpc.keepalive_timeout_ms': Math.ceil(this.keepaliveMs / 2),
      'grpc.max_receive_message_length': ANSWER_BYTES_MAX,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_channelz': 0,
    })
  }
}

function stateOf(client: Client, connect = false): connectivityState {
  const channel = client.getChannel()
  const state = channel.getConnectivityState(false)
  return connect && state !== connectivityState.SHUTDOWN ? channel.getConnectivityState(true) : state
}

export class EndpointSet {
  private readonly endpoints: Endpoint[]
  private current = 0
  private isClosed = false

  constructor(urls: string[], identity: StoreIdentity, keepaliveMs: number, tls: StoreTls | undefined) {
    this.endpoints = urls.map((url) => new Endpoint(url, identity, keepaliveMs, tls))
  }

  /** The endpoint to ask, ready. One after the other is tried until the time is over, or one is not our store. */
  async ready(timeoutMs: number): Promise<Endpoint | HoldfastError> {
    const deadlineMs = performance.now() + timeoutMs
    for (let tries = 1; ; tries++) {
      const endpoint = this.endpoints[this.current]!
      const leftMs = deadlineMs - performance.now()
      // In the first round nobody is waited for whose host says no.
      const isHasty = tries < this.endpoints.length
      if (this.isClosed) return new HoldfastError('shutting-down', {})
      const failure = await endpoint.ready(Math.max(1, Math.min(leftMs, this.shareMs(timeoutMs))), isHasty)
      if (failure === undefined) return endpoint
      this.failed(endpoint)
      if (performance.now() >= deadlineMs || isStrange(failure)) return failure
      // Refused at once though the connection is there, e.g. no leader: not again in the same instant.
      if (!isHasty) await pause(Math.min(PAUSE_MS, leftMs))
    }
  }

  /** What one endpoint may use up of the time for a call, so that another one has its chance. */
  shareMs(timeoutMs: number): number {
    return timeoutMs / this.endpoints.length
  }

  /** Ask another one next. */
  failed(endpoint: Endpoint): void {
    if (this.endpoints[this.current] === endpoint) this.current = (this.current + 1) % this.endpoints.length
  }

  close(): void {
    this.isClosed = true
    for (const endpoint of this.endpoints) endpoint.close()
  }
}

/** Waiting does not make it our store. */
export const isStrange = ({ code }: HoldfastError): boolean => code === 'store-replaced' || code === 'store-behind'
