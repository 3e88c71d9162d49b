/**
 * One volume whose record and configuration are lost with the cluster store, made anew of what its copies say
 * (cluster/store/REBUILD.md sections 2 and 3, Q1 to Q7, R1, R2 and R4).
 */
import { assertConfig, FORCED_EPOCH_STEP } from '../replication/configuration.ts'
import type { Attach, Member, NodeId, VolumeConfig } from '../replication/configuration.ts'
import { restingMode } from './attach-wish.ts'
import { isReadable, wasUsed } from './node-description.ts'
import type { CopyDescription } from './node-description.ts'
import { TRASH_KEEP_MS, wishedMinInSync } from './volume-record.ts'
import type { VolumeSpec } from '../volume/volume-spec.ts'
import type { VolumeRecord } from './volume-record.ts'

/** Q4: above three promotions by force that nobody here knows of. */
const REBUILT_EPOCH_STEP = 4 * FORCED_EPOCH_STEP
const REBUILT_GENERATION_STEP = 2 ** 10

export interface LocatedCopy extends CopyDescription {
  node: NodeId
}

export interface RebuiltVolume {
  volumeId: string
  record: VolumeRecord
  config: VolumeConfig
  /** The highest epoch that anybody here knows of. */
  formerEpoch: number
  /** What is not as it was, a sentence each. */
  remarks: string[]
}

export interface VolumeVerdict {
  name: string
  rebuilt: RebuiltVolume | undefined
  /** Why there is none although there are copies; empty when it is made. */
  leftOut: string
  /** Why it is not safe, a sentence each; whoever goes on nevertheless takes them for costs. */
  problems: string[]
  /** Nodes that may have a newer copy, and are not here. */
  missing: NodeId[]
}

export interface VolumeEvidence {
  volumeId: string
  copies: readonly LocatedCopy[]
  /** Who was described. */
  here: ReadonlySet<NodeId>
  nonce: string
}

/** What the notes and promises say of who is in it (Q1). */
interface Members {
  members: Map<NodeId, Member>
  /** Who may be in the newest set. */
  inSet: Set<NodeId>
  /** The newest set is known. */
  isCurrent: boolean
  newest: VolumeConfig | undefined
  evidence: number
}

/** Undefined: there is nothing of it but words that it was erased. */
export function rebuildVolume(found: VolumeEvidence): VolumeVerdict | undefined {
  const { volumeId, copies, here, nonce } = found
  const left = copies.filter(({ isErased }) => !isErased)
  const used = copies.filter(wasUsed)
  if (left.length === 0) return undefined
  const { spec } = left[0]!
  const verdict: VolumeVerdict = { name: spec.name, rebuilt: undefined, leftOut: '', problems: [], missing: [] }
  if (used.length === 0) return { ...verdict, leftOut: 'it was never used' }
  const known = membersOf(used)
  const { record, remarks } = recordOf(used, known)
  const { name } = record.spec
  const isPurging = record.trash?.isPurging === true
  const missing = isPurging ? [] : missingFrom(used, known, here)
  const erasedBy = copies.find(({ node, isErased, copyId }) =>
    isErased && known.isCurrent && known.inSet.has(node) && known.members.get(node)?.copyId === copyId)
  // Who is missing may have been in a newer set, without that copy.
  if (erasedBy !== undefined && !isPurging && missing.length === 0) {
    return { ...verdict, name, leftOut: `${erasedBy.node} has erased its copy: it was being purged` }
  }
  const best = bestOf(used, known)
  const doubts = isPurging ? [] : doubtsOf(used, known, best, here)
  if (best === undefined) {
    const why = 'no copy that is here is whole'
    return isPurging ? { ...verdict, name, leftOut: why } : { ...verdict, name, leftOut: why, problems: [why], missing }
  }
  // R2: it may have been deleted, so it does not come back alive.
  const isGone = doubts.some(({ isAbsent }) => isAbsent)
  const trash = record.trash ?? (isGone ? { deletedAtAgeMs: 0, keepMs: TRASH_KEEP_MS, isPurging: false } : null)
  const kept = { ...record, trash }
  const config = configOf(volumeId, used, known, best, kept, here, nonce)
  if (trash !== null) remarks.push(isPurging ? 'it goes on being purged' : 'it is in the trash')
  return {
    name,
    rebuilt: { volumeId, record: kept, config, formerEpoch: known.evidence, remarks },
    leftOut: '',
    problems: doubts.map(({ why }) => why),
    missing,
  }
}

