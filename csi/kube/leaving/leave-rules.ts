/**
 * Which node may be away without a volume losing what it needs (SPEC.md Q1), from what the control API shows. What is
 * not known gives no leave.
 *
 * Invariant: of each volume with a complete copy on a node that may leave, one is left on a node that may not.
 */

/** Of a volume, as far as it matters here. Nodes by their Holdfast names. */
export interface VolumeFact {
  name: string
  /** Copies that it is to have. */
  wanted: number
  minInSync: number
  /** A node could take a copy that it lacks. */
  awaitsCopy: boolean
  copies: readonly CopyFact[]
}

export interface CopyFact {
  node: string
  isPrimary: boolean
  isInSync: boolean
  /** The volume could go on with it alone, as its node says freshly. */
  isComplete: boolean
}

export interface Hindrance {
  /** Volumes with no other complete copy on a node that stays. */
  last: string[]
  /** That would have fewer than `minInSync` for a while, and are to have more. */
  below: string[]
  /** Nodes with leave whose copies were not counted therefore. */
  awaited: string[]
}

/** Everything is there that is to be, or can be. */
export const isSettled = ({ copies, wanted, awaitsCopy }: VolumeFact): boolean =>
  !awaitsCopy && copies.length <= wanted && copies.every(({ isComplete }) => isComplete)

export interface LeaveQuestion {
  volumes: readonly VolumeFact[]
  /** Nodes that may be away already. */
  letGo: ReadonlySet<string>
  /** It is back soon, with its disk: volumes that are to have one copy wait for it. */
  isReturning?: boolean
  /** No other node is there, and none is waited for. */
  isAlone?: boolean
}

/** Undefined: nothing is against it. */
export function hindranceOf(node: string, question: LeaveQuestion): Hindrance | undefined {
  const { volumes, letGo, isReturning = false, isAlone = false } = question
  const [last, below, awaited] = [[] as string[], [] as string[], new Set<string>()]
  if (isAlone && isReturning) return undefined
  for (const volume of volumes) {
    const own = volume.copies.find((copy) => copy.node === node)
    if (own === undefined || (isReturning && volume.wanted === 1)) continue
    const complete = volume.copies.filter(({ isComplete }) => isComplete)
    const others = complete.filter((copy) => copy.node !== node)
    const rest = others.filter((copy) => !letGo.has(copy.node)).length
    // One that is being filled is not needed, unless what it is filled from may be away: then it is waited for.
    if (!own.isInSync && !own.isComplete && rest >= 1) continue
    if (rest >= Math.max(1, volume.minInSync)) continue
    const isFirst = !volume.copies.some((copy) => copy.node !== node && letGo.has(copy.node))
    if (rest >= 1 && isFirst && isSettled(volume)) continue
    if (rest === 0) last.push(volume.name)
    else below.push(volume.name)
    for (const copy of others) if (letGo.has(copy.node)) awaited.add(copy.node)
  }
  return last.length + below.length === 0 ? undefined : { last, below, awaited: [...awaited].sort() }
}

/** Volumes whose users wait while the node starts again: no other copy, or fewer than they need. */
export function pausedBy(node: string, volumes: readonly VolumeFact[]): string[] {
  return volumes.filter(({ copies, minInSync }) => {
    if (!copies.some((copy) => copy.node === node)) return false
    return copies.filter((copy) => copy.node !== node && copy.isComplete).length < Math.max(1, minInSync)
  }).map(({ name }) => name)
}
