/**
 * Who may use a volume, as it is asked for: attach and detach at the elected controller (engine/control/SPEC.md section
 * 13). What is agreed is the configuration; both are answered when it is in force where it matters.
 *
 *   attach  agreed -> the lead follows -> the node offers it, or will -> who reads the volume next finds it
 *   detach  agreed -> whoever leads refuses the others (attach-end.ts) -> who reads the volume next finds it
 */
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { shown } from '../api/names.ts'
import type { Volume } from '../api/volume-messages.ts'
import { checkHoldingMode } from '../api/volume-request.ts'
import type { AttachVolumeRequest, DetachVolumeRequest } from '../api/volume-wish-messages.ts'
import { untilOthersAreRefused } from './attach-end.ts'
import { attachOf } from './cluster-view.ts'
import type { ElectedView } from './elected-view.ts'
import type { SettlingOptions } from './settled-change.ts'
import type { VolumeWishes } from './volume-wishes.ts'

/** The watch of the cluster store is late by milliseconds. */
const SEEN_WAIT_MS = 2_000
const LOOK_EVERY_MS = 20

export interface AttachControlOptions extends SettlingOptions {
  wishes: VolumeWishes
  elected: ElectedView
}

export class AttachControl {
  private readonly options: AttachControlOptions
  private readonly wishes: VolumeWishes
  private readonly elected: ElectedView

  constructor(options: AttachControlOptions) {
    this.options = options
    this.wishes = options.wishes
    this.elected = options.elected
  }

  async attach(request: AttachVolumeRequest): Promise<Volume> {
    const { name, node, mode, force, primary, heldMost = 0, follows } = request
    const term = this.elected.term()
    this.elected.checkNode(node)
    const wish = { node, mode: checkHoldingMode(mode), force, follows: follows?.generation }
    const record = await this.wishes.find(name)
    const { spec: { id } } = record
    if (heldMost > 0) this.checkRoom(node, id, heldMost)
    const config = await this.wishes.attach(record, wish, await this.elected.clientsOf(id))
    if (primary === true || record.dataLocality !== undefined) await this.leadAt(node, config)
    await this.offeredAt(node, id, config.attach.holders[node] ?? 0)
    await this.untilSeen(config)
    return { ...this.elected.view(record, term), attach: attachOf(config.attach) }
  }

  /** Who reads the volume next, to attach it behind what was agreed here, finds that generation; or after so long. */
  private async untilSeen({ volumeId, attach: { generation } }: VolumeConfig): Promise<void> {
    const { controller, nowMs } = this.options
    const deadlineMs = nowMs() + SEEN_WAIT_MS
    const isSeen = (): boolean =>
      (controller.term()?.cluster.volumes.get(volumeId)?.config?.attach.generation ?? generation) >= generation
    while (!isSeen() && nowMs() < deadlineMs) {
      await Promise.race([controller.passed(), new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))])
    }
  }

  /** As far as is known here: several that are asked for at once may be some too many. */
  private checkRoom(node: string, volumeId: string, heldMost: number): void {
    let held = 0
    for (const { id, config } of this.elected.term().cluster.volumes.values()) {
      if (config?.attach.holders[node] === undefined) continue
      if (id === volumeId) return
      held++
    }
    if (held >= heldMost) throw new HoldfastError('node-attachments', { node, held })
  }

  /** It is looked at whether others are refused, also of a node that does not hold it: maybe it did a moment ago. */
  async detach({ name, node, all, generation = 0, spend = false }: DetachVolumeRequest): Promise<Volume> {
    const term = this.elected.term()
    const from = all === true ? 'all' : { node }
    const { record, config, was } = await this.wishes.detach(name, from, generation, spend)
    if (config !== undefined && was) await this.wishes.endLead(config).catch(onlyExpected)
    if (config !== undefined && record.trash === null) await untilOthersAreRefused(this.options, record, config)
    if (config !== undefined) await this.untilSeen(config)
    if (!was && all !== true) {
      const { holders = {}, mode = 'open' } = config?.attach ?? {}
      const newer = Object.keys(holders).filter((one) => node === '' || one === node)
      // Not the one that was meant; who asked has seen too little to know that it is over.
      if (newer.length > 0) {
        throw new HoldfastError('volume-attached', { name: record.spec.name, holders: newer.join(', '), mode })
      }
      const whom = node === '' ? 'any node' : shown(node)
      throw new HoldfastError('volume-not-attached', { name: record.spec.name, node: whom })
    }
    const volume = this.elected.view(record, term)
    return config === undefined ? volume : { ...volume, attach: attachOf(config.attach) }
  }

  /** Best effort: who uses a volume is served from anywhere. */
  private async leadAt(node: string, { volumeId, primary, inSync, attach }: VolumeConfig): Promise<void> {
    if (attach.mode !== 'single' || primary === node || !inSync.includes(node)) return
    await this.wishes.lead(volumeId, node).catch(onlyExpected)
  }

  /** A node that is away, or does not hear of it in time, offers the volume later: it is attached all the same. */
  private async offeredAt(node: string, volumeId: string, generation: number): Promise<void> {
    const term = this.options.controller.term()
    const reached = term === undefined ? undefined : this.options.controller.reach(term, node)
    try {
      await reached?.calls.awaitOffer({ volumeId, generation })
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
    }
  }
}

function onlyExpected(error: unknown): void {
  if (!(error instanceof HoldfastError)) throw error
}
