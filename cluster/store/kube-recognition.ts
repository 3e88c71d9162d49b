/**
 * Which store it is that answers on the Kubernetes API (S4; csi/kube/SPEC.md R1 to R4): the uids of namespace
 * kube-system, of the namespace of the records and of the definition of their kind, and the resourceVersion of a list.
 *
 * Whoever deletes one of the two last deletes every record, and what is made again under the same name is empty.
 *
 *   recognised()        by a look of the last minute, unless something made it doubtful
 *   recognisedSince()   by a look that begins now: what an answer before did not show is not there
 */
import { HoldfastError } from '../../engine/errors.ts'
import { isRecord } from '../../engine/value-shape.ts'
import { segment } from '../kubernetes/api-client.ts'
import type { ApiClient, ApiFailure } from '../kubernetes/api-client.ts'
import { GROUP, PLURAL, recordsPath, resourceVersionOf } from './kube-records.ts'
import { NO_HEADER } from './store-identity.ts'
import type { StoreIdentity } from './store-identity.ts'

const GOOD_FOR_MS = 60_000
const NAMESPACES = '/api/v1/namespaces'
const DEFINITION = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${PLURAL}.${GROUP}`

export interface KubeRecognitionOptions {
  client: ApiClient
  identity: StoreIdentity
  /** For sentences. */
  endpoint: string
  /** Of a look. */
  timeoutMs: number
  failed(failure: ApiFailure): HoldfastError
}

export class KubeRecognition {
  readonly #o: KubeRecognitionOptions
  #recognisedAtMs = -Infinity
  #doubtedAtMs = -Infinity
  /** One at a time. */
  #looking: Promise<HoldfastError | undefined> | undefined

  constructor(options: KubeRecognitionOptions) {
    this.#o = options
  }

  /** What was seen is not believed any longer. */
  doubt(): void {
    this.#recognisedAtMs = -Infinity
    this.#doubtedAtMs = performance.now()
  }

  /** @returns why it is not the store that we know, or cannot be reached */
  recognised(): Promise<HoldfastError | undefined> {
    if (performance.now() - this.#recognisedAtMs < GOOD_FOR_MS) return Promise.resolve(undefined)
    return this.#look()
  }

  /** @param untilMs  monotonic: how long who asks has time */
  async recognisedSince(untilMs: number): Promise<HoldfastError | undefined> {
    const looked = async (): Promise<HoldfastError | undefined> => {
      // Who else waits for the same one shares what begins behind it.
      await this.#looking
      return this.#look()
    }
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<HoldfastError>((resolve) => {
      const reason = 'it did not answer in time'
      const error = new HoldfastError('store-unreachable', { endpoints: this.#o.endpoint, reason })
      timer = setTimeout(() => resolve(error), Math.max(1, untilMs - performance.now()))
    })
    const found = await Promise.race([looked(), late])
    clearTimeout(timer)
    return found
  }

  #look(): Promise<HoldfastError | undefined> {
    const look = async (): Promise<HoldfastError | undefined> => {
      const beganAtMs = performance.now()
      const strange = await this.#strangeNow()
      const isGood = strange === undefined && beganAtMs >= this.#doubtedAtMs
      this.#recognisedAtMs = isGood ? beganAtMs : -Infinity
      return strange
    }
    this.#looking ??= look().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #strangeNow(): Promise<HoldfastError | undefined> {
    const { client, identity, endpoint, timeoutMs, failed } = this.#o
    const { namespace } = client.access
    const { revision } = identity
    const get = (path: string, query: Record<string, string> = {}) =>
      client.call({ method: 'GET', path, query, deadlineMs: timeoutMs })
    const [system, space, definition, list] = await Promise.all([
      get(`${NAMESPACES}/kube-system`), get(`${NAMESPACES}/${segment(namespace)}`), get(DEFINITION),
      get(recordsPath(namespace), { limit: '1' }),
    ])
    const uids: string[] = []
    for (const answer of [system, space, definition]) {
      if (!answer.ok) return failed(answer.failure)
      const { uid, deletionTimestamp } = isRecord(answer.body.metadata) ? answer.body.metadata : {}
      if (deletionTimestamp !== undefined) {
        const reason = `its ${String(answer.body.kind)} is being deleted`
        return new HoldfastError('store-refused', { endpoint, reason })
      }
      uids.push(typeof uid === 'string' ? uid : '')
    }
    if (!list.ok) return failed(list.failure)
    const clusterId = uids.join('/')
    // A version of before knew it by the first of them.
    identity.extend(uids[0]!, clusterId)
    const header = { clusterId, revision: resourceVersionOf(list.body) }
    return identity.check(endpoint, { ...NO_HEADER, ...header }, revision)
  }
}
