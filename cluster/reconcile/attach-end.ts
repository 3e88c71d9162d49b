/**
 * That somebody lets go of a volume is agreed in the cluster store; it is so when whoever leads the volume knows it:
 * from that step on its sessions are refused (engine/replication/SPEC.md S2), and what comes late is acknowledged by
 * nobody. Whoever leads later begins from what is agreed.
 *
 * Invariant: answered without an error only after a primary, of which it is certain that it leads, in the epoch of that
 * agreement or a later one, said that it knows it and named nobody who does not hold the volume any more. Asked again,
 * it is looked at again. A node that does not say is no proof.
 */
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { Attach, VolumeConfig } from '../../engine/replication/configuration.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { look, reasonOf } from './settled-change.ts'
import type { SettlingOptions } from './settled-change.ts'

/** A failover takes less, and who asks waits for longer. */
const REFUSED_WAIT_MS = 10_000
const LOOK_EVERY_MS = 20

type Known = Pick<Attach, 'generation' | 'holders'>

/** @param known  to the primary  @param agreed  what is to be in force */
export function isRefusingOthers(known: Known, agreed: Known): boolean {
  if (known.generation !== agreed.generation) return known.generation > agreed.generation
  return Object.entries(known.holders).every(([node, generation]) => agreed.holders[node] === generation)
}

/** @throws HoldfastError `detach-unproved` */
export async function untilOthersAreRefused(
  options: SettlingOptions, record: VolumeRecord, { epoch, attach: agreed }: VolumeConfig,
): Promise<void> {
  const query = () => ({ ids: ['0'.repeat(32)], names: [], after: { seq: 0, id: '' }, limit: 0 })
  const deadlineMs = options.nowMs() + REFUSED_WAIT_MS
  for (;;) {
    let reason = 'who leads it does not know it yet'
    try {
      const { answer, node } = await look(options, { record, what: 'detaching', query })
      const { attach } = answer
      if (attach === null) reason = `node ${node}, which leads it, is of a former version and does not say`
      else if (answer.epoch >= epoch && isRefusingOthers(attach, agreed)) return
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      reason = reasonOf(error)
    }
    if (options.nowMs() > deadlineMs || options.controller.term() === undefined) {
      throw new HoldfastError('detach-unproved', { name: record.spec.name, reason })
    }
    await Promise.race([options.controller.passed(), new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))])
  }
}
