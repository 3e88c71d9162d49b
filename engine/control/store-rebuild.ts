/**
 * Records and configurations of a cluster whose store is lost, made anew of what the disks of its nodes say, or the
 * reasons why that is not safe (cluster/store/REBUILD.md). A function of the descriptions and of nothing else (Q7).
 */
import type { NodeId } from '../replication/configuration.ts'
import { someOf } from './amounts.ts'
import type { NodeDescription } from './node-description.ts'
import { rebuildVolume } from './volume-rebuild.ts'
import type { LocatedCopy, RebuiltVolume } from './volume-rebuild.ts'

const STARTS_STEP = 2 ** 10
/** An incarnation is a start times this, and more (cluster/membership/start-number.ts). */
const INCARNATIONS_EACH = 2 ** 24

/** A store that was rebuilt before, into which nodes come that were away then (E3). */
export interface RebuiltStore {
  nodes: ReadonlySet<NodeId>
  /** Epochs of the configurations it has. */
  epochs: ReadonlyMap<string, number>
  names: ReadonlySet<string>
}

export interface RebuildPlan {
  nodes: NodeDescription[]
  volumes: RebuiltVolume[]
  /** Volumes of which there are copies, and nothing is made. */
  leftOut: Array<{ volumeId: string; name: string; why: string }>
  /** Why it is not safe, a sentence each. Who goes on nevertheless takes them for costs. */
  problems: string[]
  /** Above the number of every start that is known. */
  starts: number
  /** Above every one that a node has seen. */
  era: number
}

/** @param nodes  of one cluster, each once */
export function planRebuild(nodes: readonly NodeDescription[], nonce: string, rebuilt?: RebuiltStore): RebuildPlan {
  const here = new Set(nodes.map(({ name }) => name))
  const isKnown = (node: NodeId) => here.has(node) || rebuilt?.nodes.has(node) === true
  const starts = startsOf(nodes)
  const era = Math.max(0, ...nodes.map(({ era }) => era)) + 1
  const plan: RebuildPlan = { nodes: [...nodes], volumes: [], leftOut: [], problems: [], starts, era }
  const missing = new Map<NodeId, string[]>()
  for (const { name, met } of nodes) {
    for (const node of met) if (node !== name && !isKnown(node)) missing.set(node, [])
  }
  for (const { name, disks } of nodes) {
    for (const { path, failure } of disks) {
      if (failure !== '') plan.problems.push(`disk ${path} of ${name} cannot be read, nor what is on it: ${failure}`)
    }
  }
  for (const [volumeId, copies] of byVolume(nodes)) {
    const epoch = rebuilt?.epochs.get(volumeId)
    if (epoch !== undefined) {
      plan.problems.push(...strangers(copies, epoch))
      continue
    }
    const verdict = rebuildVolume({ volumeId, copies, here, nonce })
    if (verdict === undefined) continue
    const { name, leftOut, problems } = verdict
    const notes = problems.map((why) => `volume ${name}: ${why}`)
    if (rebuilt !== undefined && verdict.rebuilt !== undefined) {
      notes.push(`volume ${name} is not in the rebuilt store: it may have been moved or deleted since`)
    }
    plan.problems.push(...notes)
    for (const node of verdict.missing) {
      if (!isKnown(node)) missing.set(node, [...(missing.get(node) ?? []), name])
    }
    if (verdict.rebuilt !== undefined) plan.volumes.push(verdict.rebuilt)
    else plan.leftOut.push({ volumeId, name, why: leftOut })
  }
  plan.problems.unshift(...[...missing].sort(([a], [b]) => (a < b ? -1 : 1)).map(whyNeeded))
  plan.volumes = withOwnNames(plan.volumes, rebuilt?.names)
  return plan
}

/** R1, in words. */
function whyNeeded([node, volumes]: [NodeId, string[]]): string {
  if (volumes.length === 0) return `node ${node} was met and did not answer: it may have copies that nobody knows of`
  const which = volumes.length === 1 ? `volume ${volumes[0]}` : `volumes ${someOf(volumes.sort())}`
  return `node ${node} did not answer: it may have what was acknowledged last of ${which}`
}

/** Copies of a volume that is in the rebuilt store have to be older than it. */
function strangers(copies: readonly LocatedCopy[], epoch: number): string[] {
  const newer = copies.filter(({ promise, lastEpoch }) => promise.epoch > epoch || lastEpoch > epoch)
  return newer.map(({ node, spec }) => `the copy of volume ${spec.name} on ${node} is newer than the rebuilt store`)
}

function byVolume(nodes: readonly NodeDescription[]): Array<[string, LocatedCopy[]]> {
  const found = new Map<string, LocatedCopy[]>()
  for (const { name: node, copies } of nodes) {
    for (const copy of copies) {
      const known = found.get(copy.volumeId)
      if (known === undefined) found.set(copy.volumeId, [{ ...copy, node }])
      else known.push({ ...copy, node })
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1))
}

function startsOf(nodes: readonly NodeDescription[]): number {
  let most = 0
  for (const { startNumber, copies } of nodes) {
    most = Math.max(most, startNumber)
    for (const { incarnation } of copies) most = Math.max(most, Math.floor(incarnation / INCARNATIONS_EACH))
  }
  return most + STARTS_STEP
}

/** Q5: of two volumes with one name the second gets another one. In the trash nobody has a name. */
function withOwnNames(volumes: readonly RebuiltVolume[], known: ReadonlySet<string> = new Set()): RebuiltVolume[] {
  const taken = new Set(known)
  return volumes.map((volume) => {
    const { record, volumeId, remarks } = volume
    const { name } = record.spec
    if (record.trash !== null) return volume
    if (!taken.has(name)) {
      taken.add(name)
      return volume
    }
    const other = `${name.slice(0, 63 - 9)}-${volumeId.slice(0, 8)}`
    const remark = `there was another volume ${name}: this one is ${other} now`
    return { ...volume, record: { ...record, spec: { ...record.spec, name: other } }, remarks: [...remarks, remark] }
  })
}
