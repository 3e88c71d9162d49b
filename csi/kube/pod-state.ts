/** Where a pod is, or has to be, and whether it is over, as its object says. */
import { recordOf, recordsOf, textOf } from '../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../cluster/kubernetes/api-objects.ts'

/** It ended by itself, and nobody starts it again. */
export function isPodOver({ status }: ApiObject): boolean {
  const { phase } = recordOf(status)
  return phase === 'Succeeded' || phase === 'Failed'
}

/** Empty: it is not bound yet. */
export const nodeOf = ({ spec }: ApiObject): string => textOf(recordOf(spec).nodeName)

/** Of a pod of a DaemonSet: the node that it is for, also before it is bound; empty: no such pod. */
export function wishedNodeOf(pod: ApiObject): string {
  const { nodeAffinity } = recordOf(recordOf(pod.spec).affinity)
  const required = recordOf(recordOf(nodeAffinity).requiredDuringSchedulingIgnoredDuringExecution)
  const fields = recordsOf(required.nodeSelectorTerms).flatMap(({ matchFields }) => recordsOf(matchFields))
  const values = fields.find(({ key, operator }) => key === 'metadata.name' && operator === 'In')?.values
  return Array.isArray(values) ? textOf(values[0]) : ''
}
