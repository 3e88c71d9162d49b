/**
 * One copy as a part of a state of the model: its memory, its store, and what it asked of the cluster store and has no
 * answer to. `happen` makes one thing happen to it, by the `step` of the engine, and says what it sent.
 *
 * Parts that are the same to every later step are made the same here (`settle`), or the space would have no end:
 *   times    are moved so that it is always NOW_MS; what lies further back than any comparison reaches is cut there
 *   tokens   that only this copy knows are numbered anew in their order; those that it told others: see `tokens.ts`
 *   counters of greetings and of dropped ends have no effect here (hints cover the first, the store reports at once)
 */
import { assert } from '../../engine/assert.ts'
import { createCopy, step, type CopyState } from '../../engine/replication/copy.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { CopyEvent, CopyOptions, CopyPort, VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import { lastSeqOf } from '../../engine/replication/record-window.ts'
import { NOW_MS, UNIT_MS, type Bounds } from './bounds.ts'
import { copyOf } from './canonical.ts'
import { complete, crash, ModelStore, newModelStore, recover, write, type ModelStoreState } from './model-store.ts'
import { moveTimes } from './times.ts'
import { highestTold, renumberLocal } from './tokens.ts'

export interface LocalCopy {
  node: string
  /** Which process of it this is. */
  life: number
  /** Unset while no process runs. */
  memory: CopyState | undefined
  store: ModelStoreState
  reads: Array<{ token: number; sinceVersion: number }>
  swaps: Swap[]
  /** The highest token that somebody else may know. */
  told: number
}

export interface Swap {
  token: number
  version: number
  config: VolumeConfig
  /** Unset: it may still land. */
  outcome: 'won' | 'lost' | undefined
  /** Nobody waits for the outcome. */
  isForgotten: boolean
}

export type Happening =
  | { type: 'event'; event: CopyEvent }
  | { type: 'stored'; count: number }
  | { type: 'written' }
  | { type: 'crash'; kept: number; keepsApplied: boolean }
  | { type: 'start' }
  | { type: 'read'; token: number; value: VersionedConfig }
  | { type: 'landed'; index: number; outcome: 'won' | 'lost' }
  | { type: 'answered'; index: number; isUnknown: boolean }
  /** The value that these swaps were to replace is gone. */
  | { type: 'version'; version: number }
  | { type: 'time' }

export interface Effects {
  sent: Array<{ to: string; message: PeerMessage }>
  replies: FrontendMessage[]
  /** It read the configuration, and was answered at once. */
  didRead: boolean
}

export const versionText = (version: number): string => `v${version}`
const versionNumber = (text: string): number => Number(text.slice(1))

export function newLocalCopy(node: string): LocalCopy {
  return { node, life: 0, memory: undefined, store: newModelStore(`copy-${node}`), reads: [], swaps: [], told: 0 }
}

const instanceOf = ({ node, life }: LocalCopy): string => `${node}${life}`

function optionsOf(copy: LocalCopy, bounds: Bounds): CopyOptions {
  return {
    node: copy.node,
    instance: instanceOf(copy),
    volumeId: 'v',
    mode: bounds.mode,
    readCheck: 'confirm',
    // Nothing is served by one; the question that begins them is asked once a term.
    leaseMs: Infinity,
    graceMs: UNIT_MS,
    evictAfterMs: UNIT_MS,
    retryMs: UNIT_MS,
    candidateStepMs: UNIT_MS,
    windowBytesMax: 1 << 20,
    windowRecordsMax: 16,
    fillBytesMax: 1 << 20,
    marksMost: 1,
  }
}