const notedConfig = ({ noted }: CopyDescription): VolumeConfig | undefined => noted?.config

const notedEpoch = (copy: CopyDescription): number => notedConfig(copy)?.epoch ?? 0

function membersOf(used: readonly LocatedCopy[]): Members {
  const newestEpoch = Math.max(...used.map(notedEpoch))
  const evidence = Math.max(newestEpoch, ...used.flatMap(({ promise, lastEpoch }) => [promise.epoch, lastEpoch]))
  const isNewest = (config: VolumeConfig | undefined) => config !== undefined && config.epoch === newestEpoch
  const notes = used.map(notedConfig).filter(isNewest) as VolumeConfig[]
  const isCurrent = notes.length > 0 && newestEpoch >= evidence
  const members = new Map<NodeId, Member>()
  const hasCopy = (node: NodeId, copyId: string) => used.some((copy) => copy.node === node && copy.copyId === copyId)
  for (const { members: named } of notes) {
    for (const [node, member] of Object.entries(named)) {
      // Without a new epoch a member may have been removed, and another copy there added.
      if (!members.has(node) || hasCopy(node, member.copyId)) members.set(node, member)
    }
  }
  const isNamed = ({ node, copyId }: LocatedCopy) => members.get(node)?.copyId === copyId
  if (!isCurrent) {
    for (const copy of used) {
      if (!isNamed(copy)) members.set(copy.node, { copyId: copy.copyId, state: 'catching-up' })
    }
  }
  const inSet = new Set(isCurrent ? notes[0]!.inSync : members.keys())
  return { members, inSet, isCurrent, newest: notes[0], evidence }
}

/** Q2. */
function bestOf(used: readonly LocatedCopy[], { newest }: Members): LocatedCopy | undefined {
  const preference = ({ node, isWhole }: LocatedCopy) => (isWhole ? 2 : 0) + (node === newest?.primary ? 1 : 0)
  const [best] = used.filter(isReadable).sort((a, b) =>
    b.lastEpoch - a.lastEpoch || b.tail - a.tail || preference(b) - preference(a) || (a.node < b.node ? -1 : 1))
  return best
}

/** R2, and R4 without a best one. */
function doubtsOf(
  used: readonly LocatedCopy[], { members, inSet, newest }: Members, best: LocatedCopy | undefined,
  here: ReadonlySet<NodeId>,
): Array<{ why: string; isAbsent: boolean }> {
  const doubts: Array<{ why: string; isAbsent: boolean }> = []
  for (const node of [...inSet].sort()) {
    const { copyId } = members.get(node)!
    const copy = used.find((one) => one.node === node && one.copyId === copyId)
    if (copy === undefined && here.has(node)) {
      doubts.push({ why: `${node} does not have its copy any more: it may have been deleted`, isAbsent: true })
    }
  }
  for (const copy of used) {
    const { node, failure, lostSlices, lastEpoch } = copy
    if (isReadable(copy)) continue
    const isNewer = best !== undefined && lastEpoch > best.lastEpoch
    if (failure !== '') doubts.push({ why: `the copy on ${node} cannot be read: ${failure}`, isAbsent: false })
    else if (lostSlices > 0 && (inSet.has(node) || isNewer)) {
      doubts.push({ why: `${node} lost ${lostSlices} slice(s) of it with a disk that is not there`, isAbsent: false })
    } else if (isNewer) {
      doubts.push({ why: `${node} was being filled from a newer copy that is not here`, isAbsent: false })
    }
  }
  const { replicas } = used[0]!.spec
  if (newest === undefined && used.length < replicas + 1) {
    const why = `it was made with ${replicas + 1} copies, ${used.length} are here, and none notes where others are`
    doubts.push({ why, isAbsent: false })
  }
  return doubts
}

/** R1. */
function missingFrom(used: readonly LocatedCopy[], { members }: Members, here: ReadonlySet<NodeId>): NodeId[] {
  const highest = Math.max(...used.map(({ promise }) => promise.epoch))
  const leaders = used.filter(({ promise }) => promise.epoch === highest).map(({ promise }) => promise.primary)
  const named = new Set([...members.keys(), ...leaders])
  return [...named].filter((node) => node !== '' && !here.has(node)).sort()
}

