/**
 * One seed of the control plane's simulation, from its number to its verdict: trouble, then peace, and in the end every
 * volume is as it was wished, and nothing moves any more.
 */
import type { NodeWish } from '../../../engine/control/node-status.ts'
import type { RebuildTable } from '../../../engine/control/rebuild-table.ts'
import { wishedMinInSync } from '../../../engine/control/volume-record.ts'
import type { Move, VolumeRecord } from '../../../engine/control/volume-record.ts'
import { GIB } from '../../../engine/units.ts'
import { Random } from '../../sim/random.ts'
import type { ToyNode } from './toy-node.ts'
import { drawToySwarm } from './swarm.ts'
import type { ToySwarm } from './swarm.ts'
import { ToyWorld } from './toy-world.ts'
import { Trouble } from './trouble.ts'

const PEACE_SECONDS_MOST = 4000
const QUIET_SECONDS = 75

export interface WorldResult {
  seed: number
  swarm: ToySwarm
  violations: string[]
  /** Virtual seconds. */
  seconds: number
  /** After the trouble, until nothing moved any more. */
  peaceSeconds: number
  actions: Record<string, number>
  /** Of the actions and what was in the store: the same for the same seed. */
  digest: string
}

/** @param told  gets a line for each action that concerns the volume */
export function runWorld(seed: number, told?: { volumeId: string; print: (line: string) => void }): WorldResult {
  const random = new Random(`control ${seed}`)
  const swarm = drawToySwarm(seed, random.fork('swarm'))
  const world = new ToyWorld(swarm, random.fork('world'))
  world.onAction = (controller, action) => {
    const text = JSON.stringify(action)
    if (told === undefined || !text.includes(told.volumeId)) return
    const verdict = JSON.stringify(controller.cluster.volumes.get(told.volumeId)?.verdict)
    told.print(`${world.nowMs / 1000} s ${controller.name} ${text} ${verdict}`)
  }
  const trouble = new Trouble(world, random.fork('trouble'))
  const { checks } = world
  for (let second = 0; second < swarm.troubleSeconds && checks.violations.length === 0; second++) {
    trouble.step()
    world.step()
  }
  trouble.heal()
  let quiet = 0
  let peaceSeconds = 0
  let before = countActions(world)
  let unfinished: string[] = []
  while (peaceSeconds < PEACE_SECONDS_MOST && quiet < QUIET_SECONDS && checks.violations.length === 0) {
    world.step()
    peaceSeconds++
    const now = countActions(world)
    quiet = now === before ? quiet + 1 : 0
    before = now
    if (quiet === QUIET_SECONDS) unfinished = whatIsUnfinished(world)
    // What only waits for the trash moves on later.
    if (quiet === QUIET_SECONDS && hasTrash(world)) quiet = 0
  }
  if (checks.violations.length === 0) {
    if (quiet < QUIET_SECONDS) {
      const what = whatIsUnfinished(world).slice(0, 3).join('; ')
      checks.violated(`no peace ${PEACE_SECONDS_MOST} s after the trouble: ${what}`)
    } else for (const what of unfinished) checks.violated(what)
  }
  const configs = world.store.keys('configs/').map((key) => JSON.stringify(world.store.get(key)))
  const actions = Object.fromEntries([...world.actionCounts].sort())
  return {
    seed,
    swarm,
    violations: checks.violations,
    seconds: world.nowMs / 1000,
    peaceSeconds,
    actions,
    digest: `${new Random(configs.join()).u32().toString(16)} ${JSON.stringify(actions)}`,
  }
}

/** But for the clock. */
function countActions({ actionCounts }: ToyWorld): number {
  let count = 0
  for (const [type, each] of actionCounts) if (type !== 'change-age') count += each
  return count
}

const hasTrash = ({ store }: ToyWorld): boolean =>
  store.keys('volumes/').some((key) => {
    const { trash, spec } = store.get<VolumeRecord>(key)!
    const holders = store.get<{ attach: { holders: object } }>(`configs/${spec.id}`)?.attach.holders ?? {}
    return trash !== null && Object.keys(holders).length === 0
  })

/** Where no hydration waits for room. */
const hasRoom = ({ disks, copies }: ToyNode): boolean => {
  const capacityBytes = disks.reduce((sum, disk) => sum + disk.capacityBytes, 0)
  return [...copies.values()].reduce((sum, { usedBytes }) => sum + usedBytes, 0) < capacityBytes * 0.5
}

/** O3, O4: what should have ended by now. */
function whatSharesStill({ store, nodes, volumes, control }: ToyWorld, record: VolumeRecord): string[] {
  const { spec: { id }, origin, hydration, trash } = record
  if (origin === undefined || trash !== null) return []
  const found = hydration === undefined ? [] : [`${id} is still to be hydrated (${hydration})`]
  const members = Object.keys(volumes.get(id)!.config?.members ?? {}).map((name) => nodes.get(name)!)
  const sharing = members.filter((node) => node.copies.get(id)?.below !== undefined && hasRoom(node))
  const isOriginGone = store.get(`volumes/${origin.volumeId}`) === undefined
  if (isOriginGone && sharing.length > 0 && sharing.every((node) => node.isLastReader(node.copies.get(id)!)))
    found.push(`${id} alone reads what is left of ${origin.volumeId}`)
  for (const node of sharing) {
    const levels = node.levelsOf(id)
    if (levels >= control.hydrateLevels) found.push(`${id} reads ${levels} levels on ${node.name}`)
  }
  return found
}

