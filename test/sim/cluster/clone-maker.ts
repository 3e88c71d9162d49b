/**
 * A clone of a volume of the simulated cluster, made as the control plane makes it (cluster/reconcile/CLONES.md
 * section 4), and what the checkers have to know of it:
 *
 *   snapshot, read from the primary -> nodes of the origin's set are told to make a copy -> each copy that is made is
 *   compared with what its origin showed -> they say so -> the configuration -> it is a volume like all others
 *
 * Orders and answers take their time, are lost, repeated and late; snapshot and origin may go meanwhile. Then nothing
 * comes of it when no copy was made. A copy that is made too late to be one of the first is erased.
 */
import type { OpenedSnapshot } from '../../../engine/replication/messages.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { Random } from '../random.ts'
import { replay, type Change } from './checker/history.ts'
import { cloneSwarm, ordersLate } from './clone-focus.ts'
import { beginUsers } from './course.ts'
import { heal } from './faults.ts'
import { initialAttach } from './first-config.ts'
import type { Born } from './judge.ts'
import { LogDisk } from './log-disk.ts'
import type { Swarm } from './swarm.ts'
import { VOLUMES } from './volume-focus.ts'
import { World } from './world.ts'

/** Looks at what is made until a clone begins with fewer copies than it is to have. */
const LOOKS_LEAST = 6
/** Looks in vain until nothing comes of it. */
const LOOKS_MOST = 40

export interface CloneCounts {
  made: number
  /** Whose origin is a clone. */
  ofClones: number
  /** Nothing came of them. */
  vain: number
  /** Copies that were compared with what their origin had shown. */
  images: number
}

export const noClones = (): CloneCounts => ({ made: 0, ofClones: 0, vain: 0, images: 0 })

/** Of a snapshot that there is, or of the volume as it is now: of one that is taken for it and deleted later (K3). */
export function beginClone(origin: World, random: Random): void {
  const { operator, first } = origin
  if (first.storeKind !== 'real' || first.cloneCounts.made + first.making.size >= first.swarm.clones) return
  if (operator.snapshots.length > 0 && random.chance(0.6)) return make(origin, random.pick(operator.snapshots), false)
  const id = operator.nextName('s')
  operator.command({ type: 'change', change: { operation: 'snapshot', id } }, ({ ok }) => {
    if (ok && !origin.isDeleted) make(origin, id, true)
  })
}

function make(origin: World, id: string, isOwn: boolean): void {
  const { first } = origin
  const { config } = origin.store.current
  const primary = origin.nodes.get(config.primary)
  const copy = primary?.openCopy
  const snapshot = copy?.role === 'primary' && copy.primary!.epoch === config.epoch
    ? primary!.disk.snapshot(id)
    : undefined
  if (snapshot === undefined || first.cloneCounts.made + first.making.size >= first.swarm.clones) return
  const { log } = origin.judge.committed
  if (log[snapshot.seq - 1]?.epoch !== snapshot.epoch) return
  const maker = new CloneMaker(origin, snapshot, config.epoch, isOwn)
  first.making.add(maker)
  maker.look()
}

export class CloneMaker {
  private readonly origin: World
  private readonly snapshot: OpenedSnapshot
  /** The set of the origin when it began. */
  private readonly known: Pick<VolumeConfig, 'inSync'>
  /** K1. */
  private readonly originEpoch: number
  /** The snapshot was taken for it. */
  private readonly isOwn: boolean
  readonly swarm: Swarm
  private readonly random: Random
  readonly name: string
  private readonly born: Born
  private readonly disks = new Map<string, LogDisk>()
  private readonly made = new Map<string, string>()
  private looks = 0

  constructor(origin: World, snapshot: OpenedSnapshot, originEpoch: number, isOwn: boolean) {
    const { first } = origin
    this.origin = origin
    this.snapshot = snapshot
    this.originEpoch = originEpoch
    this.known = origin.store.current.config
    this.isOwn = isOwn
    const number = first.clonesBegun++
    this.name = VOLUMES[first.swarm.volumes + (number % first.swarm.clones)]!
    this.random = new Random(`clone maker ${number} of ${first.swarm.seed}`)
    const { slices, blocksPerSlice, mode } = origin.swarm
    const drawn = cloneSwarm(first.swarm, number % first.swarm.clones)
    // Its users look where those of its origin do.
    this.swarm = { ...drawn, slices, blocksPerSlice, mode: this.random.chance(0.5) ? mode : drawn.mode }
    this.born = bornOf(origin, snapshot)
    const more = this.random.chance(0.25) ? 2 ** 30 : 0
    for (const [node, { disk }] of first.nodes) {
      const made = new LogDisk('', this.name, (disk as LogDisk).node, first.clock, this.swarm)
      made.resize(snapshot.sizeBytes + more)
      this.disks.set(node, made)
    }
  }

