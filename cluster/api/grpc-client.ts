/** Calls of one gRPC endpoint: what they answer, or a HoldfastError, the other side's refusal or ours. */
import { Client, Metadata, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type { ServiceDefinition, ServiceError } from '@grpc/grpc-js'
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { tokenText } from '../tls/bearer-token.ts'
import type { BearerToken } from '../tls/bearer-token.ts'
import { channelCredentials } from '../tls/grpc-credentials.ts'
import type { SecureWish } from '../tls/tls-connect.ts'
import { PASS_ON_HEADER } from './access.ts'
import { refusalFromStatus, transportReason } from './refusal.ts'

/** Failures reach the user as sentences of ours. */
setLogVerbosity(logVerbosity.NONE)

export interface GrpcEndpoint {
  /** `unix:PATH` or `HOST:PORT`. */
  address: string
  /** As a person knows it. */
  endpoint: string
  /** How it was found, for the sentence of a failure. */
  source: string
  /** Unset: plain text. */
  tls?: SecureWish | undefined
  /** Shown with each call; only with `tls`. */
  token?: BearerToken | undefined
  /** Whoever answers asks who is elected, also where a node's certificate is shown (`PASS_ON_HEADER`). */
  isPassedOn?: boolean | undefined
}

export class GrpcClient {
  private readonly at: GrpcEndpoint
  private readonly channel: Client

  /** Nothing is connected before the first call. */
  constructor(at: GrpcEndpoint) {
    assert(at.token === undefined || at.tls !== undefined, 'a token is shown over TLS only')
    this.at = at
    this.channel = new Client(at.address, channelCredentials(at.tls), {
      'grpc.enable_http_proxy': 0,
      'grpc.enable_channelz': 0,
      'grpc.max_receive_message_length': -1,
      // What was sent once is not sent again by the library: orders are not.
      'grpc.enable_retries': 0,
    })
  }

  call(service: ServiceDefinition, rpc: string, request: unknown, deadlineMs: number): Promise<unknown> {
    const { path, requestSerialize, responseDeserialize } = service[rpc]!
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + deadlineMs
      const ended = (error: ServiceError | null, response: unknown) => {
        if (error === null) resolve(response)
        else reject(refusalFromStatus(error) ?? this.failure(error))
      }
      const [headers, options] = [this.headers(), { deadline }]
      this.channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, headers, options, ended)
    })
  }

  /** Answers one after the other, as fast as they are taken. Ends the call when nobody takes them any more. */
  async *stream(service: ServiceDefinition, rpc: string, request: unknown): AsyncGenerator<unknown> {
    const { path, requestSerialize, responseDeserialize } = service[rpc]!
    const headers = this.headers()
    const call = this.channel.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, headers)
    try {
      for await (const answer of call) yield answer
    } catch (error) {
      throw refusalFromStatus(error as ServiceError) ?? this.failure(error as ServiceError)
    } finally {
      call.cancel()
    }
  }

  close(): void {
    this.channel.close()
  }

  private headers(): Metadata {
    const headers = new Metadata()
    const { token, isPassedOn = false } = this.at
    if (isPassedOn) headers.set(PASS_ON_HEADER, '1')
    if (token !== undefined) headers.set('authorization', `Bearer ${tokenText(token)}`)
    return headers
  }

  private failure(error: ServiceError): HoldfastError {
    const { endpoint, source } = this.at
    if (error.code === status.INTERNAL) return new HoldfastError('internal', { endpoint })
    return new HoldfastError('unreachable', { endpoint, source, reason: transportReason(error) })
  }
}
