/** The etcd v3 API as it is on the wire, without our client in between: one request, or one stream of watches. */
import { Client, credentials } from '@grpc/grpc-js'
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import { once } from 'node:events'
import type { Test } from 'tap'
import { etcdServices } from '../../../cluster/store/etcd-api.ts'
import type { EtcdService, Sent, WatchRequest, WatchResponse } from '../../../cluster/store/etcd-api.ts'

export const bytes = (text: string): Buffer => Buffer.from(text)

export class RawEtcd {
  private readonly client: Client

  constructor(t: Pick<Test, 'teardown'>, address: string) {
    this.client = new Client(address.replace('http://', ''), credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1,
    })
    t.teardown(() => this.client.close())
  }

  /** The response, or the error's code and sentence. */
  call(service: EtcdService, rpc: string, request: object): Promise<any> {
    const { path, requestSerialize, responseDeserialize } = etcdServices()[service][rpc]!
    return new Promise((resolve) => {
      const options = { deadline: Date.now() + 10_000 }
      const done = (error: ServiceError | null, response: unknown) =>
        resolve(error === null ? response : { code: error.code, details: error.details })
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, done)
    })
  }

  watches(t: Test): RawWatches {
    const { path, requestSerialize, responseDeserialize } = etcdServices().Watch.Watch!
    const call = this.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    call.on('error', () => undefined)
    t.teardown(() => call.cancel())
    return new RawWatches(call as ClientDuplexStream<Sent<WatchRequest>, WatchResponse>)
  }
}

export class RawWatches {
  readonly call: ClientDuplexStream<Sent<WatchRequest>, WatchResponse>
  private readonly responses: WatchResponse[] = []

  constructor(call: ClientDuplexStream<Sent<WatchRequest>, WatchResponse>) {
    this.call = call
    call.on('data', (response: WatchResponse) => {
      this.responses.push(response)
      call.emit('response')
    })
  }

  send(request: Sent<WatchRequest>): void {
    this.call.write(request)
  }

  async next(): Promise<WatchResponse> {
    while (this.responses.length === 0) await once(this.call, 'response')
    return this.responses.shift()!
  }

  /** So many events, and the responses they came in. */
  async events(count: number): Promise<WatchResponse['events']> {
    const events: WatchResponse['events'] = []
    while (events.length < count) events.push(...(await this.next()).events)
    return events
  }
}
