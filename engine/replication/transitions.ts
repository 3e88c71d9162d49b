/**
 * What each role does with each event: one cell for every pair, so that a new event does not compile until somebody
 * has decided (SPEC 2.3). `step` consults it before anything else.
 *
 *   handled     the function of the event runs
 *   ignored     it is of no use to this role now; whoever sent it sends it again, or somebody else
 *   refused     the sender is told why not
 *   impossible  our own port broke its word: a bug
 */
import type { CopyEvent } from './copy-port.ts'
import type { Role } from './copy-state.ts'
import type { FrontendMessage, PeerMessage } from './messages.ts'

type WorldEvent = Exclude<CopyEvent['type'], 'message' | 'frontend'>
export type EventKind = WorldEvent | PeerMessage['type'] | `frontend-${FrontendMessage['type']}`
export type Decision = 'handled' | 'ignored' | 'refused' | 'impossible'

/** What reaches every role that is recovered in the same way. */
const WORLD = {
  recovered: 'impossible',
  stored: 'handled',
  kept: 'handled',
  'read-ended': 'handled',
  'looked-up': 'handled',
  scanned: 'handled',
  'versions-read': 'handled',
  damaged: 'handled',
  'store-failed': 'handled',
  'config-hint': 'handled',
  'config-read': 'handled',
  'cas-ended': 'handled',
  beacon: 'handled',
  'beacon-acknowledged': 'handled',
  'instance-ended': 'handled',
  'clock-doubt': 'handled',
  command: 'handled',
  tick: 'handled',
} as const satisfies Record<WorldEvent, Decision>

/** From a primary to the copies. They look at its epoch themselves: a leader may learn that it is deposed. */
const FROM_PRIMARY = {
  append: 'handled',
  sync: 'handled',
  'new-epoch': 'handled',
  'fetch-log': 'handled',
  reconcile: 'handled',
  release: 'handled',
  confirm: 'handled',
  fence: 'handled',
  'fill-start': 'handled',
  fill: 'handled',
  'fill-end': 'handled',
} as const satisfies Partial<Record<PeerMessage['type'], Decision>>

const TO_PRIMARY = [
  'stored',
  'promised',
  'log',
  'confirmed',
  'fenced',
  'fill-started',
  'filled',
  'fill-ended',
] as const
type ToPrimary = Exclude<(typeof TO_PRIMARY)[number], 'stored'> | 'stored-by-peer'

const toPrimary = <D extends Decision>(decision: D): Record<ToPrimary, D> => ({
  'stored-by-peer': decision,
  promised: decision,
  log: decision,
  confirmed: decision,
  fenced: decision,
  'fill-started': decision,
  filled: decision,
  'fill-ended': decision,
})

const FRONTEND = {
  'frontend-open': 'handled',
  'frontend-request': 'handled',
  'frontend-opened': 'ignored',
  'frontend-reply': 'ignored',
  'frontend-redirect': 'ignored',
  'frontend-held': 'ignored',
} as const

/** `stored` is said by the own store and by peers; the table tells them apart. */
export type TableKind = EventKind | 'stored-by-peer'
type Row = Record<TableKind, Decision>

const FOLLOWER: Row = {
  ...WORLD,
  ...FROM_PRIMARY,
  ...toPrimary('ignored'),
  ...FRONTEND,
  'fetch-versions': 'handled',
  versions: 'handled',
  refused: 'handled',
  hello: 'refused',
  join: 'refused',
}

const LEADER: Row = { ...FOLLOWER, ...toPrimary('handled'), hello: 'handled', join: 'handled' }

const FENCED: Row = {
  ...WORLD,
  stored: 'ignored',
  kept: 'ignored',
  'read-ended': 'ignored',
  'looked-up': 'ignored',
  scanned: 'ignored',
  'versions-read': 'ignored',
  damaged: 'ignored',
  'store-failed': 'ignored',
  'config-hint': 'ignored',
  'config-read': 'ignored',
  'cas-ended': 'ignored',
  beacon: 'ignored',
  'beacon-acknowledged': 'ignored',
  'instance-ended': 'ignored',
  'clock-doubt': 'ignored',
  command: 'refused',
  append: 'refused',
  sync: 'refused',
  'new-epoch': 'refused',
  'fetch-log': 'refused',
  reconcile: 'refused',
  release: 'ignored',
  confirm: 'refused',
  fence: 'refused',
  'fill-start': 'refused',
  fill: 'refused',
  'fill-end': 'refused',
  'fetch-versions': 'refused',
  versions: 'ignored',
  ...toPrimary('ignored'),
  refused: 'ignored',
  hello: 'refused',
  join: 'refused',
  ...FRONTEND,
  'frontend-open': 'refused',
  'frontend-request': 'refused',
}

export const TRANSITIONS: Record<Role, Row> = {
  starting: FOLLOWER,
  out: FOLLOWER,
  replica: FOLLOWER,
  candidate: FOLLOWER,
  reconciling: { ...LEADER, command: 'handled' },
  primary: LEADER,
  'handing-over': LEADER,
  fenced: FENCED,
}

/** Before the store is open nobody is answered: there is nothing to say yet. */
export const BEFORE_RECOVERY: Row = {
  ...Object.fromEntries(Object.keys(FOLLOWER).map((kind) => [kind, 'ignored'])),
  recovered: 'handled',
  'store-failed': 'handled',
  command: 'handled',
} as Row

export function kindOf(event: CopyEvent): TableKind {
  if (event.type === 'frontend') return `frontend-${event.message.type}`
  if (event.type !== 'message') return event.type
  return event.message.type === 'stored' ? 'stored-by-peer' : event.message.type
}
