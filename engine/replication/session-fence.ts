/**
 * Which sessions a copy refuses (SPEC S2): plain data, durable on every copy, told from one to another as a whole.
 *
 *   broken sessions   of every generation up to `brokenGeneration` (S6)
 *   older ones        of each generation in force, below an incarnation; in mode `open`, where all nodes have one
 *                     generation, each node's sessions before its newest
 *
 * Generations that no holder has any more are refused by the configuration, whoever leads: it is read, or won, by each
 * new primary. They need no place here.
 */
import type { Attach, NodeId } from './configuration.ts'
import type { Session } from './record.ts'

/** The newest session of a node in mode `open`. */
export type OpenEntry = readonly [node: NodeId, generation: number, incarnation: number]

export interface SessionFence {
  brokenGeneration: number
  /**
   * Ascending; of a generation nothing below this incarnation is served. A primary names every generation that is in
   * force, with 0 when none of its sessions was opened yet: so what it does not name is over.
   */
  incarnations: ReadonlyArray<readonly [generation: number, incarnation: number]>
  /** By node. Absent: nobody was served in mode `open`. */
  open?: readonly OpenEntry[]
}

export const NO_FENCE: SessionFence = { brokenGeneration: 0, incarnations: [] }

export function leastIncarnation(fence: SessionFence, generation: number): number {
  return fence.incarnations.find(([of]) => of === generation)?.[1] ?? 0
}

const isBefore = (a: Session, b: Session): boolean =>
  a.generation < b.generation || (a.generation === b.generation && a.incarnation < b.incarnation)

const sessionOf = ([, generation, incarnation]: OpenEntry): Session => ({ generation, incarnation })

/** Mode `open`: whether that node was served under a newer session. */
export function isFormer({ open = [] }: SessionFence, node: NodeId, session: Session): boolean {
  return open.some((entry) => entry[0] === node && isBefore(session, sessionOf(entry)))
}

/** Whether `has` refuses everything that `wanted` refuses. */
export function covers(has: SessionFence, wanted: SessionFence): boolean {
  if (has.brokenGeneration < wanted.brokenGeneration) return false
  const isThere = (entry: OpenEntry) =>
    (has.open ?? []).some((one) => one[0] === entry[0] && !isBefore(sessionOf(one), sessionOf(entry)))
  if (!(wanted.open ?? []).every((entry) => entry[1] <= has.brokenGeneration || isThere(entry))) return false
  return wanted.incarnations.every(
    ([generation, incarnation]) =>
      generation <= has.brokenGeneration || leastIncarnation(has, generation) >= incarnation,
  )
}

/** What either refuses is refused. */
export function joined(a: SessionFence, b: SessionFence): SessionFence {
  const brokenGeneration = Math.max(a.brokenGeneration, b.brokenGeneration)
  const least = new Map<number, number>()
  for (const [generation, incarnation] of [...a.incarnations, ...b.incarnations]) {
    if (generation <= brokenGeneration) continue
    least.set(generation, Math.max(least.get(generation) ?? 0, incarnation))
  }
  const fence: SessionFence = { brokenGeneration, incarnations: [...least].sort(([m], [n]) => m - n) }
  const open = newestOf([...(a.open ?? []), ...(b.open ?? [])])
  return open.length === 0 ? fence : { ...fence, open }
}

/** Of each node, also of generations that broke: a later one says what of them is over. */
function newestOf(entries: readonly OpenEntry[]): OpenEntry[] {
  const newest = new Map<NodeId, OpenEntry>()
  for (const entry of entries) {
    const known = newest.get(entry[0])
    if (known === undefined || isBefore(sessionOf(known), sessionOf(entry))) newest.set(entry[0], entry)
  }
  return [...newest.values()].sort(([a], [b]) => (a < b ? -1 : 1))
}

export const withBroken = (fence: SessionFence, brokenGeneration: number): SessionFence =>
  joined(fence, { brokenGeneration, incarnations: [] })

/** As a primary tells it, that knows which generations are in force: of others nothing is kept. */
export function inForce(fence: SessionFence, { generation: last, holders }: Attach): SessionFence {
  const named = Object.values(holders).sort((a, b) => a - b)
  const incarnations = named.map((generation) => [generation, leastIncarnation(fence, generation)] as const)
  const open = (fence.open ?? []).filter(([, generation]) => generation >= last)
  return joined(NO_FENCE, { ...fence, incarnations, open })
}

/**
 * What a copy has after the primary told it this: all of it, and of its own what is newer (then this one is late). What
 * the primary does not name is not in force any more. Of mode `open` that is what is older than anything it names: that
 * mode begins, and ends, with a generation above all others.
 */
export function adopted(own: SessionFence, told: SessionFence): SessionFence {
  const last = told.incarnations.at(-1)?.[0] ?? 0
  const named = new Set(told.incarnations.map(([generation]) => generation))
  const stays = own.incarnations.filter(([generation]) => generation > last || named.has(generation))
  const newest = Math.max(last, lastOpened(told))
  const open = (own.open ?? []).filter(([, generation]) => generation >= newest)
  return joined(told, { ...own, incarnations: stays, open })
}

function lastOpened({ open = [] }: SessionFence): number {
  let last = 0
  for (const [, generation] of open) last = Math.max(last, generation)
  return last
}

/**
 * Which sessions no primary serves any more that has this fence, under the configuration it was told under or a later
 * one (S1): of broken generations, of those that are over, and older ones of those in force.
 * @param followed  of mode `open`, whose sessions do not say which node they are of: those that a newer one followed
 */
export function isOverIn(fence: SessionFence, followed: readonly Session[]): (session: Session) => boolean {
  const { brokenGeneration, incarnations } = fence
  const least = new Map(incarnations)
  const last = incarnations.at(-1)?.[0] ?? 0
  const opened = lastOpened(fence)
  return (session) => {
    const { generation, incarnation } = session
    if (generation <= brokenGeneration || generation < opened) return true
    const from = least.get(generation)
    if (from !== undefined) return incarnation < from
    return generation < last || followed.some((one) => one.incarnation === incarnation && one.generation === generation)
  }
}

/** Mode `open`: sessions of the first fence that a newer one of their node followed in the second. */
export function followedIn({ open: former = [] }: SessionFence, { open: now = [] }: SessionFence): Session[] {
  const newest = new Map(now.map((entry) => [entry[0], sessionOf(entry)]))
  return former.map((entry) => ({ session: sessionOf(entry), newest: newest.get(entry[0]) }))
    .filter(({ session, newest }) => newest !== undefined && isBefore(session, newest))
    .map(({ session }) => session)
}