const newestKeys = (specs: readonly VolumeSpec[]): VolumeSpec | undefined =>
  specs.filter(({ encryption }) => encryption !== undefined)
    .toSorted((a, b) => b.encryption!.keys.length - a.encryption!.keys.length)[0]

/** Q5. */
function recordOf(used: readonly LocatedCopy[], known: Members): { record: VolumeRecord; remarks: string[] } {
  const remarks: string[] = []
  const notes = used.filter(({ noted }) => noted?.record !== undefined)
  const newestEpoch = Math.max(0, ...notes.map(notedEpoch))
  const newest = notes.filter((copy) => notedEpoch(copy) === newestEpoch).map(({ noted }) => noted!.record!)
  const isPurging = ({ trash }: VolumeRecord) => trash?.isPurging === true
  // Its log says them; of copies that cannot be read only what was at some time is known.
  const { sizeBytes, durability } = (bestOf(used, known) ?? used[0]!).spec
  const purging = notes.map(({ noted }) => noted!.record!).find(isPurging)
  const record = purging ?? newest.find(({ trash }) => trash !== null) ?? newest[0]
  if (record === undefined) {
    const what = 'its copies have no note: what was changed since it was made is lost, also that it was in the trash'
    const spec = { ...used[0]!.spec, sizeBytes, durability }
    const policy = { minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'open', trash: null } as const
    return { record: { spec, ...policy }, remarks: [what] }
  }
  if (newestEpoch < known.evidence) remarks.push('its note is older than its newest epoch')
  // The age that it was counted by is lost: it gets its whole time again.
  const trash = record.trash === null ? null : { ...record.trash, deletedAtAgeMs: 0 }
  const spec = { ...record.spec, sizeBytes, durability }
  // Somebody may have written under the last key that any of them knows.
  const { encryption } = newestKeys(notes.map(({ noted }) => noted!.record!.spec)) ?? {}
  if (encryption !== undefined) spec.encryption = encryption
  return { record: { ...record, spec, trash }, remarks }
}

/** Q2 to Q4. */
function configOf(
  volumeId: string, used: readonly LocatedCopy[], { members: known, newest, evidence }: Members, best: LocatedCopy,
  record: VolumeRecord, here: ReadonlySet<NodeId>, nonce: string,
): VolumeConfig {
  const isAsBest = (copy: LocatedCopy) =>
    isReadable(copy) && copy.lastEpoch === best.lastEpoch && copy.tail === best.tail
  const inSync: NodeId[] = []
  const members: Record<NodeId, Member> = {}
  const named = new Map(known).set(best.node, { copyId: best.copyId, state: 'in-sync' })
  for (const [node, { copyId, state }] of [...named].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const copy = used.find((one) => one.node === node && one.copyId === copyId)
    if (copy !== undefined && isAsBest(copy)) {
      inSync.push(node)
      members[node] = { copyId, state: 'in-sync' }
    } else if (copy !== undefined) {
      members[node] = { copyId, state: state === 'in-sync' ? 'catching-up' : state }
    } else if (!here.has(node)) members[node] = { copyId, state: 'needs-full' }
  }
  const minInSync = Math.min(newest?.minInSync ?? wishedMinInSync(record), inSync.length)
  const epoch = evidence + REBUILT_EPOCH_STEP
  const attach = attachOf(used, newest, record, here)
  const config = { volumeId, epoch, primary: best.node, inSync, members, minInSync, attach, nonce }
  assertConfig(config)
  return config
}

function attachOf(
  used: readonly LocatedCopy[], newest: VolumeConfig | undefined, record: VolumeRecord, here: ReadonlySet<NodeId>,
): Attach {
  const given = used.flatMap((copy) => [copy.generation, notedConfig(copy)?.attach.generation ?? 0])
  let generation = Math.max(...given) + REBUILT_GENERATION_STEP
  const holders: Record<NodeId, number> = {}
  for (const node of Object.keys(newest?.attach.holders ?? {}).sort()) {
    if (here.has(node)) holders[node] = ++generation
  }
  // Held by nobody any more it rests, as the record says.
  const isHeld = Object.keys(holders).length > 0
  const mode = newest !== undefined && (isHeld || newest.attach.mode === 'open') ? newest.attach.mode
    : restingMode(record.attachMode)
  return { generation, mode, holders }
}
