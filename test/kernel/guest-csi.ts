/**
 * Inside a guest, whose sockets nobody outside reaches: the calls in a file, one after another up to the first that is
 * refused, as kubelet makes them.
 * What was answered, and how long that took, is a line of JSON for each.
 *
 *   node test/kernel/guest-csi.ts SOCKET FILE
 */
import { readFileSync } from 'node:fs'
import type { ServiceError } from '@grpc/grpc-js'
import { CsiClient } from '../csi/csi-client.ts'

export interface GuestCall {
  rpc: string
  request: object
}

export interface GuestAnswer {
  /** gRPC's; 0: OK. */
  code: number
  message: string
  ms: number
  answer: Record<string, any>
}

async function answerTo(client: CsiClient, { rpc, request }: GuestCall): Promise<GuestAnswer> {
  const startedMs = performance.now()
  const ms = (): number => Math.round(performance.now() - startedMs)
  try {
    const answer = await client.call('Node', rpc, request, 300_000)
    return { code: 0, message: '', ms: ms(), answer }
  } catch (error) {
    const { code, details } = error as ServiceError
    return { code, message: details, ms: ms(), answer: {} }
  }
}

const [socket, file] = process.argv.slice(2) as [string, string]
const ending: Array<() => void> = []
const client = new CsiClient({ teardown: (step: () => void) => void ending.push(step) } as never, socket)
// The connection is there before the first one is timed.
await client.call('Identity', 'Probe')
for (const call of JSON.parse(readFileSync(file, 'utf8')) as GuestCall[]) {
  const answer = await answerTo(client, call)
  process.stdout.write(`${JSON.stringify(answer)}\n`)
  if (answer.code !== 0) break
}
for (const step of ending) step()
