/**
 * Whether a node may erase a copy it has (engine/control/SPEC.md E3), judged by that node of what it has just read
 * itself: an order alone never takes anything away.
 */
import type { CopyStatus } from '../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'

export interface EraseSight {
  /** As read from the store after the order came; undefined: there is none. */
  record: VolumeRecord | undefined
  config: VolumeConfig | undefined
  /** What the node has of that volume. */
  copy: CopyStatus
  /** Of the order: the epoch it was planned on; 0: without a configuration. */
  epoch: number
}

/** A sentence that says why not; undefined: it may. */
export function whyNotErased({ record, config, copy, epoch }: EraseSight): string | undefined {
  if (record === undefined) return 'nothing is known of its volume'
  if (record.trash?.isPurging === true) return undefined
  if (config === undefined) {
    if (!copy.isVirgin) return 'its volume has no configuration, and the copy was in use'
    return copy.failure === '' ? 'it is about to be used' : undefined
  }
  if (config.epoch !== epoch) return `its volume is at epoch ${config.epoch} by now, the order is of epoch ${epoch}`
  const member = Object.entries(config.members).find(([, { copyId }]) => copyId === copy.copyId)
  return member === undefined ? undefined : `it is the copy of member ${member[0]}`
}
