/**
 * The control plane's hand on one node: reports what the node has to the elected controller, and carries out orders
 * after judging them by what it reads itself (engine/control/SPEC.md R3, E3).
 *
 *   turn: local status -> what changed since the last report that was taken -> controller
 *                                                                     not taken: whole, with the ticket of the answer
 *   order: as young as a report of ours? -> record and configuration, read linearizably -> local node -> report soon
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../../engine/control/volume-snapshots.ts'
import type { LocalNode } from '../local-node.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import { configKey, decodeConfig } from '../store/volume-configs.ts'
import { decodeVolume, volumeKey } from '../store/volume-records.ts'
import { commandOf } from './change-order.ts'
import type { Leader } from './election.ts'
import { whyNotErased } from './erase-rule.ts'
import type {
  ChangeAnswer, ChangeOrder, EraseCopyOrder, HandOverOrder, HoldOrder, MakeCopyOrder, NodeCalls, NodeDetails,
  RekeyOrder, RekeyReport, ReleaseOrder, ReportAnswer,
} from './node-calls.ts'
import { ReportedCopies } from './report-changes.ts'

/** An order that is older is not done; nor one whose judging took as long. */
const ORDER_AGE_MS = 10_000

export interface NodeAgentOptions {
  node: string
  instance: string
  store: ClusterStore
  local: LocalNode
  /** As the last status brought them. */
  details(): NodeDetails
  /** Calls of the controller that is elected, as far as this node knows. */
  controller(): { leader: Leader; calls: NodeCalls } | undefined
  nowMs(): number
  /** Something changed here: the controller should hear it soon. */
  onChanged(): void
  /** Of all heartbeats, as the elected one lists them: its digest. */
  onBeats(digest: string): void
}

type Refuse = (reason: string) => never

/** What the controller took last. */
interface Told {
  leader: string
  ticket: string
  copies: ReportedCopies
}

type Elsewhere = 'report' | 'awaitOffer' | 'clients' | 'scrub' | 'digest'

export class NodeAgent implements Omit<NodeCalls, Elsewhere> {
  private readonly options: NodeAgentOptions
  private told: Told | undefined

  constructor(options: NodeAgentOptions) {
    this.options = options
  }

  /**
   * Report, if there is a controller. Not twice at a time. Rejects with the HoldfastError of who was asked.
   * @returns whether a controller took it
   */
  async turn(): Promise<boolean> {
    const found = this.options.controller()
    if (found === undefined) return false
    const { leader, calls } = found
    if (this.told?.leader !== leader.instance) {
      this.told = { leader: leader.instance, ticket: '', copies: new ReportedCopies() }
    }
    // A controller that does not know us yet takes what we say under the ticket of its first answer.
    if (await this.report(calls, this.told)) return true
    return this.told.ticket !== '' && this.report(calls, this.told)
  }

  async makeCopy(order: MakeCopyOrder): Promise<{ copyId: string }> {
    const { volumeId } = order
    const { local } = this.options
    const refuse: Refuse = this.refusing('make a copy of', order)
    const record = await this.readRecord(volumeId)
    if (record === undefined) refuse('there is no such volume')
    if (record.trash?.isPurging === true) refuse('it is being purged')
    // The first copies of a clone begin with what it is a clone of; what is added later is filled (CLONES.md K2).
    const isFirst = record.origin !== undefined && (await this.readConfig(volumeId)) === undefined
    this.checkAge(order, refuse)
    const made = await local.makeCopy(record.spec, isFirst ? record.origin : undefined)
    this.options.onChanged()
    return made
  }

  async eraseCopy(order: EraseCopyOrder): Promise<object> {
    const { volumeId, copyId, epoch } = order
    const { local } = this.options
    const refuse: Refuse = this.refusing('erase its copy of', order)
    const { copies } = await local.status()
    const copy = copies.find((one) => one.volumeId === volumeId && one.copyId === copyId)
    if (copy === undefined) return {}
    const [record, config] = await Promise.all([this.readRecord(volumeId), this.readConfig(volumeId)])
    const whyNot = whyNotErased({ record, config, copy, epoch })
    if (whyNot !== undefined) refuse(whyNot)
    this.checkAge(order, refuse)
    await local.eraseCopy(volumeId, copyId)
    this.options.onChanged()
    return {}
  }

  async handOver(order: HandOverOrder): Promise<object> {
    this.checkAge(order, this.refusing('hand over', order))
    await this.options.local.handOver(order.volumeId, order.to)
    this.options.onChanged()
    return {}
  }

