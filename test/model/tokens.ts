/**
 * Numbers that copies draw one after the other. Nobody looks at more than whether two are the same and which is the
 * later one, so they are numbered anew, in their order, without what nobody holds any more.
 *
 *   local    only the copy itself, its store and its questions to the cluster store know them
 *   told     other copies may know them, or messages under way: these are numbered anew for all at once
 *
 * A copy draws its next token above both. One process of a copy goes on where the former one ended, if somebody still
 * holds a token of that: that two processes draw the same one is left to tests of its own.
 */
import type { CopyState } from '../../engine/replication/copy.ts'
import type { PeerMessage } from '../../engine/replication/messages.ts'
import type { LocalCopy } from './local-copy.ts'

type Rename = (token: number) => number
/** Called with the node that drew a token. */
type Told = (node: string, token: number) => number

export function renumberLocal(copy: LocalCopy): void {
  const { memory, told } = copy
  if (memory === undefined) return
  const found = new Set<number>()
  visitLocal(copy, memory, (token) => (found.add(token), token))
  const numbers = new Map([...found].sort((a, b) => a - b).map((token, i) => [token, told + 1 + i]))
  visitLocal(copy, memory, (token) => numbers.get(token)!)
  memory.nextToken = told + 1 + found.size
}

function visitLocal(copy: LocalCopy, memory: CopyState, rename: Rename): void {
  const { change, reading, primary } = memory
  if (change !== undefined) change.token = rename(change.token)
  if (reading !== undefined) reading.token = rename(reading.token)
  memory.kept = new Map([...memory.kept].map(([token, purpose]) => [rename(token), purpose]))
  for (const entry of copy.store.entries) if ('token' in entry) entry.token = rename(entry.token)
  for (const read of copy.reads) read.token = rename(read.token)
  // Who is not waited for is told from those that are by being none of them.
  for (const swap of copy.swaps) swap.token = swap.isForgotten ? 0 : rename(swap.token)
  if (primary === undefined) return
  primary.reads = new Map([...primary.reads].map(([token, read]) => [rename(token), read]))
  primary.edges = new Map([...primary.edges].map(([token, edge]) => [rename(token), edge]))
}

/** Joins are numbered by a counter of their own. */
const joinsOf = (node: string): string => `${node} joins`

export const countersOf = (node: string): string[] => [node, joinsOf(node)]

/** The highest one of a counter that was told, as its owner knows. */
export function toldOf({ node, told, memory }: LocalCopy, counter: string): number {
  if (counter === node) return told
  return counter === joinsOf(node) ? (memory?.joinNumber ?? 0) : 0
}

export function setTold(copy: LocalCopy, counter: string, told: number): void {
  if (counter === copy.node) copy.told = told
}

/** Of the tokens in a message, those that its sender drew, or may have. */
export function highestTold(message: PeerMessage): number {
  let highest = 0
  visitMessage(message, 'sender', 'receiver', (counter, token) => {
    if (counter === 'sender') highest = Math.max(highest, token)
    return token
  })
  return highest
}

export function visitMessage(message: PeerMessage, from: string, to: string, rename: Told): void {
  if ('joinNumber' in message && message.joinNumber !== undefined) {
    message.joinNumber = rename(joinsOf(from), message.joinNumber)
  }
  switch (message.type) {
    case 'confirm':
      message.token = rename(from, message.token)
      return
    case 'new-epoch':
    case 'release':
      if (message.token !== undefined) message.token = rename(from, message.token)
      return
    case 'confirmed':
      message.token = rename(to, message.token)
      return
    case 'promised':
      if (message.answerTo !== undefined) message.answerTo = rename(to, message.answerTo)
      return
    case 'fill-start':
      message.joinOf = rename(joinsOf(to), message.joinOf)
      message.fill = rename(from, message.fill)
      return
    case 'fill':
    case 'fill-end':
      message.fill = rename(from, message.fill)
      return
    case 'stored':
      if (message.fill !== undefined) message.fill = rename(to, message.fill)
      return
    case 'fill-started':
    case 'filled':
    case 'fill-ended':
      message.fill = rename(to, message.fill)
      return
  }
}

/** Tokens in a copy's memory that others drew, or that it told others. */
export function visitTold({ node, memory }: LocalCopy, rename: Told): void {
  if (memory === undefined) return
  const { grace, promise, fillTarget, kept, primary } = memory
  memory.joinNumber = rename(joinsOf(node), memory.joinNumber)
  grace.confirmToken = rename(promise.primary, grace.confirmToken)
  memory.followedFill = rename(promise.primary, memory.followedFill)
  const { waiting } = grace
  if (waiting?.probe !== undefined) waiting.probe = rename(waiting.from, waiting.probe)
  if (fillTarget !== undefined) fillTarget.fill = rename(fillTarget.from, fillTarget.fill)
  for (const purpose of kept.values()) {
    if ('fill' in purpose) purpose.fill = rename(purpose.from, purpose.fill)
    if (purpose.type === 'promise' && purpose.probe !== undefined && purpose.answerTo !== undefined) {
      purpose.probe = rename(purpose.answerTo, purpose.probe)
    }
  }
  if (primary === undefined) return
  if (primary.round !== undefined) primary.round.token = rename(node, primary.round.token)
  for (const peer of primary.peers.values()) {
    peer.fillId = rename(node, peer.fillId)
    if (peer.probe !== undefined) peer.probe.token = rename(node, peer.probe.token)
    if (peer.report?.joinNumber !== undefined) {
      peer.report.joinNumber = rename(joinsOf(peer.node), peer.report.joinNumber)
    }
    if (peer.fill === undefined) continue
    peer.fill.id = rename(node, peer.fill.id)
    peer.fill.start.fill = rename(node, peer.fill.start.fill)
    peer.fill.start.joinOf = rename(joinsOf(peer.node), peer.fill.start.joinOf)
  }
}
