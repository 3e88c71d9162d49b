/**
 * Group snapshots, where a cluster of the simulator has several volumes: now and then all of them are held, and when
 * all are, a snapshot of each is taken, as the control plane does it. Orders and answers take their time, come twice
 * and late, and go to whoever leads then. What was taken of all is checked at once, and deleted.
 */
import type { CommandResult, OperatorCommand } from '../../../engine/replication/copy-port.ts'
import type { RecordId } from '../../../engine/replication/record-id.ts'
import { SNAPSHOT_USE_MS } from '../../../engine/replication/snapshot-uses.ts'
import { Random } from '../random.ts'
import { checkGroup } from './checker/group-order.ts'
import type { World } from './world.ts'

/** Of a run. */
const ATTEMPTS = 40
const REPEATED = 0.25
/** Of one snapshot, at the most. */
const DELETIONS = 8
const DELETION_AGAIN_MS = SNAPSHOT_USE_MS / 4
/** So long a deletion is tried again, where whoever leads does not delete yet. */
export const DELETING_MS = DELETIONS * DELETION_AGAIN_MS

interface Held {
  world: World
  expected: RecordId
}

export class GroupTaker {
  /** That were of all volumes, and checked. */
  taken = 0
  private readonly first: World
  private readonly random: Random
  private readonly everyMs: number
  private attempts = 0
  /** Of the way of an order or an answer, in that of a message between copies. */
  private spread = 1
  /** Orders and answers on their way, and deletions that are tried again. */
  private underWay = 0

  constructor(first: World) {
    this.first = first
    this.random = new Random(`groups ${first.swarm.seed}`)
    this.everyMs = first.swarm.faultsUntilMs / ATTEMPTS
  }

  /** Something may still be ordered. */
  get isBusy(): boolean {
    return this.underWay > 0
  }

  begin(): void {
    this.first.clock.after(this.random.float() * 2 * this.everyMs, () => {
      if (this.first.isHealed) return
      this.attempt(`g${++this.attempts}`)
      this.begin()
    })
  }

  private attempt(id: string): void {
    const worlds = this.first.worlds.filter(({ isDeleted }) => !isDeleted)
    const judged: Held[] = []
    for (const world of worlds) {
      const expected = led(world)?.changed
      if (expected !== undefined) judged.push({ world, expected })
    }
    if (judged.length < 2 || judged.length < worlds.length) return
    const { network, disk } = this.first.swarm
    this.spread = this.random.pick([1, 4, 16])
    const holdMs = this.random.pick([2, 8, 30]) * this.spread * (network.delayMs[1] + disk.syncMs[1])
    this.first.trace.note('operator', 'group', 0, 0, id)
    const hold = ({ expected }: Held): OperatorCommand => ({ type: 'hold', hold: id, holdMs, expected })
    this.all(judged, hold, (held) => {
      if (held.includes(undefined)) return this.release(judged, id)
      const change = { operation: 'snapshot', id } as const
      this.all(judged, ({ expected }) => ({ type: 'change', change, expected, hold: id }), (seqs) => {
        this.check(id, judged, seqs)
        this.release(judged, id)
      })
    })
  }

  /** @param done  seqs of the answers; undefined: it was refused. Never, when one does not answer */
  private all(
    held: readonly Held[], command: (one: Held) => OperatorCommand, done: (seqs: Array<number | undefined>) => void,
  ): void {
    const seqs = new Map<World, number | undefined>()
    for (const one of held) {
      const ended = (result: CommandResult) => {
        if (seqs.has(one.world)) return
        seqs.set(one.world, result.ok ? result.seq : undefined)
        if (seqs.size === held.length) done([...held].map(({ world }) => seqs.get(world)))
      }
      this.send(one.world, command(one), (result) => this.later(() => ended(result)))
      if (this.random.chance(REPEATED)) this.later(() => this.send(one.world, command(one)), 30 * this.spread)
    }
  }

  private send(world: World, command: OperatorCommand, ended?: (result: CommandResult) => void): void {
    this.later(() => {
      if (!world.isDeleted) world.operator.command(command, ended)
    })
  }

  private later(then: () => void, factor = this.spread): void {
    const [least, most] = this.first.swarm.network.delayMs
    this.after(least + this.random.float() * (most - least) * factor, then)
  }

  private after(delayMs: number, then: () => void): void {
    this.underWay++
    this.first.clock.after(delayMs, () => {
      this.underWay--
      then()
    })
  }

  private release(held: readonly Held[], hold: string): void {
    for (const { world } of held) {
      this.send(world, { type: 'release', hold })
      this.drop(world, hold)
    }
  }

  /** Who has just begun to lead deletes none of before; nothing of a group is to fill the disks. */
  private drop(world: World, id: string, tries = DELETIONS): void {
    this.send(world, { type: 'change', change: { operation: 'snapshot-delete', id } }, ({ ok }) => {
      if (!ok && tries > 1) this.after(DELETION_AGAIN_MS, () => this.drop(world, id, tries - 1))
    })
  }

  private check(id: string, held: readonly Held[], seqs: ReadonlyArray<number | undefined>): void {
    const members = held.map(({ world: { volumeId: volume, judge } }, i) => {
      return { volume, seq: seqs[i] ?? 0, operations: judge.operations, log: judge.committed.log }
    })
    // A forced promotion, or the loss of power of a whole set, may have cut one of them since.
    const isThere = members.every(({ seq, log }) => {
      const change = log[seq - 1]?.change
      return change?.operation === 'snapshot' && change.id === id
    })
    if (!isThere) return
    this.taken++
    this.first.judge.report(checkGroup(id, members))
  }
}

function led(world: World) {
  const copy = world.nodes.get(world.store.current.config.primary)?.process?.copy
  return copy?.role === 'primary' ? copy.primary : undefined
}
