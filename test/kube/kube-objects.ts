/** Objects of a Kubernetes API, as a test makes them, changes them and waits for what becomes of them. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiClient, Method } from '../../cluster/kubernetes/api-client.ts'
import type { Json } from './rendered-chart.ts'

const LOOK_MS = 50
const WAIT_MS = 180_000
const SHOWN_MOST = 2000

export class KubeObjects {
  readonly client: ApiClient

  constructor(client: ApiClient) {
    this.client = client
  }

  /** @param place  of its kind */
  make(place: string, body: Json): Promise<Json> {
    return this.#done('POST', place, body)
  }

  /** RFC 7396. */
  change(path: string, body: Json): Promise<Json> {
    return this.#done('PATCH', path, body)
  }

  /** At once, without a grace period. */
  delete(path: string): Promise<Json> {
    return this.#done('DELETE', path, { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 })
  }

  /** Undefined: it is not there. */
  async find(path: string): Promise<Json | undefined> {
    const answer = await this.client.call({ method: 'GET', path })
    if (answer.ok) return answer.body
    if (answer.failure.status === 404) return undefined
    throw new Error(`${path}: ${answer.failure.reason}`)
  }

  /** Of a kind. */
  async list(path: string): Promise<Json[]> {
    return ((await this.find(path))?.items ?? []) as Json[]
  }

  /** As it is when that is so. */
  until(path: string, isSo: (found: Json) => boolean): Promise<Json> {
    return this.#wait(path, () => this.find(path), (found) => found !== undefined && isSo(found)) as Promise<Json>
  }

  async untilGone(path: string): Promise<void> {
    await this.#wait(path, () => this.find(path), (found) => found === undefined)
  }

  /** One of that kind. */
  async untilOne(path: string, isMeant: (found: Json) => boolean): Promise<Json> {
    const found = await this.#wait(path, () => this.list(path), (all) => all.some(isMeant))
    return found.find(isMeant)!
  }

  /** All of that kind. */
  untilAll(path: string, isSo: (all: Json[]) => boolean): Promise<Json[]> {
    return this.#wait(path, () => this.list(path), isSo)
  }

  async #wait<T>(path: string, ask: () => Promise<T>, isSo: (found: T) => boolean): Promise<T> {
    const deadlineMs = performance.now() + WAIT_MS
    for (;;) {
      const found = await ask()
      if (isSo(found)) return found
      if (performance.now() > deadlineMs) {
        throw new Error(`${path} is not what was waited for: ${JSON.stringify(found).slice(0, SHOWN_MOST)}`)
      }
      await sleep(LOOK_MS)
    }
  }

  async #done(method: Method, path: string, body: Json): Promise<Json> {
    const answer = await this.client.call({ method, path, body, deadlineMs: 30_000 })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.failure.reason}`)
    return answer.body
  }
}
