/**
 * The client of the model: writes whose blocks hold the number of the write, one after the other where they meet, and
 * reads. It is answered in the step in which the copy answers; what a late answer could do, a late next step does.
 * It sends what is not answered to any copy that leads, and, as a duplicate, what was answered long ago.
 */
import type { FrontendMessage, FrontendOperation } from '../../engine/replication/messages.ts'
import type { RequestId } from '../../engine/replication/record.ts'
import type { Bounds } from './bounds.ts'

export interface ModelClient {
  answered: boolean[]
  /** Under way: from where, and what it must see at least. */
  read: { node: string; lba: number; floor: number } | undefined
  readsDone: number
  /** What was read last of each block. */
  seen: number[]
}

export const FRONTEND = 'client'
/** As if the frontend had sent it to each primary that it meets: what a primary of a later term drops tests nothing. */
const EVERY_TERM = 2 ** 32 - 1
const SESSION = { generation: 1, incarnation: 1 }

export const newClient = ({ writes, blocks }: Bounds): ModelClient => ({
  answered: new Array<boolean>(writes).fill(false),
  read: undefined,
  readsDone: 0,
  seen: new Array<number>(blocks).fill(0),
})

export const blockOf = (write: number, { blocks }: Bounds): number => write % blocks

/** The number of the newest write of a block that was answered, 0 = none. */
export function newestAnswered({ answered }: ModelClient, lba: number, bounds: Bounds): number {
  for (let i = answered.length - 1; i >= 0; i--) if (answered[i] && blockOf(i, bounds) === lba) return i + 1
  return 0
}

/** Whether every earlier write of its block is answered. */
export function maySend({ answered }: ModelClient, write: number, bounds: Bounds): boolean {
  for (let i = write - bounds.blocks; i >= 0; i -= bounds.blocks) if (!answered[i]) return false
  return true
}

export const openMessage = (): FrontendMessage => ({ type: 'open', session: SESSION, mode: 'write' })

const idOf = (request: number): RequestId => ({ ...SESSION, request, part: 0, parts: 1 })

const requestOf = (request: number, operation: FrontendOperation, answeredBelow: number): FrontendMessage => ({
  type: 'request',
  id: idOf(request),
  epoch: EVERY_TERM,
  operation,
  answeredBelow,
})

export function writeMessage(write: number, bounds: Bounds): FrontendMessage {
  const operation: FrontendOperation = {
    type: 'write',
    lba: blockOf(write, bounds),
    blockCount: 1,
    payload: { bytes: 4096, data: write + 1 },
    fua: false,
    edges: [],
  }
  // As it was when it was first sent: all that its block waited for is answered.
  return requestOf(write + 1, operation, bounds.blocks === 1 ? write + 1 : 1)
}

export function readMessage(client: ModelClient, lba: number): FrontendMessage {
  const request = client.answered.length + 1
  const answeredBelow = client.answered.indexOf(false) + 1 || request
  return requestOf(request, { type: 'read', lba, blockCount: 1 }, answeredBelow)
}

/** What an answer does to the client; what is wrong with it, if anything is. */
export function takeReply(client: ModelClient, node: string, reply: FrontendMessage): string | undefined {
  if (reply.type !== 'reply') return undefined
  const { result } = reply
  const { request } = reply.id
  if (request > client.answered.length) return takeRead(client, node, result)
  if (request > 0 && result.ok) client.answered = client.answered.with(request - 1, true)
  if (result.ok || result.code === 'session-broken') return undefined
  return client.answered[request - 1] === true ? undefined : `a write that must succeed is refused: ${result.code}`
}

type Result = Extract<FrontendMessage, { type: 'reply' }>['result']

function takeRead(client: ModelClient, node: string, result: Result): string | undefined {
  const { read } = client
  if (read === undefined || read.node !== node) return undefined
  if (!result.ok) return result.code === 'session-broken' ? undefined : `a read fails: ${result.code}`
  const version = result.versions[0]
  const stamp = version?.kind === 'write' ? (version.payload!.data as number) : 0
  if (stamp < read.floor)
    return `I9: a read returns write ${stamp} of block ${read.lba}, after ${read.floor} was seen`
  client.read = undefined
  client.readsDone++
  client.seen = client.seen.with(read.lba, stamp)
  return undefined
}
