/**
 * Carries out what a pass planned (engine/control/SPEC.md R3, R4): one compare-and-swap on the version it was planned
 * on, or one order to a node. Nothing is repeated here. After a compare-and-swap, however it ended, its key rests until
 * the watch has told something of it, so that nothing is planned twice on a version that is known to be old.
 */
import { unreachable } from '../../engine/assert.ts'
import type { Action } from '../../engine/control/actions.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { AGE_KEY, encodeAge } from '../store/cluster-age.ts'
import type { ClusterStore, Version } from '../store/cluster-store.ts'
import { REBUILDS_KEY, encodeRebuilds } from '../store/rebuild-records.ts'
import { configKey, encodeConfig } from '../store/volume-configs.ts'
import { moveKey } from '../store/volume-moves.ts'
import { encodeVolume, volumeKey } from '../store/volume-records.ts'
import type { NodeCalls } from './node-calls.ts'

/** How an action ended, for the log. */
export type ActionEnd =
  | { outcome: 'done' | 'lost' }
  | { outcome: 'unknown' | 'refused'; error: HoldfastError }
  /** Its key rests, or its node is not known: planned again when that is over. */
  | { outcome: 'not-sent' }

export interface ActionRunnerOptions {
  store: ClusterStore
  nowMs(): number
  /** A key rests for so long at most. */
  restMs: number
  /** Undefined: it does not beat, or has not reported. */
  reach(node: string): ReachedNode | undefined
}

/** Calls of a node, and what an order to it has to carry. */
export interface ReachedNode {
  calls: NodeCalls
  addressee: { instance: string; stampMs: number }
}

type NodeOrder = Extract<Action, { node: string }>

interface Swap {
  key: string
  version: string
  value: Uint8Array | undefined
}

export class ActionRunner {
  private readonly options: ActionRunnerOptions
  /** Keys that rest, until when. */
  private readonly resting = new Map<string, number>()

  constructor(options: ActionRunnerOptions) {
    this.options = options
  }

  /** The watch told something of it. */
  seen(key: string): void {
    this.resting.delete(key)
  }

  /** Begins at once. Never rejects. */
  async run(action: Action): Promise<ActionEnd> {
    switch (action.type) {
      case 'create-config':
        return this.swap({ key: configKey(action.volumeId), version: '', value: encodeConfig(action.config) })
      case 'change-config': {
        const { volumeId, version, config } = action
        return this.swap({ key: configKey(volumeId), version, value: encodeConfig(config) })
      }
      case 'change-volume': {
        const { volumeId, version, record } = action
        return this.swap({ key: volumeKey(volumeId), version, value: encodeVolume(record) })
      }
      case 'change-rebuilds':
        return this.swap({ key: REBUILDS_KEY, version: action.version, value: encodeRebuilds(action.rebuilds) })
      case 'change-age':
        return this.swap({ key: AGE_KEY, version: action.version, value: encodeAge(action.ageMs) })
      case 'delete-config':
        return this.swap({ key: configKey(action.volumeId), version: action.version, value: undefined })
      case 'delete-volume':
        return this.swap({ key: volumeKey(action.volumeId), version: action.version, value: undefined })
      case 'delete-move':
        return this.swap({ key: moveKey(action.volumeId), version: action.version, value: undefined })
      case 'make-copy':
      case 'erase-copy':
      case 'hydrate-copy':
      case 'hand-over':
        return this.order(action)
      default:
        return unreachable(action)
    }
  }

  private async swap({ key, version, value }: Swap): Promise<ActionEnd> {
    const { store, nowMs, restMs } = this.options
    const restsUntilMs = this.resting.get(key)
    if (restsUntilMs !== undefined && nowMs() < restsUntilMs) return { outcome: 'not-sent' }
    this.resting.set(key, nowMs() + restMs)
    const expected = version === '' ? undefined : (version as Version)
    const cas = await store.compareAndSwap({ key, version: expected, value })
    switch (cas.outcome) {
      case 'won':
        return { outcome: 'done' }
      case 'lost':
        return { outcome: 'lost' }
      case 'refused':
      case 'unknown':
        return cas
      default:
        return unreachable(cas)
    }
  }

  private async order(action: NodeOrder): Promise<ActionEnd> {
    const { node, volumeId } = action
    const reached = this.options.reach(node)
    if (reached === undefined) return { outcome: 'not-sent' }
    const { calls, addressee } = reached
    const order = { volumeId, ...addressee }
    try {
      if (action.type === 'make-copy') await calls.makeCopy(order)
      else if (action.type === 'hydrate-copy') await calls.hydrate(order)
      else if (action.type === 'hand-over') await calls.handOver({ ...order, to: action.to })
      else await calls.eraseCopy({ ...order, copyId: action.copyId, epoch: action.epoch })
      return { outcome: 'done' }
    } catch (error) {
      if (error instanceof HoldfastError) return { outcome: 'refused', error }
      throw error
    }
  }
}
