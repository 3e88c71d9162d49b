/**
 * How a volume is, for Kubernetes: the one place where our health becomes CSI's. v1.12 knows normal and abnormal;
 * another form of the standard is answered from the same judgement.
 */
import type { Volume } from '../cluster/api/volume-messages.ts'
import type { VolumeCondition } from './messages.ts'

const EXPLAINED: Record<Volume['health'], string> = {
  'healthy': 'all copies are in sync',
  'degraded': 'it works, and a copy is missing',
  'at-risk': 'it works, and one copy is left',
  'suspended': 'its I/O is held',
  'faulted': 'it cannot be served',
}

export function volumeCondition(
  { name, health, healthReason }: Pick<Volume, 'name' | 'health' | 'healthReason'>,
): VolumeCondition {
  const reason = healthReason === '' ? '' : `: ${healthReason}`
  const next = health === 'healthy' ? '' : `; \`holdfast explain ${name}\` shows what it waits for`
  return { abnormal: health !== 'healthy', message: `${health}, ${EXPLAINED[health]}${reason}${next}` }
}
