/**
 * What the trace says of an event or a message, behind its name, epoch and seq: the one thing that a reader asks next.
 */
import type { CopyEvent } from '../../../engine/replication/copy-port.ts'
import type { FrontendMessage, PeerMessage } from '../../../engine/replication/messages.ts'
import { requestKey } from './checker/history.ts'

export function briefEvent(event: CopyEvent): string {
  switch (event.type) {
    case 'message':
      return `; ${event.message.type} of ${event.from}`
    case 'frontend':
      return `; ${event.message.type} of ${event.from}`
    case 'config-read':
    case 'config-hint': {
      const config = event.value?.config
      if (config === undefined) return '; nothing'
      return `; epoch ${config.epoch}, primary ${config.primary}, set ${config.inSync.join('+')}`
    }
    case 'stored':
      return `; ${event.seq}, durable ${event.durableSeq}`
    case 'scanned':
      return event.ok ? `; ${event.versions.length} versions` : '; cannot be read'
    case 'read-ended':
    case 'looked-up':
      return event.ok ? '' : '; cannot be read'
    case 'instance-ended':
      return `; ${event.instance}`
    default:
      return ''
  }
}

export function briefMessage(message: PeerMessage): string {
  switch (message.type) {
    case 'append':
      return `${message.records.map(({ epoch, seq }) => ` (${epoch}, ${seq})`).join('')} after ${message.previous.seq}`
    case 'stored':
      return ` durable ${message.durableSeq}`
    case 'refused':
      return ` ${message.why}, promised ${message.promised.epoch} of ${message.promised.primary}`
    case 'promised':
    case 'hello':
    case 'join':
      return ` commit ${message.commitSeq}, epochs ${JSON.stringify(message.epochs)}, ${message.consistency.state}`
    case 'reconcile':
      return ` fork ${message.fork.seq}, ${message.records.length} records`
    case 'fill-start':
      return ` fork ${message.fork}, target ${message.target}`
    default:
      return ''
  }
}

export function briefFrontend(message: FrontendMessage): string {
  switch (message.type) {
    case 'request':
      return ` ${requestKey(message.id)} ${message.operation.type}`
    case 'reply':
      return ` ${requestKey(message.id)} ${message.result.ok ? 'ok' : message.result.code}`
    case 'redirect':
      return ` primary ${message.primary ?? 'unknown'}`
    case 'open':
    case 'opened':
    case 'held':
      return ` ${message.session.generation}.${message.session.incarnation}`
    default:
      return ` of reader ${message.reader}`
  }
}
