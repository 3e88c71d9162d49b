/**
 * I26: the end of the volume moves only over blocks that show zeroes, and nothing of the log lies beyond it. A shrink
 * in front of which a write came unseen would take away what was acknowledged, and give it back when the volume grows.
 */
import { BLOCK_BYTES } from '../../../../engine/units.ts'
import { replay, type Base, type LoggedRecord, type Violation } from './history.ts'

const bad = (message: string): Violation => ({ checker: 'inside-the-volume', message })

/**
 * @param sizeBytes  of the volume as it was made
 * @param base  of a clone: what it began as
 */
export function checkInside(log: readonly LoggedRecord[], sizeBytes: number, base?: Base): Violation[] {
  const violations: Violation[] = []
  let endLba = sizeBytes / BLOCK_BYTES
  for (const { seq, kind, lba, blockCount, request, change } of log) {
    if (kind !== 'control' && lba + blockCount > endLba) {
      violations.push(bad(`seq ${seq}, a ${kind} by ${request}, ends at block ${lba + blockCount} of ${endLba}`))
    }
    if (change?.operation === 'resize') endLba = change.sizeBytes / BLOCK_BYTES
    if (change?.operation === 'shrink') endLba = change.sizeBytes / BLOCK_BYTES
    else if (change?.operation !== 'rollback') continue
    for (const [at, { stamp }] of replay(log.slice(0, seq), base).state.blocks) {
      if (at < endLba || stamp === 0) continue
      violations.push(bad(`block ${at} shows ${stamp} behind the end that the volume has from seq ${seq} on`))
    }
  }
  return violations
}
