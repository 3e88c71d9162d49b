/**
 * A volume gets another data key, step by step (dataplane/frontend/ENCRYPTION.md section 6): what was done stands in
 * its record, so any controller goes on, and each step may be done twice.
 *
 *   writesUnder is there -> every node that is not down, every holder, user and member in sync knows all keys
 *                           -> it is taken away
 *   rewriting is there   -> one node that may use the volume writes blocks of former keys anew     -> it is taken away
 *
 * Invariant: nothing is written under a key before every member in sync has noted it, and every frontend has it.
 */
import { randomBytes } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { livenessOf } from '../../engine/control/node-state.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { rewriteBegun, rewriteEnded } from '../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import type { RekeyProgress } from '../api/volume-messages.ts'
import type { Controller, Term } from './controller.ts'
import type { RekeyReport } from './node-calls.ts'
import type { VolumeWishes } from './volume-wishes.ts'

export interface RekeyControlOptions {
  controller: Controller
  wishes: VolumeWishes
  nowMs(): number
  onBug(error: unknown): void
}

type Answer = { node: string; report: RekeyReport } | { node: string; why: string; isAway: boolean }

const EVERY_MS = 5_000

const NOTHING = { node: '', doneBytes: 0, totalBytes: 0, rewrittenBlocks: 0, damagedBlocks: 0, why: '' }

export class RekeyControl {
  private readonly options: RekeyControlOptions
  private nextAtMs = 0
  private isBusy = false
  /** Who writes blocks of a volume anew: he goes on. */
  private readonly rewriters = new Map<string, string>()

  constructor(options: RekeyControlOptions) {
    this.options = options
  }

  /** Every few seconds: goes on with what is not done, and waits for nothing. */
  turn(): void {
    const { controller, nowMs, onBug } = this.options
    const term = controller.term()
    if (term === undefined || this.isBusy || nowMs() < this.nextAtMs) return
    this.nextAtMs = nowMs() + EVERY_MS
    const open = [...term.cluster.volumes.values()].flatMap(({ record }) => {
      const { encryption } = record?.spec ?? {}
      return record?.trash === null && encryption !== undefined && isOpen(encryption) ? [record] : []
    })
    if (open.length === 0) return
    this.isBusy = true
    const all = open.map((record) => this.step(term, record).catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) onBug(error)
    }))
    void Promise.all(all).finally(() => {
      this.isBusy = false
    })
  }

  /** The next step of what is not done. @throws HoldfastError `volume-plain` */
  async step(term: Term, record: VolumeRecord): Promise<RekeyProgress> {
    const { id, name, encryption } = record.spec
    if (encryption === undefined) throw new HoldfastError('volume-plain', { volume: name })
    const config = term.cluster.volumes.get(id)?.config
    if (!isOpen(encryption)) return { ...NOTHING, stage: 'done' }
    if (config === undefined) return { ...NOTHING, stage: 'waits', why: 'it has no configuration yet' }
    if (encryption.writesUnder === undefined) return this.rewrite(term, id, encryption, config)
    const why = await this.whyNotKnown(term, id, encryption, config)
    if (why !== '') return { ...NOTHING, stage: 'waits', why }
    const next = await this.change(id, (one) => rewriteBegun(one, encryption.keys.length, drawnWish()))
    return this.rewrite(term, id, next, config)
  }

  private async whyNotKnown(
    term: Term, id: string, { keys }: VolumeEncryption, { inSync, attach }: VolumeConfig,
  ): Promise<string> {
    const users = term.intake.sessions().filter(({ volumeId }) => volumeId === id).map(({ node }) => node)
    const needed = new Set([...inSync, ...Object.keys(attach.holders), ...users])
    const isDown = (name: string): boolean => {
      const node = term.cluster.nodes.get(name)
      return node !== undefined && livenessOf(node, term.cluster.options, this.options.nowMs()) === 'down'
    }
    const nodes = [...new Set([...needed, ...term.beats.keys()])].sort()
    const answers = await Promise.all(nodes.map((node) => this.ask(term, node, id, false)))
    for (const answer of answers) {
      if ('report' in answer) {
        const { keyCount, why } = answer.report
        if (keyCount < keys.length) return `${answer.node} uses it and does not have the new key: ${why}`
      } else if (needed.has(answer.node) || !(answer.isAway || isDown(answer.node))) {
        return `${answer.node} does not know the new key: ${answer.why}`
      }
    }
    return ''
  }

  private async rewrite(
    term: Term, id: string, { rewriting }: VolumeEncryption, { attach, primary }: VolumeConfig,
  ): Promise<RekeyProgress> {
    if (rewriting === undefined) return { ...NOTHING, stage: 'waits', why: 'another step was done meanwhile' }
    const users = term.intake.sessions().filter(({ volumeId }) => volumeId === id).map(({ node }) => node)
    const known = this.rewriters.get(id)
    const mayUse = attach.mode === 'open' ? [...users, primary, ...term.beats.keys()] : Object.keys(attach.holders)
    const order = [...(known !== undefined && mayUse.includes(known) ? [known] : []), ...mayUse]
    let why = attach.mode === 'open' ? 'no node can open it' : 'it is attached to no node that can write it'
    for (const node of new Set(order)) {
      const answer = await this.ask(term, node, id, true)
      if (!('report' in answer) || answer.report.totalBytes === 0) {
        why = `${node}: ${'report' in answer ? answer.report.why : answer.why}`
        continue
      }
      const { isDone, doneBytes, totalBytes, rewrittenBlocks, damagedBlocks } = answer.report
      this.rewriters.set(id, node)
      const progress = { ...NOTHING, node, doneBytes, totalBytes, rewrittenBlocks, damagedBlocks }
      if (!isDone) return { ...progress, stage: 'rewriting' }
      // A rollback since he was asked is another wish, which stays.
      await this.change(id, (one) => rewriteEnded(one, rewriting))
      this.rewriters.delete(id)
      return { ...progress, stage: 'done' }
    }
    return { ...NOTHING, stage: 'waits', why }
  }

  private async ask(term: Term, node: string, volumeId: string, isPass: boolean): Promise<Answer> {
    const reached = this.options.controller.reach(term, node)
    if (reached === undefined) return { node, why: 'it does not answer', isAway: true }
    try {
      return { node, report: await reached.calls.rekey({ volumeId, ...reached.addressee, isPass }) }
    } catch (error) {
      if (error instanceof HoldfastError) return { node, why: error.message, isAway: false }
      throw error
    }
  }

  private async change(
    id: string, next: (one: VolumeEncryption) => VolumeEncryption | undefined,
  ): Promise<VolumeEncryption> {
    const { spec: { encryption } } = await this.options.wishes.update(id, (one) => {
      const changed = one.spec.encryption === undefined ? undefined : next(one.spec.encryption)
      return changed === undefined ? undefined : { ...one, spec: { ...one.spec, encryption: changed } }
    })
    return encryption!
  }
}

export const drawnWish = (): string => randomBytes(8).toString('hex')

const isOpen = ({ writesUnder, rewriting }: VolumeEncryption): boolean =>
  writesUnder !== undefined || rewriting !== undefined