  /** engine/control/SPEC.md O2. */
  async hydrate(order: MakeCopyOrder): Promise<{ sharedSlices: number }> {
    const { volumeId } = order
    const refuse: Refuse = this.refusing('make blocks of its own for', order)
    const record = await this.readRecord(volumeId)
    if (record?.hydration === undefined || record.trash?.isPurging === true) refuse('nobody wishes that')
    this.checkAge(order, refuse)
    const sharedSlices = await this.options.local.hydrate(volumeId)
    this.options.onChanged()
    return { sharedSlices }
  }

  async rekey(order: RekeyOrder): Promise<RekeyReport> {
    const { volumeId, isPass } = order
    const refuse: Refuse = this.refusing('take the keys of', order)
    const [record, config] = await Promise.all([this.readRecord(volumeId), this.readConfig(volumeId)])
    if (record === undefined || config === undefined) refuse('there is no such volume')
    this.checkAge(order, refuse)
    return this.options.local.rekey({ record, config }, isPass)
  }

  async change(order: ChangeOrder): Promise<ChangeAnswer> {
    const refuse: Refuse = this.refusing('change', order)
    const command = commandOf(order)
    if (command === undefined) refuse(`it does not know how to ${order.operation}`)
    this.checkAge(order, refuse)
    const changed = await this.options.local.change(order.volumeId, command)
    this.options.onChanged()
    return changed
  }

  async hold(order: HoldOrder): Promise<{ seq: number }> {
    this.checkAge(order, this.refusing('hold', order))
    const { volumeId, hold, holdMs, expected } = order
    return this.options.local.hold(volumeId, { hold, holdMs, expected })
  }

  async release(order: ReleaseOrder): Promise<object> {
    this.checkAge(order, this.refusing('release', order))
    await this.options.local.release(order.volumeId, order.hold)
    return {}
  }

  /** Who leads under the epoch that the store names after it answered, led when it did (SNAPSHOTS.md T2). */
  async snapshots(query: SnapshotQuery): Promise<SnapshotAnswer> {
    const { node, local } = this.options
    const answer = await local.snapshots(query)
    const config = await this.readConfig(query.volumeId)
    if (config?.primary !== node || config.epoch !== answer.epoch) {
      this.refusing('tell the snapshots of', query)('it does not lead it, or not under the epoch it knows')
    }
    return answer
  }

  /** @returns whether it was taken */
  private async report(calls: NodeCalls, told: Told): Promise<boolean> {
    const { local, details, nowMs } = this.options
    const stampMs = nowMs()
    const status = await local.status()
    const { facts, sessions } = details()
    const changes = told.copies.changes(status)
    let answer: ReportAnswer
    try {
      const { ticket } = told
      answer = await calls.report({ ...changes, ticket, stampMs, facts, sessions })
    } catch (error) {
      // Taken or not: begin anew.
      this.told = undefined
      throw error
    }
    told.ticket = answer.ticket
    if (answer.isTaken) this.options.onBeats(answer.beats)
    told.copies.answered(changes, answer)
    return answer.isTaken
  }

  private refusing(order: string, { volumeId: volume }: { volumeId: string }): Refuse {
    const { node } = this.options
    return (reason) => {
      throw new HoldfastError('order-refused', { node, order, volume, reason })
    }
  }

  private checkAge({ instance, stampMs }: MakeCopyOrder, refuse: Refuse): void {
    if (instance !== this.options.instance) refuse('it was meant for a former process of the node')
    const ageMs = this.options.nowMs() - stampMs
    if (ageMs > ORDER_AGE_MS) refuse(`the order may be ${Math.round(ageMs / 1000)} s old`)
  }

  private readRecord(volumeId: string) {
    return this.read(volumeKey(volumeId), (value) => decodeVolume(volumeId, value))
  }

  private readConfig(volumeId: string) {
    return this.read(configKey(volumeId), (value) => decodeConfig(volumeId, value))
  }

  private async read<T>(key: string, decode: (value: Uint8Array) => T | undefined): Promise<T | undefined> {
    const read = await this.options.store.get(key)
    if (!read.ok) throw read.error
    if (read.value === undefined) return undefined
    const found = decode(read.value.value)
    // What cannot be read is not taken for nothing.
    if (found === undefined) throw new HoldfastError('store-record', { key })
    return found
  }
}
