/**
 * A copy that is filled (SPEC.md section 5): it begins with a local record that says so, durable on all disks; what the
 * copy had above the fork is void, slices of another history are wiped, and then versions come in any order.
 */
import { assert } from '../assert.ts'
import { fillVersions } from '../log/fill-version.ts'
import { BORN_FIRST, RECORD_KIND, recordPayloadUnits } from '../log/record.ts'
import type { CopyFacts } from '../replication/copy-store.ts'
import type { EpochHistory } from '../replication/record-id.ts'
import type { BlockVersion } from '../replication/record.ts'
import { runTask, until, type Task } from '../task.ts'
import type { Target } from './block-reader.ts'
import type { HeldAppend } from './copy-appends.ts'
import { mutable, originWithout } from './copy-bodies.ts'
import { fillRecords, wipeSlices } from './copy-fill.ts'
import type { CopyDescriptor, CopyPart } from './copy-part.ts'
import { release, type Accepted, type Place } from './copy-queue.ts'
import type { LocalCopyStore, ReplicatedDescriptor } from './copy-store.ts'
import { shownBytes } from './descriptor.ts'

export interface FillStart {
  fork: number
  target: number
  wipe: number[]
  descriptor: unknown
  facts: Partial<CopyFacts>
  windows?: unknown
  /** It is another copy from then on, or none (`LocalCopyStore.renew`). */
  identity?: CopyIdentity
}

export interface CopyIdentity {
  copyId: string
  isRemoved: boolean
}

export class CopyFilling {
  /** A filling begins, or slices are wiped: nothing is applied. */
  isSettling = false
  private readonly copy: LocalCopyStore
  private starts: Array<() => Task<boolean>> = []
  private drainWaiter: (() => void) | undefined
  /** FILL records that are on their way to a disk, or not in the map yet. */
  private underWay = 0
  private fills = 0
  /** Those and what is held of the present filling; and who waits for the end of all. */
  private outstanding = 0
  private filledWaiters: Array<() => void> = []
  /** Run when a filling begins, or the copy fails: what is inserted now may never be. */
  private breakWaiters: Array<() => void> = []

  constructor(copy: LocalCopyStore) {
    this.copy = copy
  }

  /** @param kept  when it is durable on all disks, and what is to be wiped is gone */
  start(start: FillStart, kept: () => void): void {
    const { appends, bodies, queue } = this.copy
    const { fork, target } = start
    queue.drops++
    queue.forgetAbove(Math.max(fork, queue.baseSeq))
    const { epochs, spec } = start.descriptor as ReplicatedDescriptor
    const adopted = epochs.filter(([, firstSeq]) => firstSeq <= target)
    bodies.fillsPending++
    // What is left is committed: it is applied before its slices count as whole up to the fork.
    const rest = queue.restartAt(target, adopted, spec.durability === 'durable')
    const restHeld = appends.takeHeld()
    this.outstanding = 0
    this.filledWaiters = []
    this.breakOff()
    this.fills++
    appends.barrier++
    const givenAt = bodies.nextGift()
    this.starts.push(() => this.startTask(start, kept, givenAt, adopted, rest, restHeld))
    if (this.isSettling) return
    this.isSettling = true
    runTask(this.startsTask(), (ok) => {
      if (!ok) return this.copy.fail('filling cannot begin')
      this.isSettling = false
      if (queue.storedSeq > queue.baseSeq) queue.sayStored()
      queue.runApply()
    })
  }

  /** One after the other: the next may be asked for before the slices of the former are wiped. */
  private *startsTask(): Task<boolean> {
    for (;;) {
      const next = this.starts.shift()
      if (next === undefined) return true
      if (!(yield* next())) return false
    }
  }

