/**
 * In which zone a node of Kubernetes is: its label `topology.kubernetes.io/zone`. What was read is kept in a file, so
 * that a daemon whose container starts again does not wait for an API that is away.
 */
import { readFileSync } from 'node:fs'
import { isName } from '../../cluster/api/names.ts'
import { segment } from '../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../cluster/kubernetes/api-client.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { isRecord } from '../../engine/value-shape.ts'

const LABEL = 'topology.kubernetes.io/zone'
const ANSWER_MS = 5000
const TRIES = 6

/**
 * Empty: it has no such label.
 * @param keep  writes a file whole
 * @throws HoldfastError `kube-unreachable`: it does not answer, and nothing was kept
 */
export async function zoneOfNode(
  { client, kubernetesName, file, keep }: {
    client: ApiClient; kubernetesName: string; file: string; keep(file: string, text: string): void
  },
): Promise<string> {
  const known = kept(file)
  let reason = ''
  for (let i = 0; i < (known === undefined ? TRIES : 1); i++) {
    const path = `/api/v1/nodes/${segment(kubernetesName)}`
    const answer = await client.call({ method: 'GET', path, deadlineMs: ANSWER_MS })
    if (answer.ok) {
      const zone = zoneIn(answer.body)
      keep(file, `${zone}\n`)
      return zone
    }
    reason = answer.failure.reason
  }
  if (known !== undefined) return known
  throw new HoldfastError('kube-unreachable', { server: client.access.server.origin, reason })
}

/** A label may have other characters than a zone of ours: of those it is a word that has none. */
function zoneIn({ metadata }: Record<string, unknown>): string {
  const labels = isRecord(metadata) && isRecord(metadata.labels) ? metadata.labels : {}
  const label = labels[LABEL]
  if (typeof label !== 'string' || label === '') return ''
  const zone = label.toLowerCase().replace(/[^a-z0-9-]/g, '-')
  return isName(zone) ? zone : ''
}

function kept(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}
