/**
 * Clones that get blocks of their own (SPEC.md section 14): what is ordered for a wish that is in the record, when it
 * is over, and for which clones the control plane has such a wish itself.
 */
import { someOf } from './amounts.ts'
import type { Action } from './actions.ts'
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { isBeingFilled } from './copy-facts.ts'
import type { CopyFact } from './copy-facts.ts'
import { spaceFor, roomBytes } from './disk-class.ts'
import type { Health } from './health.ts'
import type { CopyStatus, SharingStatus } from './node-status.ts'
import { hydrated, notHydrated } from './volume-record.ts'
import type { HydrationWhy } from './volume-record.ts'

/** A clone that the control plane would hydrate. */
export interface HydrationNeed {
  clone: VolumeView
  why: HydrationWhy
}

export interface HydrationStep {
  actions: Action[]
  need: HydrationNeed | undefined
  next: string
}

/** Undefined: nothing is wished or to be wished for, now. @param facts  of its configuration */
export function hydrationStep(
  cluster: Cluster, volume: VolumeView, facts: readonly CopyFact[], { health }: Health,
): HydrationStep | undefined {
  const { record } = volume
  if (record === undefined || record.trash !== null) return undefined
  if (record.hydration !== undefined) return wishedStep(cluster, volume, facts)
  const why = whyItself(cluster, volume)
  const clone = why === undefined ? cloneInTheWay(cluster, volume) : volume
  if (clone === undefined) return undefined
  const isBusy = health === 'suspended' || health === 'faulted' || facts.some(isBeingFilled)
  return { actions: [], need: isBusy ? undefined : { clone, why: why ?? 'clones' }, next: '' }
}

const WAITS_FOR_LOST =
  'block(s) are lost on every copy, and a slice that has one is shared until it came back, or was written over or ' +
  'trimmed and no snapshot of the clone shows it: restore those files, and delete such snapshots'

/** O2, O3. */
function wishedStep(cluster: Cluster, volume: VolumeView, facts: readonly CopyFact[]): HydrationStep {
  const { id: volumeId, record, recordVersion: version } = volume
  const actions: Action[] = []
  const away: string[] = []
  const sharing: string[] = []
  let left = 0
  let lost = 0
  for (const fact of facts) {
    const share = shareOf(cluster, volume, fact)
    if (share === undefined) away.push(fact.node)
    if (share === undefined || share.sharedSlices === 0) continue
    left += share.sharedSlices
    lost = Math.max(lost, share.lostBlocks)
    sharing.push(fact.node)
    const isThere = fact.status !== undefined && fact.status.failure === ''
    if (!isThere || share.isHydrating) continue
    actions.push({ type: 'hydrate-copy', volumeId, node: fact.node, why: 'it is to share nothing' })
  }
  if (sharing.length > 0) {
    const why = lost === 0 ? '' : `. ${lost} ${WAITS_FOR_LOST}`
    const next = `${someOf(sharing)} get blocks of their own: ${left} slice(s) of 1 GiB are left${why}`
    return { actions, need: undefined, next }
  }
  if (away.length > 0) return { actions, need: undefined, next: `${someOf(away)} may share blocks, and is waited for` }
  const why = 'no copy shares anything any more'
  actions.push({ type: 'change-volume', volumeId, version, record: notHydrated(record!), why })
  return { actions, need: undefined, next: why }
}

/**
 * What a member said last of its copy, however long ago: it shares no more than that. Undefined: it never did. That it
 * has no such copy may be older than the copy.
 */
function shareOf(cluster: Cluster, { id }: VolumeView, { node, copyId }: CopyFact): CopyStatus | undefined {
  const said = cluster.nodes.get(node)?.copies.get(id)
  return said?.copyId === copyId ? said : undefined
}

