/**
 * Inside a guest, whose sockets nobody outside reaches, and where each start of a program takes long: makes calls as
 * kubelet does. A line of its input names a file of calls and one for what was answered; they are made one after
 * another, up to the first that is refused.
 *
 *   node test/kernel/guest-csi.ts SOCKET < PIPE
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
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

const CALL_MS = 300_000

export async function answersTo(client: CsiClient, calls: readonly GuestCall[]): Promise<GuestAnswer[]> {
  const answers: GuestAnswer[] = []
  for (const { rpc, request } of calls) {
    const startedMs = performance.now()
    const answered = { code: 0, message: '', answer: {} }
    try {
      answered.answer = await client.call('Node', rpc, request, CALL_MS)
    } catch (error) {
      const { code, details } = error as ServiceError
      Object.assign(answered, { code, message: details })
    }
    answers.push({ ...answered, ms: Math.round(performance.now() - startedMs) })
    if (answered.code !== 0) break
  }
  return answers
}

if (import.meta.main) {
  const client = new CsiClient({ teardown: () => {} } as never, process.argv[2]!)
  for await (const line of createInterface({ input: process.stdin })) {
    const [asked, answered] = line.split(' ') as [string, string]
    const answers = await answersTo(client, JSON.parse(readFileSync(asked, 'utf8')) as GuestCall[])
    writeFileSync(`${answered}.new`, JSON.stringify(answers))
    renameSync(`${answered}.new`, answered)
  }
}
