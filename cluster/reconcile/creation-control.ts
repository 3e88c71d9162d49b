/**
 * A new volume, from the wish to its first use, at the elected controller: judged, written, waited for. Of a clone the
 * wish is another one (clone-control.ts), and the rest is the same.
 */
import { firstNodeOf } from '../../engine/control/creation.ts'
import { whyNeverCreated } from '../../engine/control/creation-refusal.ts'
import type { CreationRefusal } from '../../engine/control/creation-refusal.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { formatSize } from '../api/amounts.ts'
import { cloneWishOf } from '../api/clone-request.ts'
import type { Volume } from '../api/volume-messages.ts'
import { clusterVolumeOf, newVolumeId } from '../api/volume-request.ts'
import type { CreateVolumeRequest } from '../api/volume-wish-messages.ts'
import type { UserKey } from '../keys/user-key.ts'
import { isServed, whyNotServed } from './cluster-view.ts'
import type { CloneControl } from './clone-control.ts'
import { haveSpoken, INFORMED_WAIT_MS } from './elected-view.ts'
import type { ElectedView } from './elected-view.ts'
import type { SettlingOptions } from './settled-change.ts'
import type { VolumeWishes } from './volume-wishes.ts'

/** A volume that can be used is answered although copies of it are not seen to be in sync yet, after so long. */
const HEALTHY_WAIT_MS = 5_000
/** A volume that is not served by then goes on by itself; the caller hears what it waits for. */
const SERVED_WAIT_MS = 30_000

export interface CreationControlOptions extends SettlingOptions {
  wishes: VolumeWishes
  clones: CloneControl
  elected: ElectedView
  /** Wraps data keys of volumes for which no key is named. */
  clusterKey?: UserKey | undefined
}

export class CreationControl {
  private readonly options: CreationControlOptions
  private readonly wishes: VolumeWishes
  private readonly elected: ElectedView

  constructor(options: CreationControlOptions) {
    this.options = options
    this.wishes = options.wishes
    this.elected = options.elected
  }

  async create(request: CreateVolumeRequest): Promise<Volume> {
    const wish = cloneWishOf(request)
    const make = (record: VolumeRecord) => this.make(record, request.preferredNodes ?? [])
    if (wish !== undefined) {
      const judge = (record: VolumeRecord) => this.judge(record)
      const served = (record: VolumeRecord) => this.served(record)
      return this.options.clones.create(request, wish, this.elected.nodesCount(), { judge, make, served })
    }
    const { clusterKey } = this.options
    const id = newVolumeId(request)
    return make(clusterVolumeOf(request, { id, nodes: this.elected.nodesCount(), clusterKey }))
  }

  private async make(wished: VolumeRecord, preferred: readonly string[]): Promise<Volume> {
    await this.judge(wished)
    const firstNode = firstNodeOf(this.elected.term().cluster, wished, preferred, this.options.nowMs())
    const record = { ...wished, firstNode }
    await this.wishes.create(record)
    return this.served(record)
  }

  private judge(wished: VolumeRecord): Promise<void> {
    this.elected.checkKnown(wished)
    return this.placeable(wished)
  }

  /** @throws HoldfastError `volume-unplaced` */
  private async placeable(wished: VolumeRecord): Promise<void> {
    const { controller, nowMs } = this.options
    const askedMs = nowMs()
    for (;;) {
      const { cluster } = this.elected.term()
      const refusal = whyNeverCreated(cluster, wished)
      // What a node has just got is heard before a volume is refused for the lack of it.
      const [sinceMs, fromMs] = refusal === undefined ? [-Infinity, cluster.startedAtMs] : [askedMs, askedMs]
      if (haveSpoken(cluster, sinceMs) || nowMs() - fromMs > INFORMED_WAIT_MS) {
        // Of a name that is in use nothing else is said: who asks again for what is there is told that it is.
        if (refusal === undefined || (await this.wishes.isUsed(wished.spec.name))) return
        throw unplaced(wished, refusal)
      }
      await controller.passed()
    }
  }

  /** When all its copies are there, or it can be used. */
  private async served(record: VolumeRecord): Promise<Volume> {
    const { controller, nowMs } = this.options
    const { id, name } = record.spec
    const startedMs = nowMs()
    let held = controller.term()
    let view = held?.cluster.volumes.get(id)
    const isEnough = () => view?.verdict?.health === 'healthy' || nowMs() - startedMs > HEALTHY_WAIT_MS
    while (view === undefined || !isServed(view) || !isEnough()) {
      const term = controller.term()
      if (term === undefined) throw new HoldfastError('volume-waits', { name, reason: 'another node decides by now' })
      if (nowMs() - startedMs > SERVED_WAIT_MS) {
        throw new HoldfastError('volume-waits', { name, reason: whyNotServed(view) })
      }
      await controller.passed()
      held = term
      view = term.cluster.volumes.get(id)
    }
    return this.elected.view(record, held)
  }
}

function unplaced({ spec: { name, sizeBytes, replicas } }: VolumeRecord, refusal: CreationRefusal): HoldfastError {
  const copies = replicas === 0 ? 'one copy' : `${replicas + 1} copies`
  const detail = { name, size: formatSize(sizeBytes), copies, reason: refusal.why, instead: refusal.next }
  return new HoldfastError('volume-unplaced', detail)
}
