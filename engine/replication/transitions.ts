/**
 * What each role does with each event: one cell for every pair, so that a new event, or a new role, does not compile
 * until somebody has decided. The same table stands in SPEC.md 2.4 and a tidy rule holds the two together. `step`
 * consults it before anything else.
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

/** `stored` is said by the own store and by peers; the table tells them apart. */
export type TableKind = EventKind | 'stored-by-peer'

/** Before the store is open nobody is answered: there is nothing to say yet. Then by what the role has in common. */
type Cells = readonly [beforeRecovery: Decision, follows: Decision, leads: Decision, fenced: Decision]

const TABLE: Record<TableKind, Cells> = {
  // Of the own store.
  recovered: ['handled', 'impossible', 'impossible', 'impossible'],
  stored: ['ignored', 'handled', 'handled', 'ignored'],
  kept: ['ignored', 'handled', 'handled', 'ignored'],
  'read-ended': ['ignored', 'handled', 'handled', 'ignored'],
  mapped: ['ignored', 'handled', 'handled', 'ignored'],
  'looked-up': ['ignored', 'handled', 'handled', 'ignored'],
  'beyond-counted': ['ignored', 'handled', 'handled', 'ignored'],
  scanned: ['ignored', 'handled', 'handled', 'ignored'],
  'marks-found': ['ignored', 'handled', 'handled', 'ignored'],
  'versions-read': ['ignored', 'handled', 'handled', 'ignored'],
  damaged: ['ignored', 'handled', 'handled', 'ignored'],
  'store-failed': ['handled', 'handled', 'handled', 'ignored'],
  // Of the cluster store.
  'config-hint': ['ignored', 'handled', 'handled', 'ignored'],
  'config-read': ['ignored', 'handled', 'handled', 'ignored'],
  'cas-ended': ['ignored', 'handled', 'handled', 'ignored'],
  // Of links, clocks, supervisors and operators.
  beacon: ['ignored', 'handled', 'handled', 'ignored'],
  'beacon-acknowledged': ['ignored', 'handled', 'handled', 'ignored'],
  'instance-ended': ['ignored', 'handled', 'handled', 'ignored'],
  'clock-doubt': ['ignored', 'handled', 'handled', 'ignored'],
  command: ['handled', 'handled', 'handled', 'refused'],
  tick: ['ignored', 'handled', 'handled', 'handled'],
  // From a primary to the copies. They look at its epoch themselves: a leader may learn that it is deposed.
  append: ['ignored', 'handled', 'handled', 'refused'],
  sync: ['ignored', 'handled', 'handled', 'refused'],
  'new-epoch': ['ignored', 'handled', 'handled', 'refused'],
  'fetch-log': ['ignored', 'handled', 'handled', 'refused'],
  reconcile: ['ignored', 'handled', 'handled', 'refused'],
  release: ['ignored', 'handled', 'handled', 'ignored'],
  confirm: ['ignored', 'handled', 'handled', 'refused'],
  fence: ['ignored', 'handled', 'handled', 'refused'],
  'fill-start': ['ignored', 'handled', 'handled', 'refused'],
  fill: ['ignored', 'handled', 'handled', 'refused'],
  'fill-end': ['ignored', 'handled', 'handled', 'refused'],
  // To a primary.
  'stored-by-peer': ['ignored', 'ignored', 'handled', 'ignored'],
  promised: ['ignored', 'ignored', 'handled', 'ignored'],
  log: ['ignored', 'ignored', 'handled', 'ignored'],
  confirmed: ['ignored', 'ignored', 'handled', 'ignored'],
  fenced: ['ignored', 'ignored', 'handled', 'ignored'],
  'fill-started': ['ignored', 'ignored', 'handled', 'ignored'],
  filled: ['ignored', 'ignored', 'handled', 'ignored'],
  'fill-ended': ['ignored', 'ignored', 'handled', 'ignored'],
  hello: ['ignored', 'refused', 'handled', 'refused'],
  join: ['ignored', 'refused', 'handled', 'refused'],
  // Between any two.
  refused: ['ignored', 'handled', 'handled', 'ignored'],
  'fetch-versions': ['ignored', 'handled', 'handled', 'refused'],
  versions: ['ignored', 'handled', 'handled', 'ignored'],
  // Of frontends; what copies say to them comes to none.
  'frontend-open': ['ignored', 'handled', 'handled', 'refused'],
  'frontend-request': ['ignored', 'handled', 'handled', 'refused'],
  'frontend-snapshot-open': ['ignored', 'handled', 'handled', 'refused'],
  'frontend-snapshot-ask': ['ignored', 'handled', 'handled', 'refused'],
  'frontend-snapshot-close': ['ignored', 'ignored', 'handled', 'ignored'],
  'frontend-opened': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-reply': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-redirect': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-held': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-snapshot-opened': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-snapshot-blocks': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-snapshot-map': ['ignored', 'ignored', 'ignored', 'ignored'],
  'frontend-snapshot-refused': ['ignored', 'ignored', 'ignored', 'ignored'],
}

type Row = Record<TableKind, Decision>

const rowOf = (column: 0 | 1 | 2 | 3): Row =>
  Object.fromEntries(Object.entries(TABLE).map(([kind, cells]) => [kind, cells[column]])) as Row

export const BEFORE_RECOVERY = rowOf(0)
const FOLLOWS = rowOf(1)
const LEADS = rowOf(2)

export const TRANSITIONS: Record<Role, Row> = {
  starting: FOLLOWS,
  out: FOLLOWS,
  replica: FOLLOWS,
  candidate: FOLLOWS,
  reconciling: LEADS,
  primary: LEADS,
  'handing-over': LEADS,
  fenced: rowOf(3),
}

/** Not put together for each event: to look a new string up costs more than all the rest of a step's beginning. */
const FRONTEND_KIND = {
  open: 'frontend-open',
  opened: 'frontend-opened',
  request: 'frontend-request',
  reply: 'frontend-reply',
  redirect: 'frontend-redirect',
  held: 'frontend-held',
  'snapshot-open': 'frontend-snapshot-open',
  'snapshot-opened': 'frontend-snapshot-opened',
  'snapshot-close': 'frontend-snapshot-close',
  'snapshot-ask': 'frontend-snapshot-ask',
  'snapshot-blocks': 'frontend-snapshot-blocks',
  'snapshot-map': 'frontend-snapshot-map',
  'snapshot-refused': 'frontend-snapshot-refused',
} as const satisfies Record<FrontendMessage['type'], TableKind>

export function kindOf(event: CopyEvent): TableKind {
  if (event.type === 'frontend') return FRONTEND_KIND[event.message.type]
  if (event.type !== 'message') return event.type
  return event.message.type === 'stored' ? 'stored-by-peer' : event.message.type
}
