/** A trace that a person can follow: one line for each thing that happened, and what was sent because of it. */
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import type { ReplicatedRecord } from '../../engine/replication/record.ts'
import type { Happening } from './local-copy.ts'
import type { Envelope } from './parts.ts'

export function sayHappening(
  node: string,
  what: Happening,
  sent: readonly Envelope[],
  replies: readonly FrontendMessage[],
): string {
  const followed = [...sent.map((one) => `-> ${sayMessage(one)}`), ...replies.map((one) => `-> ${sayFrontend(one)}`)]
  return [`${node} ${sayWhat(what)}`, ...followed].join('\n        ')
}

function sayWhat(what: Happening): string {
  switch (what.type) {
    case 'event':
      if (what.event.type === 'message') return `gets ${sayPeer(what.event.message)} of ${what.event.instance}`
      if (what.event.type === 'frontend') return `is asked by the client: ${sayFrontend(what.event.message)}`
      if (what.event.type === 'config-hint') return `hears of epoch ${what.event.value.config.epoch}`
      if (what.event.type === 'command') return `is told: hand-over`
      return `: ${what.event.type}`
    case 'stored':
      return `has ${what.count} more on its disk`
    case 'written':
      return 'has everything in its page cache'
    case 'crash':
      return `crashes, ${what.kept} unsynced entries are kept`
    case 'start':
      return 'starts'
    case 'read':
      return `reads the configuration: epoch ${what.value.config.epoch}`
    case 'landed':
    case 'answered':
      return `: its swap was ${'outcome' in what ? what.outcome : what.isUnknown ? 'unknown' : 'answered'}`
    case 'version':
      return 'is too late'
    case 'time':
      return 'waits'
  }
}

export const sayMessage = ({ from, to, message }: Envelope): string => `${from} to ${to}: ${sayPeer(message)}`

const sayRecord = (record: ReplicatedRecord): string =>
  `${record.epoch}.${record.seq}=${record.kind}${record.kind === 'write' ? ` ${String(record.payload.data)}` : ''}`

function sayPeer(message: PeerMessage): string {
  const parts: string[] = [message.type]
  for (const [name, value] of Object.entries(message)) {
    if (name === 'type' || value === undefined) continue
    if (name === 'records') parts.push(`[${(value as ReplicatedRecord[]).map(sayRecord).join(' ')}]`)
    else if (name === 'epochs') parts.push(`epochs ${JSON.stringify(value)}`)
    else if (typeof value === 'number' || typeof value === 'string') parts.push(`${name} ${value}`)
    else if (['previous', 'fork', 'promised'].includes(name))
      parts.push(`${name} ${Object.values(value as object).join('.')}`)
    else if (name === 'consistency') parts.push((value as { state: string }).state)
    else if (name === 'config') parts.push(`set ${(value as { inSync: string[] }).inSync.join('+')}`)
    else if (name === 'slices' || name === 'wipe' || name === 'slicesDone')
      parts.push(`${name} ${JSON.stringify(value)}`)
  }
  return parts.join(' ')
}

function sayFrontend(message: FrontendMessage): string {
  if (message.type === 'request') {
    const { operation, id } = message
    return operation.type === 'write'
      ? `writes ${String(operation.payload.data)} in block ${operation.lba}`
      : `reads (${id.request})`
  }
  if (message.type !== 'reply') return message.type
  const { result, id } = message
  if (!result.ok) return `answer to ${id.request}: ${result.code}`
  const read = result.versions.map((version) => `${String(version.payload?.data)} (${version.epoch}.${version.seq})`)
  return `answer to ${id.request}${read.length > 0 ? `: ${read.join()}` : ''}`
}