  /** Order, and see what came of it, again and again. */
  look(): void {
    const { origin, swarm, made } = this
    const { first } = origin
    if (first.hasFailed) return
    const { inSync } = ordersLate(first.swarm) ? this.known : origin.store.current.config
    const wanted = Math.min(swarm.copies, inSync.length)
    if (made.size >= wanted || (made.size > 0 && this.looks >= LOOKS_LEAST)) return this.begin()
    const isThere = [...this.disks.values()].some((disk) => disk.isThere)
    if (this.looks++ >= LOOKS_MOST && first.isHealed && !isThere) return this.giveUp()
    for (const name of inSync) if (!made.has(name)) this.order(name)
    first.clock.after(first.swarm.graceMs * (0.1 + 0.4 * this.random.float()), () => this.look())
  }

  private order(name: string): void {
    const { origin, snapshot, disks, made } = this
    const { first } = origin
    const { id: snapshotId, seq } = snapshot
    const copyId = `clone-${this.name}-${name}`
    const disk = disks.get(name)!
    first.network.send('operator', name, () => {
      const node = first.nodes.get(name)!
      // Late: the copy of the volume that it is now is another one's affair.
      if (node.process === undefined || node.isPaused || !first.making.has(this)) return
      const source = { volumeId: origin.nodes.get(name)!.disk.volumeId, snapshotId, seq }
      disk.cloneFrom(source, copyId, () => {
        if (!first.making.has(this)) return
        disk.image(seq, origin.codec, (image) => {
          if (!first.making.has(this)) return
          // Damaged: its users will have it repaired.
          if (image !== undefined) this.compare(name, image)
          first.network.send(name, 'operator', () => made.set(name, copyId))
        })
      })
    })
  }

  /** I21, CLONES.md B1: all that qualify show the same. */
  private compare(node: string, image: ReadonlyMap<number, number>): void {
    const { blocks } = this.born.base
    this.origin.first.cloneCounts.images++
    for (const lba of new Set([...blocks.keys(), ...image.keys()])) {
      const [want, have] = [blocks.get(lba)?.stamp ?? 0, image.get(lba) ?? 0]
      if (want === have) continue
      const what = `clone ${this.name} of ${this.origin.volumeId} at ${this.snapshot.seq} begins on ${node}`
      const message = `${what} with ${have} in block ${lba}, its origin showed ${want}`
      this.origin.first.judge.report([{ checker: 'clone-image', message }])
    }
  }

  private begin(): void {
    const { origin, swarm, random, made } = this
    const { first } = origin
    first.making.delete(this)
    first.cloneCounts.made++
    if (origin.origin !== undefined) first.cloneCounts.ofClones++
    const inSync = random.shuffle([...made.keys()])
    const config: VolumeConfig = {
      volumeId: this.name,
      epoch: this.originEpoch + 1,
      primary: inSync[0]!,
      inSync,
      members: Object.fromEntries([...made].map(([node, copyId]) => [node, { copyId, state: 'in-sync' }])),
      minInSync: Math.min(swarm.minInSync, made.size),
      attach: initialAttach(swarm),
      nonce: 'first',
    }
    const { disks, born, name: volumeId } = this
    const sizeBytes = [...disks.values()][0]!.sizeBytes
    const options = { keepsTrace: first.trace.keeps, disksLie: false, store: first.storeKind }
    const world = new World({ ...swarm, minInSync: config.minInSync }, first.wholePlan, options, first, {
      volumeId, config, disks, born, origin, sizeBytes,
    })
    first.worlds.push(world)
    first.trace.note('operator', 'clone', config.epoch, this.snapshot.seq, volumeId, () =>
      `${volumeId} of ${origin.volumeId} at ${this.snapshot.id}, copies ${inSync.join('+')}`)
    // What is damaged there is damaged for both.
    for (const node of inSync) for (const mark of origin.atlas.marksOf(node)) world.atlas.note(node, mark)
    for (const node of world.nodes.values()) node.join()
    world.checkAtlas()
    beginUsers(world)
    if (first.isHealed) heal(world)
    for (let lacking = swarm.copies - made.size; lacking > 0; lacking--) world.operator.addCopy(random)
    if (this.isOwn) origin.operator.dropSnapshot(this.snapshot.id)
  }

  private giveUp(): void {
    const { first } = this.origin
    first.making.delete(this)
    first.cloneCounts.vain++
  }
}

function bornOf({ judge }: World, { seq }: OpenedSnapshot): Born {
  const { log, base } = judge.committed
  const records = log.slice(0, seq)
  const shown = replay(records, base).state.blocks
  const blocks = new Map([...shown].map(([lba, { stamp, seq: of }]): [number, Change] =>
    [lba, { seq: of, stamp, kind: 'base' }]))
  return { base: { seq, blocks }, records, stamps: judge.stamps }
}
