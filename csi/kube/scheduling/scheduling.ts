/**
 * What a scheduler is answered (SPEC.md L3 to L6): the volumes of a pod are looked up, and nodes judged by them. What
 * is not known in time filters nothing and scores nothing.
 */
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { CapacityAnswer, Node } from '../../../cluster/api/node-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { unless } from '../../controller/volumes.ts'
import type { ClaimLook } from '../health/claim-look.ts'
import { FreshAnswers } from '../fresh-answers.ts'
import { judgeNodes } from '../leaving/node-judgement.ts'
import type { Judged, Used } from '../leaving/node-judgement.ts'
import type { PodClaims } from '../pod-claims.ts'

/** A scheduler waits for 2 s. */
export const ANSWER_MS = 1800

export interface SchedulingOptions {
  api: Pick<ControlClient, 'listNodes' | 'getVolume' | 'capacity'>
  claims: Pick<ClaimLook, 'claim'>
  /** Nothing is asked of the API before it resolves. */
  mayAsk(): Promise<void>
  answerMs?: number
  log(line: string): void
}

export class Scheduling {
  readonly #options: SchedulingOptions
  readonly #nodes: FreshAnswers<Node[]>
  readonly #volumes: FreshAnswers<Volume | undefined>
  readonly #capacities: FreshAnswers<CapacityAnswer>

  constructor(options: SchedulingOptions) {
    this.#options = options
    const { api } = options
    this.#nodes = new FreshAnswers(async () => (await api.listNodes()).nodes)
    this.#volumes = new FreshAnswers((name) => unless('volume-not-found', api.getVolume({ name })))
    this.#capacities = new FreshAnswers((parameters) => api.capacity({
      parameters: JSON.parse(parameters) as Record<string, string>, node: '', zone: '', eachNode: true,
    }))
  }

  /** Undefined: nothing is known against any of them, nor for it. @param names  of nodes of Kubernetes */
  async judge(pod: PodClaims, names: readonly string[]): Promise<Map<string, Judged> | undefined> {
    if (pod.claims.length === 0) return undefined
    const { answerMs = ANSWER_MS, log } = this.#options
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it was not known within ${answerMs} ms`)), answerMs)
    })
    try {
      return await Promise.race([this.#look(pod, names), late])
    } catch (error) {
      log(`pod ${pod.namespace}/${pod.pod} is scheduled without a look at its volumes: ${(error as Error).message}`)
      return undefined
    } finally {
      clearTimeout(timer)
    }
  }

  async #look({ namespace, claims }: PodClaims, names: readonly string[]): Promise<Map<string, Judged> | undefined> {
    const found = await Promise.all(claims.map((name) => this.#used(namespace, name)))
    const used = found.filter((one) => one !== undefined)
    return used.length === 0 ? undefined : judgeNodes(names, await this.#nodes.get(''), used)
  }

  /** Undefined: it is none of ours, or not there any more. */
  async #used(namespace: string, name: string): Promise<Used | undefined> {
    const { claims, mayAsk } = this.#options
    const claim = await claims.claim(namespace, name)
    if (claim.kind === 'foreign') return undefined
    await mayAsk()
    if (claim.kind === 'bound') {
      const volume = await this.#volumes.get(claim.volumeId)
      return volume === undefined ? undefined : { kind: 'bound', volume }
    }
    const { sizeBytes, parameters } = claim
    const capacity = await this.#capacities.get(JSON.stringify(parameters))
    return { kind: 'waiting', sizeBytes, isStrict: parameters['data-locality'] === 'strict', capacity }
  }
}
