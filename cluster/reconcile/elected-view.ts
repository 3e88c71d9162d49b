/**
 * What the elected node knows, for whoever carries out a wish there: the term, once it is heard from all nodes, and
 * what is looked at for most wishes. Who is not elected any more is told so at the next step.
 */
import type { Cluster } from '../../engine/control/cluster.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { shown } from '../api/names.ts'
import type { Volume } from '../api/volume-messages.ts'
import { volumeOf } from './cluster-view.ts'
import type { Controller, Term } from './controller.ts'
import { newerWishes, tooOld } from './node-versions.ts'
import { presentClients } from './volume-clients.ts'
import type { Client } from './volume-wishes.ts'

/** Who is elected anew shows nothing before all nodes have spoken, or for so long: reports come every second. */
export const INFORMED_WAIT_MS = 2_500

/** All nodes, in answer to what they were asked since then. */
export const haveSpoken = ({ nodes }: Cluster, sinceMs: number): boolean =>
  [...nodes.values()].every(({ record, said }) => record === undefined || (said !== undefined && said.atMs >= sinceMs))

export interface ElectedViewOptions {
  controller: Controller
  /** Monotonic. */
  nowMs(): number
}

export class ElectedView {
  private readonly options: ElectedViewOptions

  constructor(options: ElectedViewOptions) {
    this.options = options
  }

  /** @throws HoldfastError `no-controller` */
  term(): Term {
    const term = this.options.controller.term()
    // What was asked is not begun: the caller may ask whoever is elected.
    if (term === undefined) throw new HoldfastError('no-controller', { reason: 'who was asked is not elected' })
    return term
  }

  /** What is not known yet is not told as a failure (H2). */
  informedTerm(): Term {
    const term = this.term()
    const { cluster } = term
    const isInformed = haveSpoken(cluster, -Infinity)
    if (isInformed || this.options.nowMs() - cluster.startedAtMs > INFORMED_WAIT_MS) return term
    throw new HoldfastError('no-controller', { reason: 'who was elected has not heard from all nodes yet' })
  }

  /** That are registered. */
  nodesCount(): number {
    return [...this.term().cluster.nodes.values()].filter(({ record }) => record !== undefined).length
  }

  /** @throws HoldfastError `node-not-found` */
  checkNode(name: string): void {
    if (this.term().cluster.nodes.get(name)?.record === undefined) {
      throw new HoldfastError('node-not-found', { name: shown(name) })
    }
  }

  /** @throws HoldfastError `node-too-old` */
  checkKnown(wished: VolumeRecord, former?: VolumeRecord): void {
    for (const what of newerWishes(wished, former)) {
      const refusal = tooOld(this.term().beats, what, wished.spec.name)
      if (refusal !== undefined) throw refusal
    }
  }

  /** Who uses it now. */
  clientsOf(id: string): Promise<Client[]> {
    return presentClients(this.options.controller, this.term(), id)
  }

  /**
   * As the API tells it. @param held  the term in which the wish was begun: what was written is answered by what was
   * known then, since `no-controller` would say that nothing was begun
   * @throws HoldfastError `no-controller` when no term is given
   */
  view(record: VolumeRecord, held?: Term): Volume {
    return volumeOf(this.options.controller.term() ?? held ?? this.term(), record, this.options.nowMs())
  }
}
