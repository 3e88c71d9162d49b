/** Which pods have a PVC, as the API says now: for who tells them of its volume. */
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { listPages } from '../../../cluster/kubernetes/api-list.ts'
import { uidOf } from '../../../cluster/kubernetes/api-objects.ts'
import { podClaims } from '../pod-claims.ts'
import { isPodOver, nodeOf } from '../pod-state.ts'

export interface ClaimPod {
  name: string
  uid: string
  /** Of Kubernetes; empty: it has no place yet. */
  node: string
}

/** Of a namespace: pods that are not over, by PVC, in order of their names. @throws Error: it cannot be read */
export async function podsByClaim(
  client: Pick<ApiClient, 'call'>, namespace: string,
): Promise<Map<string, ClaimPod[]>> {
  const found = new Map<string, ClaimPod[]>()
  const path = `/api/v1/namespaces/${segment(namespace)}/pods`
  for await (const page of listPages(client, { path })) {
    if (!page.ok) throw new Error(`pods of ${namespace}: ${page.failure.reason}`)
    for (const item of page.items) {
      const pod = podClaims(item)
      if (pod === undefined || isPodOver(item)) continue
      const [uid, node] = [uidOf(item), nodeOf(item)]
      for (const claim of pod.claims) found.set(claim, [...found.get(claim) ?? [], { name: pod.pod, uid, node }])
    }
  }
  for (const pods of found.values()) pods.sort((a, b) => (a.name < b.name ? -1 : 1))
  return found
}
