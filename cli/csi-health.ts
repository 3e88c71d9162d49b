/**
 * Events of Kubernetes, of `holdfast csi controller --events`: health of volumes, by one such process at a time, and of
 * a PVC what it asks for without effect, by the one that makes its volume.
 */
import os from 'node:os'
import type { ControlClient } from '../cluster/api/client.ts'
import type { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { pause } from '../cluster/pause.ts'
import { EventRecorder } from '../csi/kube/event-recorder.ts'
import { HealthEvents, LOOK_MS } from '../csi/kube/health/health-events.ts'
import { IgnoredWishes } from '../csi/kube/health/ignored-wishes.ts'
import type { ClaimName } from '../csi/kube/health/ignored-wishes.ts'
import { leadByLease } from '../csi/kube/leader-lease.ts'
import type { LeaseTiming } from '../csi/kube/leader-lease.ts'

/** Of the Lease, and who told: by it a leader finds what was told before. */
const NAME = 'holdfast-health'

export interface HealthParts {
  kubernetes: ApiClient
  api: Pick<ControlClient, 'listVolumes' | 'modifyVolume'>
  mayAsk(): Promise<void>
  log(line: string): void
  timing?: LeaseTiming
}

/** Until the signal is aborted. */
export function tellHealth(
  { kubernetes: client, api, mayAsk, log, timing }: HealthParts, signal: AbortSignal,
): Promise<void> {
  const { namespace } = client.access
  const onLead = async (leading: AbortSignal): Promise<void> => {
    const recorder = new EventRecorder({ client, component: NAME, instance: os.hostname(), log })
    const events = new HealthEvents({ client, api, recorder, component: NAME, mayAsk, log })
    while (!leading.aborted) {
      await events.look()
      await pause(LOOK_MS, leading)
    }
    await recorder.close()
  }
  return leadByLease({ client, namespace, name: NAME, onLead, log, ...(timing && { timing }) }, signal)
}

export interface ClaimEvents {
  tell(claim: ClaimName, sentences: readonly string[]): void
  close(): Promise<void>
}

interface ClaimEventParts extends Pick<HealthParts, 'log'> {
  kubernetes: Pick<ApiClient, 'call'>
  onBug(error: unknown): void
}

export function claimEvents({ kubernetes: client, log, onBug }: ClaimEventParts): ClaimEvents {
  const recorder = new EventRecorder({ client, component: 'holdfast-controller', instance: os.hostname(), log })
  const wishes = new IgnoredWishes({ client, recorder, log })
  return {
    tell: (claim, sentences) => void wishes.tell(claim, sentences).catch(onBug),
    close: () => recorder.close(),
  }
}
