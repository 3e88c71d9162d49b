/**
 * What a PVC asks for without effect, as Events of it (SPEC.md M7): parameters of its class that mean nothing here,
 * and labels and annotations in which StorageOS took the same of a claim. Its user does not read the controller's log,
 * and who asks for another number of copies has to learn that he has not got it.
 */
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { recordOf, uidOf } from '../../../cluster/kubernetes/api-objects.ts'
import { whyIgnoredOfClaim } from '../../controller/parameters.ts'
import type { EventRecorder } from '../event-recorder.ts'

const LOOK_MS = 5000

export interface IgnoredWishesOptions {
  client: Pick<ApiClient, 'call'>
  recorder: Pick<EventRecorder, 'tell'>
  log(line: string): void
}

export interface ClaimName {
  namespace: string
  name: string
}

export class IgnoredWishes {
  readonly #options: IgnoredWishesOptions

  constructor(options: IgnoredWishesOptions) {
    this.#options = options
  }

  /**
   * Never throws; what cannot be looked up is told in the log.
   * @param sentences  about parameters of the class
   */
  async tell({ namespace, name }: ClaimName, sentences: readonly string[]): Promise<void> {
    const { client, recorder, log } = this.#options
    const path = `/api/v1/namespaces/${segment(namespace)}/persistentvolumeclaims/${segment(name)}`
    const answer = await client.call({ method: 'GET', path, deadlineMs: LOOK_MS })
    if (!answer.ok) {
      // Whoever deleted it is told nothing.
      if (answer.failure.status === 404) return
      return log(`PVC ${namespace}/${name} is not told what has no effect: ${answer.failure.reason}`)
    }
    const about = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid: uidOf(answer.body) }
    const { labels, annotations } = recordOf(answer.body.metadata)
    const ofClaim = [...without('label', labels), ...without('annotation', annotations)]
    if (sentences.length > 0) {
      const note = sentences.map((one) => `parameter ${one}`).join('; ')
      recorder.tell({ about, type: 'Normal', reason: 'ParameterIgnored', note })
    }
    if (ofClaim.length > 0) recorder.tell({ about, type: 'Warning', reason: 'LabelIgnored', note: ofClaim.join('; ') })
  }
}

function without(what: string, names: unknown): string[] {
  const known = Object.keys(recordOf(names)).map((name) => ({ name, why: whyIgnoredOfClaim(name) }))
  return known.filter(({ why }) => why !== undefined).map(({ name, why }) => `${what} ${name} has no effect: ${why}`)
}