  private *startTask(
    start: FillStart,
    kept: () => void,
    givenAt: number,
    adopted: EpochHistory,
    rest: Accepted[],
    restHeld: HeldAppend[],
  ): Task<boolean> {
    const { appends, bodies, layout, queue, targets } = this.copy
    for (const held of restHeld) held.run()
    if (start.wipe.length > 0 && bodies.pins.length > 0) yield* this.copy.o.freeSlices(this.copy, start.wipe)
    yield* until<void>((resume) => {
      const look = (): void => {
        if (this.underWay > 0 || rest.some((accepted) => accepted.left > 0)) return
        this.drainWaiter = undefined
        resume()
      }
      this.drainWaiter = look
      look()
    })
    // What it says is applied has to be durable on all disks before it is on one.
    const isSynced = bodies.mayClaim && (targets.length === 1 || rest.every(({ isDurable }) => isDurable))
    if (!isSynced && !(yield* until<boolean>((resume) => bodies.syncAll(resume)))) return false
    const { spec, snapshots, rollbacks, deleted, forgottenSeq } = start.descriptor as ReplicatedDescriptor
    // What was noted of another copy is not of this one.
    if (start.identity !== undefined && start.identity.copyId !== bodies.now.copy.copyId) bodies.noted = undefined
    const copy = bodies.local(withIdentity(bodies.now.copy, start.identity))
    const fillBorn: Record<string, number> = {}
    for (const { stream } of targets) fillBorn[stream.context.diskUuid] = stream.log.nextBatch
    const { facts, firstFillBorn } = bodies.now.copy
    const isFirst = facts.consistency.state === 'consistent'
    bodies.give(start.facts, givenAt)
    const keptFacts = bodies.facts
    const generation = bodies.wipedGeneration()
    const hadOrigin = bodies.now.origin !== null
    // What comes has what was shared in it.
    bodies.origin = originWithout(bodies.origin, new Set(start.wipe))
    const sizeBytes = shownBytes({ spec, snapshots })
    const renewed = layout.renewed(new Set(start.wipe), generation, sizeBytes)
    const next: CopyDescriptor = {
      ...bodies.now,
      spec,
      snapshots,
      rollbacks,
      deleted,
      epochs: mutable(adopted),
      slices: layout.placed(renewed, sizeBytes, generation),
      origin: bodies.origin,
      copy: {
        ...copy,
        facts: bodies.facts,
        appliedSeq: start.target,
        forgottenSeq: Math.max(copy.forgottenSeq, forgottenSeq),
        windows: start.windows ?? queue.windows,
        fills: copy.fills + 1,
        durable: bodies.durableBatches(),
        fork: start.fork,
        fillBorn,
        firstFillBorn: isFirst ? fillBorn : (firstFillBorn ?? {}),
      },
    }
    const isKept = yield* until<boolean>((resume) => {
      bodies.loggedEpochs = adopted
      bodies.writeFilling(next, (ok) => {
        // In force in the turn in which it is durable, so that no checkpoint passes it before.
        if (ok) this.begun(start, { ...next, copy: { ...next.copy, facts: keptFacts } }, rest)
        // A body of before that was written meanwhile is the newest one, and the cleaner keeps no other.
        if (ok && bodies.revision !== revision) bodies.writeLocal(bodies.body(), () => {})
        resume(ok)
      })
      const { revision } = bodies
      // From here on records go into the log again, behind it.
      layout.set(next.slices)
      appends.barrier--
      appends.retryHeld()
    })
    if (isKept && hadOrigin) this.copy.o.onUnshared(this.copy)
    const isWiped = isKept && (yield* this.wipeTask())
    if (isWiped) kept()
    return isWiped
  }

  private begun(start: FillStart, next: CopyDescriptor, rest: Accepted[]): void {
    const { bodies, layout, queue, targets } = this.copy
    const { forgottenSeq } = start.descriptor as ReplicatedDescriptor
    // Not before: a crash until here leaves the copy as it was, and these would be in its map and not in its log.
    const changed: Place[] = []
    for (const accepted of rest) queue.applyOne(accepted, changed)
    queue.appliedSeq = start.target
    queue.windows = start.windows ?? queue.windows
    for (const { map } of targets) {
      const wiping = map.copy!.wiping
      for (const slice of start.wipe) if (!wiping.includes(slice)) wiping.push(slice)
      // What the source forgot nobody can learn from this copy either.
      map.copy!.forgot(forgottenSeq)
      // No body of this filling names more, whatever former ones did.
      map.copy!.hintSeq = start.target
    }
    if (--bodies.fillsPending === 0) queue.releaseDropped()
    bodies.list.begin()
    bodies.install({ ...next, slices: layout.slices })
    bodies.claim()
    queue.noteApplied(queue.appliedSeq, queue.windows)
    for (const place of changed) release(place)
  }