/** O4, but for the sake of other clones. */
function whyItself(cluster: Cluster, volume: VolumeView): 'depth' | 'remains' | undefined {
  const { origin } = volume.record!
  if (origin === undefined) return undefined
  const sharing = copiesOf(cluster, volume).filter(({ sharedSlices }) => sharedSlices > 0)
  if (sharing.length === 0) return undefined
  const source = cluster.volumes.get(origin.volumeId)
  const isSourceThere = source?.record !== undefined && source.record.trash === null
  if (isDeep(cluster, sharing)) {
    const isBegunThere =
      isSourceThere && (source.record!.hydration !== undefined || isDeep(cluster, copiesOf(cluster, source)))
    return isBegunThere ? undefined : 'depth'
  }
  return source?.record === undefined && sharing.every(({ isLastReader }) => isLastReader) ? 'remains' : undefined
}

const isDeep = ({ options }: Cluster, copies: readonly SharingStatus[]): boolean =>
  copies.some(({ levels }) => levels >= options.hydrateLevels)

/** What nodes say of copies that are members. */
function copiesOf(cluster: Cluster, { id, config }: VolumeView): SharingStatus[] {
  const copies: SharingStatus[] = []
  for (const [node, { copyId }] of Object.entries(config?.members ?? {})) {
    const copy = cluster.nodes.get(node)?.copies.get(id)
    if (copy?.copyId === copyId) copies.push(copy)
  }
  return copies
}

/** O4: of an origin that has too many of them the one that takes the least; undefined: it has not, or one is on it. */
function cloneInTheWay(cluster: Cluster, origin: VolumeView): VolumeView | undefined {
  const { hydrateReaders } = cluster.options
  const crowded = [...origin.reportedOn].filter((node) =>
    cluster.nodes.get(node)!.copies.get(origin.id)!.readers >= hydrateReaders)
  if (crowded.length === 0) return undefined
  let [least, leastBytes]: [VolumeView | undefined, number] = [undefined, Infinity]
  for (const id of cluster.clonesOf.get(origin.id) ?? []) {
    const clone = cluster.volumes.get(id)!
    const { record } = clone
    if (record === undefined || record.trash !== null) continue
    const shares = crowded.map((node) => cluster.nodes.get(node)!.copies.get(id)).filter((copy) =>
      copy !== undefined && copy.sharedSlices > 0)
    if (shares.length === 0) continue
    if (record.hydration !== undefined || whyItself(cluster, clone) !== undefined) return undefined
    const bytes = Math.max(...shares.map((copy) => copy!.sharedBytes))
    if (bytes < leastBytes || (bytes === leastBytes && id < least!.id)) [least, leastBytes] = [clone, bytes]
  }
  return least
}

/** O5: what is begun now, of all that is to be. */
export function begunHydrations(cluster: Cluster, needs: readonly HydrationNeed[]): Action[] {
  const actions: Action[] = []
  const begun = [...cluster.hydrating].map((id) => cluster.volumes.get(id)!)
  let own = begun.filter(({ record }) => record!.hydration !== 'asked').length
  for (const { clone, why } of needs) {
    const { id: volumeId, record, recordVersion: version } = clone
    const wish = hydrated(record!, why)
    if (own >= cluster.options.hydrationsMax || wish === undefined || !hasRoom(cluster, clone, begun)) continue
    own++
    begun.push(clone)
    actions.push({ type: 'change-volume', volumeId, version, record: wish, why: WHY[why] })
  }
  return actions
}

const WHY: Record<HydrationWhy, string> = {
  asked: 'it is asked for',
  depth: 'it is a clone of a clone of a clone, and so on',
  clones: 'what it is a clone of has many',
  remains: 'it alone reads what is left of the volume that it is a clone of',
}

/** P1, of each node with a copy of it, besides what is copied there already. */
function hasRoom(cluster: Cluster, clone: VolumeView, begun: readonly VolumeView[]): boolean {
  const { lowSpaceShare } = cluster.options
  for (const name of clone.reportedOn) {
    const node = cluster.nodes.get(name)!
    const space = spaceFor(node.classes, clone.record!.spec)
    const needed = [clone, ...begun].reduce((sum, { id }) => sum + bytesOn(node, id), 0)
    if (bytesOn(node, clone.id) === 0) continue
    if (space === undefined || roomBytes(space) - needed < space.capacityBytes * lowSpaceShare) return false
  }
  return true
}

const bytesOn = ({ copies }: NodeView, id: string): number => copies.get(id)?.sharedBytes ?? 0