/** Changes the copy it is given. */
export function happen(
  copy: LocalCopy,
  what: Happening,
  bounds: Bounds,
  values: VersionedConfig[],
  isLate: boolean,
): Effects {
  const effects: Effects = { sent: [], replies: [], didRead: false }
  const world = { values, isLate }
  switch (what.type) {
    case 'event':
      run(copy, [copyOf(what.event)], world, effects)
      break
    case 'stored':
      run(copy, complete(copy.store, what.count), world, effects)
      break
    case 'written':
      run(copy, write(copy.store), world, effects)
      break
    case 'crash':
      crash(copy.store, what.kept, what.keepsApplied)
      copy.memory = undefined
      copy.reads = []
      copy.told = 0
      for (const swap of copy.swaps) swap.isForgotten = true
      break
    case 'start':
      copy.life++
      copy.memory = createCopy(optionsOf(copy, bounds))
      run(copy, [{ type: 'recovered', stored: copyOf(recover(copy.store)) }], world, effects)
      break
    case 'read':
      copy.reads = []
      run(copy, [{ type: 'config-read', token: what.token, value: copyOf(what.value), ok: true }], world, effects)
      break
    case 'landed':
      copy.swaps[what.index]!.outcome = what.outcome
      break
    case 'answered': {
      const swap = copy.swaps[what.index]!
      swap.isForgotten = true
      const outcome = what.isUnknown ? 'unknown' : swap.outcome!
      const won = outcome === 'won' ? versionText(swap.version + 1) : undefined
      run(copy, [{ type: 'cas-ended', token: swap.token, outcome, version: won }], world, effects)
      break
    }
    case 'version':
      for (const swap of copy.swaps) if (swap.version < what.version) swap.outcome ??= 'lost'
      break
    case 'time':
      moveTimes(copy.memory, UNIT_MS)
  }
  settle(copy)
  return effects
}

/** The cluster store's values so far; whether a read of it is answered later, not at once. */
interface World {
  values: VersionedConfig[]
  isLate: boolean
}

function run(copy: LocalCopy, events: CopyEvent[], { values, isLate }: World, effects: Effects): void {
  const version = values.length
  const memory = copy.memory!
  const store = new ModelStore(copy.store, memory.options.mode)
  const port: CopyPort = {
    store,
    send(to, message) {
      copy.told = Math.max(copy.told, highestTold(message))
      effects.sent.push({ to, message: copyOf(message) })
    },
    reply: (_to, message) => void effects.replies.push(copyOf(message)),
    readConfig: (token) => void copy.reads.push({ token, sinceVersion: version }),
    compareAndSwap(token, from, config) {
      const outcome = versionNumber(from) === version ? undefined : 'lost'
      copy.swaps.push({ token, version: versionNumber(from), config: copyOf(config), outcome, isForgotten: false })
    },
    nonce: () => `${instanceOf(copy)}.${memory.config?.version}.${copy.swaps.length}`,
    wakeAt: () => undefined,
    disbelieved: (from, why) => assert(false, `${why}, of what ${from} says`),
    commandEnded: () => undefined,
  }
  const known = copy.reads.length
  const all = [...events]
  for (;;) {
    const event = all.shift() ?? store.answers.shift()
    if (event !== undefined) step(memory, event, NOW_MS, port)
    else if (copy.reads.length > known && !isLate) {
      const { token } = copy.reads.pop()!
      effects.didRead = true
      step(memory, { type: 'config-read', token, value: copyOf(values.at(-1)!), ok: true }, NOW_MS, port)
    } else break
  }
}

function settle(copy: LocalCopy): void {
  const { memory } = copy
  const { change } = memory ?? {}
  const isAwaited = (swap: Swap): boolean => change?.phase === 'asked' && change.token === swap.token
  for (const swap of copy.swaps) if (!isAwaited(swap)) swap.isForgotten = true
  copy.swaps = copy.swaps.filter(({ isForgotten, outcome }) => !(isForgotten && outcome !== undefined))
  copy.reads = copy.reads.filter(({ token }) => memory?.reading?.token === token)
  if (memory === undefined) {
    for (const swap of copy.swaps) swap.token = 0
    return
  }
  const { log, primary, grace } = memory
  log.drops = 0
  log.window = { ...log.window, records: log.window.records.slice(log.window.head), head: 0 }
  log.window.firstSeq = lastSeqOf(log.window) - log.window.records.length + 1
  memory.greets = 0
  grace.ended = new Map()
  if (primary !== undefined) {
    primary.held = primary.held.slice(primary.heldHead)
    primary.heldHead = 0
  }
  moveTimes(memory, 0)
  renumberLocal(copy)
}