  /** Empty slices whose old versions are not this copy's any more; then a checkpoint, so that it is never repeated. */
  *wipeTask(): Task<boolean> {
    for (const target of this.copy.targets) {
      const { stream, map } = target
      if (this.copy.failedReason !== '') return false
      const changed = this.copy.changes()
      const isWiped = yield* wipeSlices(target, map.copy!.wiping)
      if (isWiped) {
        map.copy!.wiping = []
        map.changed = true
      }
      changed()
      if (!isWiped) return false
      if (!(yield* until<boolean>((resume) => stream.makeCheckpoint(resume)))) return false
    }
    return true
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    this.insert(versions, () => {
      this.copy.onFilled(versions)
      this.copy.onEvent({ type: 'kept', token })
    })
  }

  /** @param inserted  when all of them are durable and in the map; never, when `whenBroken` runs before */
  insert(versions: readonly BlockVersion[], inserted: () => void): void {
    const { appends, layout, targets, id, reading, o } = this.copy
    let left = 1
    const ended = (): void => {
      if (--left === 0) inserted()
    }
    const blocksMost = Math.min(...targets.map(({ stream }) => stream.log.recordBlocksMax))
    for (const { record, payload } of fillRecords(id, reading.tag, versions, blocksMost)) {
      const target = layout.target(record.lba)
      assert(target !== undefined, 'a slice that is filled has a disk')
      record.sliceGeneration = layout.generation(record.lba)
      if (record.kind === RECORD_KIND.write) record.bornBatch = this.dataBorn(target)
      left++
      const { fills } = this
      this.outstanding++
      const payloadUnits = recordPayloadUnits(record)
      const run = (): void => {
        this.underWay++
        appends.append(target, { record, payload, payloadUnits, durable: true }, (append) => {
          const changed = this.copy.changes()
          runTask(fillVersions(target.stream, target.map, record, append), (ok) => {
            changed()
            this.underWay--
            if (!ok) return this.copy.fail('the index cannot be read')
            target.stream.applied(append.batch!)
            if (fills === this.fills) this.filled()
            ended()
            this.lookDrained()
          })
        })
      }
      appends.hold({ accepted: undefined, request: undefined, targets: [target], blocks: payload.length, run })
    }
    o.clock.defer(ended)
    o.onWork(undefined)
  }

  /**
   * Zeroes and trims that kill what comes now may be older than it is: those that came behind the target, also of
   * earlier fillings that did not end. They themselves are born in their own batch: older data that a filling brought
   * may have been moved before they come.
   */
  private dataBorn({ stream }: Target): number {
    return this.copy.bodies.now.copy.firstFillBorn?.[stream.context.diskUuid] ?? BORN_FIRST
  }

  private filled(): void {
    if (--this.outstanding === 0) for (const run of this.filledWaiters.splice(0)) run()
  }

  /**
   * Run when every version that was given so far is durable and in the map: held ones are not even in a log, and those
   * of another disk become durable by themselves. Never, when another filling begins before.
   */
  whenFilled(run: () => void): void {
    if (this.outstanding === 0) run()
    else this.filledWaiters.push(run)
  }

  /** Run once, when a filling begins or the copy fails. @returns what takes that back */
  whenBroken(run: () => void): () => void {
    this.breakWaiters.push(run)
    return () => {
      this.breakWaiters = this.breakWaiters.filter((one) => one !== run)
    }
  }

  /** Whoever waits for what was inserted waits no longer. */
  breakOff(): void {
    for (const run of this.breakWaiters.splice(0)) run()
  }

  /** Something that a beginning waits for may have ended. */
  lookDrained(): void {
    if (this.drainWaiter !== undefined) this.drainWaiter()
  }
}

function withIdentity(copy: CopyPart, identity: CopyIdentity | undefined): CopyPart {
  if (identity === undefined) return copy
  const { isRemoved: _, baseSeq: __, ...rest } = { ...copy, copyId: identity.copyId }
  return identity.isRemoved ? { ...rest, isRemoved: true } : rest
}
