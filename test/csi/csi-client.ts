/** Calls of a CSI service over its socket, as a sidecar makes them. */
import { Client, credentials } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { csiService } from '../../csi/definition.ts'
import type { CsiServiceName } from '../../csi/definition.ts'

export type Answer = Record<string, any>

export class CsiClient {
  private readonly channel: Client

  constructor(t: Pick<Test, 'teardown'>, socketPath: string) {
    this.channel = new Client(`unix:${socketPath}`, credentials.createInsecure())
    t.teardown(() => this.channel.close())
  }

  /** @throws ServiceError */
  call(service: CsiServiceName, rpc: string, request: object = {}, deadlineMs = 60_000): Promise<Answer> {
    const { path, requestSerialize, responseDeserialize } = csiService(service)[rpc]!
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + deadlineMs }
      const done = (error: ServiceError | null, answer: unknown): void =>
        error === null ? resolve(answer as Answer) : reject(error)
      this.channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, done)
    })
  }

  async stream(service: CsiServiceName, rpc: string, request: object): Promise<Answer[]> {
    const { path, requestSerialize, responseDeserialize } = csiService(service)[rpc]!
    const answers: Answer[] = []
    const stream = this.channel.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request)
    for await (const answer of stream) answers.push(answer as Answer)
    return answers
  }
}