/** U2: who uses it where a copy could well be. */
function userWithoutCopy({ store, nodes, volumes }: ToyWorld, record: VolumeRecord): string | undefined {
  const { spec, dataLocality, moved, trash } = record
  const config = volumes.get(spec.id)!.config!
  const [user] = Object.keys(config.attach.holders)
  if (user === undefined || dataLocality === undefined || trash !== null || moved?.from === user) return undefined
  const isMoving = store.entries.has(`moves/${spec.id}`)
  if (config.members[user] !== undefined || isMoving || isFull(nodes.get(user)!, spec)) return undefined
  return store.get<NodeWish>(`node-wishes/${user}`)!.isDraining ? undefined : user
}

/** Or near to it, of the disks that it could lie on. */
function isFull({ disks, copies }: ToyNode, spec: VolumeRecord['spec']): boolean {
  const fit = disks.filter(({ tags }) => spec.diskTags.every((tag) => tags.includes(tag)))
  const capacityBytes = fit.reduce((sum, disk) => sum + disk.capacityBytes, 0)
  return copies.size * 8 * GIB + spec.sizeBytes * 4 >= capacityBytes
}

/** All that is not as it was wished, though it could be. */
function whatIsUnfinished(world: ToyWorld): string[] {
  const { store, nodes, volumes, controllers } = world
  const found: string[] = []
  const isOpen = (name: string) => !store.get<NodeWish>(`node-wishes/${name}`)!.isDraining
  for (const volume of volumes.values()) {
    const record = store.get<VolumeRecord>(`volumes/${volume.id}`)!
    const { id, config } = volume
    const { spec } = record
    const fit = [...nodes.values()].filter(
      ({ name, disks }) => isOpen(name) && disks.some(({ tags }) => spec.diskTags.every((tag) => tags.includes(tag))),
    )
    if (config === undefined) {
      const origin = record.origin && store.get<VolumeRecord>(`volumes/${record.origin.volumeId}`)
      const isSourceGone = record.origin !== undefined && (origin === undefined || origin.trash !== null)
      const isPossible = !isSourceGone && (fit.length > spec.replicas || (record.allowDegraded && fit.length > 0))
      if (isPossible && record.trash === null) found.push(`${id} is not made`)
      continue
    }
    if (config.inSync.every((node) => volume.copyOf(config, node) === undefined)) continue
    const fitMembers = Object.keys(config.members).filter((node) => fit.some(({ name }) => name === node)).length
    const wanted = Math.min(spec.replicas + 1, Math.max(fit.length, fitMembers))
    const verdict = controllers[0]!.cluster.volumes.get(id)?.verdict
    const complete = config.inSync.filter((node) => volume.isComplete(volume.copyOf(config, node)))
    // A set that may not lose the member that is lost for good, and no other node: that is the operator's to decide.
    const isLost = config.inSync.some((node) => volume.copyOf(config, node) === undefined)
    const isStuck = isLost && config.inSync.length <= config.minInSync && fit.every(({ name }) => config.members[name])
    if (isStuck) continue
    if (complete.length < wanted) {
      found.push(`${id} has ${complete.length} of ${wanted} copies: ${verdict?.healthReason} (${verdict?.next})`)
    } else if (wanted === spec.replicas + 1) {
      const members = Object.keys(config.members)
      if (verdict?.health !== 'healthy') found.push(`${id} is ${verdict?.health}: ${verdict?.healthReason}`)
      if (members.length > wanted) found.push(`${id} has too many members: ${members.join(', ')}`)
      const leaving = members.filter((node) => !isOpen(node))
      if (leaving.length > 0) found.push(`${id} is still on ${leaving.join(', ')}`)
      const wished = wishedMinInSync(record)
      // Of a move that cannot end the copy that should go does not count.
      const move = store.get<Move>(`moves/${id}`)
      const isMoving = move?.what === 'copy' && move.from !== '' && config.members[move.to] !== undefined
      if (config.minInSync !== wished && !isMoving) found.push(`${id}: minInSync is ${config.minInSync}, not ${wished}`)
    }
    found.push(...whatSharesStill(world, record))
    const near = complete.length >= wanted ? userWithoutCopy(world, record) : undefined
    if (near !== undefined) found.push(`${id} is used on ${near}, and has no copy there (${verdict?.next})`)
    for (const node of nodes.values()) {
      const copy = node.copies.get(id)
      const isMember = copy?.copyId === config.members[node.name]?.copyId
      if (copy !== undefined && !isMember) found.push(`${id}: an orphan on ${node.name}`)
    }
  }
  for (const key of store.keys('moves/')) {
    const { what, to } = store.get<Move>(key)!
    const volume = volumes.get(key.slice('moves/'.length))
    const tags = volume === undefined ? [] : store.get<VolumeRecord>(`volumes/${volume.id}`)?.spec.diskTags ?? []
    const members = volume?.config?.members ?? {}
    // To lead one has to be a member first; and who has a copy everywhere can give none away.
    const isRoom = [...nodes.values()].some(({ name, disks }) =>
      !members[name] && isOpen(name) && disks.some((disk) => tags.every((tag) => disk.tags.includes(tag))))
    const isPossible = what === 'copy' ? isRoom : members[to] !== undefined
    if (volume?.config !== undefined && isPossible) found.push(`${volume.id} was not moved to ${to}`)
  }
  for (const node of nodes.values()) {
    for (const copy of node.copies.values()) {
      const clones = node.readersOf(copy).length
      const isInUse = store.get<VolumeRecord>(`volumes/${copy.volumeId}`)?.trash === null
      if (isInUse && clones >= world.control.hydrateReaders && hasRoom(node))
        found.push(`${clones} clones share with ${copy.volumeId} on ${node.name}`)
    }
  }
  const table = store.get<RebuildTable>('rebuilds')!
  if (table.length > 0) found.push(`rebuilds are left: ${JSON.stringify(table[0])}`)
  return found
}
