/**
 * Which nodes a pod with volumes of ours may go to, and which are best (SPEC.md L5, L6). Pure: of what is known.
 */
import type { CapacityAnswer, Node } from '../../../cluster/api/node-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { formatSize } from '../../../cluster/api/amounts.ts'
import { nodeNameOf } from '../node-name.ts'

export const SCORE_MOST = 10
const SCORE = { primary: SCORE_MOST, copy: 7, zone: 3 } as const

/** A volume that is there, or one that is to be made where its first pod goes. */
export type Used =
  | { kind: 'bound'; volume: Pick<Volume, 'name' | 'copies' | 'dataLocality'> }
  | { kind: 'waiting'; sizeBytes: number; isStrict: boolean; capacity: CapacityAnswer }

type KnownNode = Pick<Node, 'name' | 'state' | 'zone'>

export interface Judged {
  /** Why not, as a sentence that is the same for all such nodes; undefined: it may go there. */
  why: string | undefined
  /** 0 to 10. */
  score: number
}

/** @param names  of Kubernetes. @param nodes  all that there are. @param used  not empty */
export function judgeNodes(
  names: readonly string[], nodes: readonly KnownNode[], used: readonly Used[],
): Map<string, Judged> {
  const known = new Map(nodes.map((node) => [node.name, node]))
  const judges = used.map((one) => (one.kind === 'bound' ? boundJudge(one.volume, known) : waitingJudge(one)))
  const judged = new Map<string, Judged>()
  for (const name of names) {
    const node = known.get(nodeNameOf(name))
    if (node === undefined || node.state === 'down') {
      const why = node === undefined ? 'Holdfast: no node of it runs there' : 'Holdfast: its data process there is down'
      judged.set(name, { why, score: 0 })
      continue
    }
    const each = judges.map((judge) => judge(node))
    const score = Math.round(each.reduce((sum, one) => sum + one.score, 0) / each.length)
    judged.set(name, { why: each.find(({ why }) => why !== undefined)?.why, score })
  }
  return judged
}

type Judge = (node: KnownNode) => Judged

function boundJudge(
  { name, copies, dataLocality }: Pick<Volume, 'name' | 'copies' | 'dataLocality'>,
  known: ReadonlyMap<string, KnownNode>,
): Judge {
  const there = copies.filter(({ state }) => state !== 'failed')
  const roles = new Map(there.map(({ node, role }) => [node, role]))
  const zones = new Set(there.map(({ node }) => known.get(node)?.zone ?? '').filter((zone) => zone !== ''))
  const why = `Holdfast: volume ${name} has data-locality strict and no copy there`
  return ({ name: node, zone }) => {
    const role = roles.get(node)
    if (role !== undefined) return { why: undefined, score: role === 'primary' ? SCORE.primary : SCORE.copy }
    return { why: dataLocality === 'strict' ? why : undefined, score: zones.has(zone) ? SCORE.zone : 0 }
  }
}

function waitingJudge({ sizeBytes, isStrict, capacity }: Extract<Used, { kind: 'waiting' }>): Judge {
  const { nodes } = capacity
  const size = formatSize(sizeBytes)
  // With `strict` that is of a place, and so of each node.
  const isTooLarge = !isStrict && capacity.largestBytes < sizeBytes
  const largest = formatSize(capacity.largestBytes)
  const tooLarge = `Holdfast: no volume of ${size} can be made now, the largest has ${largest}`
  const noRoom = `Holdfast: no copy of a volume of ${size} with data-locality strict can lie there`
  const places = new Map(nodes.map((one) => [one.node, one]))
  const most = Math.max(1, ...nodes.filter(({ localBytes }) => localBytes >= sizeBytes).map((one) => one.freeBytes))
  return ({ name }) => {
    const place = places.get(name)
    if (isTooLarge) return { why: tooLarge, score: 0 }
    // Who answers may be of a version that tells nothing of each node.
    if (place === undefined) return { why: undefined, score: 0 }
    if (place.localBytes < sizeBytes) return { why: isStrict ? noRoom : undefined, score: 0 }
    return { why: undefined, score: Math.round((SCORE_MOST * place.freeBytes) / most) }
  }
}
