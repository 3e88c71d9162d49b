/**
 * What stands behind a PVC, for whoever schedules its pod (SPEC.md L4): a volume of ours, one that is to be made when
 * its first pod has a place, or nothing of ours.
 */
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { recordOf, textOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { parseSize } from '../../../cluster/api/amounts.ts'
import { isText } from '../../../engine/value-shape.ts'
import { DRIVER_NAME } from '../../identity.ts'
import { parametersOf } from '../../controller/parameters.ts'
import { isVolumeId } from '../../names.ts'
import { FreshAnswers } from '../fresh-answers.ts'
import { volumeIdOf } from '../pod-claims.ts'

export type Claim =
  | { kind: 'bound'; volumeId: string }
  /** `parameters` as the API takes them. */
  | { kind: 'waiting'; sizeBytes: number; parameters: Record<string, string> }
  | { kind: 'foreign' }

const FOREIGN: Claim = { kind: 'foreign' }

export class ClaimLook {
  readonly #objects: FreshAnswers<ApiObject | undefined>

  /** @param deadlineMs  of each look at the API */
  constructor(client: ApiClient, deadlineMs: number) {
    this.#objects = new FreshAnswers(async (path) => {
      const answer = await client.call({ method: 'GET', path, deadlineMs })
      if (answer.ok) return answer.body
      // What is not there (yet) is waited for by the scheduler itself.
      if (answer.failure.status === 404) return undefined
      throw new Error(`${path}: ${answer.failure.reason}`)
    })
  }

  /** @throws Error, CsiRefusal: it is not known */
  async claim(namespace: string, name: string): Promise<Claim> {
    const place = `/api/v1/namespaces/${segment(namespace)}/persistentvolumeclaims/${segment(name)}`
    const spec = recordOf((await this.#objects.get(place))?.spec)
    const [volumeName, className] = [textOf(spec.volumeName), textOf(spec.storageClassName)]
    if (volumeName !== '') return this.#ofVolume(volumeName)
    return className === '' ? FOREIGN : this.#ofClass(className, spec)
  }

  async #ofVolume(name: string): Promise<Claim> {
    const volume = await this.#objects.get(`/api/v1/persistentvolumes/${segment(name)}`)
    const volumeId = volume && volumeIdOf(volume)
    return volumeId !== undefined && isVolumeId(volumeId) ? { kind: 'bound', volumeId } : FOREIGN
  }

  async #ofClass(name: string, spec: ApiObject): Promise<Claim> {
    const found = await this.#objects.get(`/apis/storage.k8s.io/v1/storageclasses/${segment(name)}`)
    if (found?.provisioner !== DRIVER_NAME || found.volumeBindingMode !== 'WaitForFirstConsumer') return FOREIGN
    const mutable = await this.#mutableParameters(textOf(spec.volumeAttributesClassName))
    const { storage } = recordOf(recordOf(spec.resources).requests)
    const sizeBytes = isText(storage) ? parseSize(storage) : undefined
    if (sizeBytes === undefined) throw new Error(`PVC of class ${name}: its size cannot be read`)
    return { kind: 'waiting', sizeBytes, parameters: parametersOf(parametersIn(found), mutable).flags }
  }

  /** Of an attributes class; without one, or with another driver's, no volume is made for now. */
  async #mutableParameters(name: string): Promise<Record<string, string>> {
    if (name === '') return {}
    for (const version of ATTRIBUTES_VERSIONS) {
      const path = `/apis/storage.k8s.io/${version}/volumeattributesclasses/${segment(name)}`
      const found = await this.#objects.get(path)
      if (found?.driverName === DRIVER_NAME) return parametersIn(found)
      if (found !== undefined) throw new Error(`volume attributes class ${name} is of another driver`)
    }
    throw new Error(`volume attributes class ${name} is not there`)
  }
}

/** The second one up to Kubernetes 1.33. */
const ATTRIBUTES_VERSIONS = ['v1', 'v1beta1'] as const

function parametersIn({ parameters }: ApiObject): Record<string, string> {
  const given = Object.entries(recordOf(parameters)).filter((one): one is [string, string] => isText(one[1]))
  return Object.fromEntries(given)
}
