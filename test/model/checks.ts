/**
 * What holds in every state (SPEC.md section 9), beyond what each copy asserts of itself. Each check names what it
 * keeps; all are of one state, so that a state is visited once whatever the way to it.
 */
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { Bounds } from './bounds.ts'
import { newestAnswered, type ModelClient } from './model-client.ts'
import type { Summary } from './summary.ts'

export interface Seen {
  nodes: readonly string[]
  copies: Summary[]
  /** What each copy said that is under way: under which epoch it promised. */
  answersEpochs: number[]
  /** The value in the cluster store. */
  config: VolumeConfig
  client: ModelClient
  bounds: Bounds
}

export function violationIn(seen: Seen): string | undefined {
  for (const { problem } of seen.copies) if (problem !== undefined) return problem
  return promiseIsForgotten(seen) ?? answeredIsLost(seen) ?? twoLead(seen) ?? committedDiffers(seen)
}

/** I3: what was answered because of a promise is not answered by a copy that could forget it. */
function promiseIsForgotten({ nodes, copies, answersEpochs }: Seen): string | undefined {
  for (let i = 0; i < nodes.length; i++) {
    const { durablePromise } = copies[i]!
    if (answersEpochs[i]! > durablePromise) {
      return `I3: ${nodes[i]} answers under epoch ${answersEpochs[i]}, and promised ${durablePromise} on its disk`
    }
  }
  return undefined
}

/** I6, I7: what is answered is on the disk of every member that may lead, or something newer is. */
function answeredIsLost({ nodes, copies, config, client, bounds }: Seen): string | undefined {
  for (let lba = 0; lba < bounds.blocks; lba++) {
    const least = newestAnswered(client, lba, bounds)
    if (least === 0) continue
    for (let i = 0; i < nodes.length; i++) {
      const { durable, isDurablyConsistent, isConsistent } = copies[i]!
      if (!config.inSync.includes(nodes[i]!) || !isDurablyConsistent || !isConsistent) continue
      if ((durable[lba] as number) < least) {
        return `I6: write ${least} is answered, and member ${nodes[i]} has ${String(durable[lba])} in block ${lba}`
      }
    }
  }
  return undefined
}

/** I1, I8: one copy leads an epoch; who is deposed and does not know it reads nothing unasked. */
function twoLead({ nodes, copies }: Seen): string | undefined {
  for (let i = 0; i < copies.length; i++) {
    for (let j = 0; j < copies.length; j++) {
      const [a, b] = [copies[i]!, copies[j]!]
      if (i === j || a.leadsEpoch === 0 || b.leadsEpoch === 0) continue
      if (a.leadsEpoch === b.leadsEpoch) return `I1: ${nodes[i]} and ${nodes[j]} lead epoch ${a.leadsEpoch}`
      if (a.leadsEpoch < b.leadsEpoch && a.readsFreely) {
        return `I8: ${nodes[i]} serves reads under ${a.leadsEpoch} while ${nodes[j]} leads ${b.leadsEpoch}`
      }
    }
  }
  return undefined
}

/** I5, I10, I16: what two copies know as committed is the same, and so is what they hold at the same seq. */
function committedDiffers({ nodes, copies }: Seen): string | undefined {
  for (let i = 0; i < copies.length; i++) {
    for (let j = i + 1; j < copies.length; j++) {
      const [a, b] = [copies[i]!, copies[j]!]
      const common = Math.min(a.commitSeq, b.commitSeq)
      for (let seq = 1; seq <= common; seq++) {
        const isNamed = a.epochs[seq] !== 0 && b.epochs[seq] !== 0
        if (isNamed && a.epochs[seq] !== b.epochs[seq])
          return `I10: seq ${seq} differs on ${nodes[i]} and ${nodes[j]}`
      }
      if (a.appliedSeq !== b.appliedSeq || !a.isConsistent || !b.isConsistent) continue
      for (let lba = 0; lba < a.applied.length; lba++) {
        if (a.applied[lba] === b.applied[lba]) continue
        return `I16: block ${lba} differs at seq ${a.appliedSeq} on ${nodes[i]} and ${nodes[j]}`
      }
    }
  }
  return undefined
}
