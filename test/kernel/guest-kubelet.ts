/**
 * Kubernetes' side of a story: the CSI controller and the node service of n3 as processes of this side, where volumes
 * become devices through FUSE, and the node service of the guest, which uses its kernel's NBD client.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServiceError } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { ControllerProcess } from '../csi/controller-process.ts'
import { CsiClient } from '../csi/csi-client.ts'
import type { Answer } from '../csi/csi-client.ts'
import { NodeProcess } from '../csi/node-process.ts'
import { answersTo } from './guest-csi.ts'
import type { GuestAnswer, GuestCall } from './guest-csi.ts'
import { OWN } from './kernel-guest.ts'
import { CLI, STATE } from './story.ts'
import type { Story } from './story.ts'

const GUEST_CSI = path.join(import.meta.dirname, 'guest-csi.ts')
const SOCKET = '/run/csi.sock'
/** What is asked there, line by line. */
const CALLS = '/run/csi.calls'
const KUBELET = `${OWN}/kubelet`
const CALL_MS = 120_000
const GIVE_UP_MS = 120_000
const SIDECAR_PAUSE_MS = 1000
const KUBELET_PAUSE_MS = 500
/** DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE. */
const ASKED_AGAIN = [4, 10, 13, 14]

export interface Capability {
  mount?: { fsType: string; mountFlags: string[]; volumeMountGroup: string }
  block?: object
  accessMode: { mode: string }
}

export const fileSystem = (fsType: string, mode = 'SINGLE_NODE_WRITER'): Capability =>
  ({ mount: { fsType, mountFlags: [], volumeMountGroup: '' }, accessMode: { mode } })
export const BLOCK: Capability = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }

export interface Published {
  volumeId: string
  capability: Capability
  publishContext: Record<string, string>
  /** So that what is staged of several volumes is apart. */
  name: string
}

/** One host's kubelet: where it stages, where a pod sees it, and how it calls. */
export interface Kubelet {
  readonly node: string
  at(name: string): string
  /** Up to the first that is refused. */
  call(calls: readonly GuestCall[]): Promise<GuestAnswer[]>
}

export class Kubernetes {
  readonly story: Story
  readonly guest: Kubelet
  readonly host: Kubelet
  readonly #controller: CsiClient

  private constructor(story: Story, controller: CsiClient, guest: Kubelet, host: Kubelet) {
    this.story = story
    this.#controller = controller
    this.guest = guest
    this.host = host
  }

  /** Nodes serve already. */
  static async start(story: Story): Promise<Kubernetes> {
    const t = { teardown: story.teardown } as Pick<Test, 'teardown'>
    const [n2, n3] = story.hosts
    const controller = new ControllerProcess(t, n2!.paths.api)
    const node = new NodeProcess(t, { endpoint: n3!.paths.api })
    await Promise.all([controller.start(), node.start(), startGuestNode(story)])
    const onHost = new CsiClient(t, node.socketPath)
    const host: Kubelet = {
      node: 'n3', at: (name) => path.join(node.kubelet, name), call: (calls) => answersTo(onHost, calls),
    }
    let files = 0
    const inGuest = async (calls: readonly GuestCall[]): Promise<GuestAnswer[]> => {
      const file = path.join(story.folder, `calls.${files++}.json`)
      writeFileSync(file, JSON.stringify(calls))
      const answered = `/run/csi.${files}`
      const said = await story.guest.must(`echo ${file} ${answered} > ${CALLS}; `
        + `until [ -e ${answered} ]; do sleep 0.1; done; cat ${answered}`)
      return JSON.parse(said) as GuestAnswer[]
    }
    const guest = { node: 'n1', at: (name: string) => `${KUBELET}/${name}`, call: inGuest }
    return new Kubernetes(story, new CsiClient(t, controller.socketPath), guest, host)
  }

  /** As sidecars ask: again a second later what may be asked again. */
  async controller(rpc: string, request: object): Promise<Answer> {
    for (const startedMs = performance.now(); ; await sleep(SIDECAR_PAUSE_MS)) {
      try {
        return await this.#controller.call('Controller', rpc, request, CALL_MS)
      } catch (error) {
        const { code, details } = error as ServiceError
        if (!ASKED_AGAIN.includes(code) || performance.now() - startedMs > GIVE_UP_MS) throw error
        this.story.tell(`${rpc} is asked again: ${details}`)
      }
    }
  }

  /** @returns its id */
  async create(
    name: string, requiredBytes: number, capability: Capability, source: object | null = null,
  ): Promise<string> {
    const { volume } = await this.controller('CreateVolume', {
      name, capacityRange: { requiredBytes }, volumeCapabilities: [capability], parameters: {}, secrets: {},
      volumeContentSource: source,
    })
    return volume.volumeId as string
  }

  async publish({ node }: Kubelet, volumeId: string, capability: Capability, name = volumeId): Promise<Published> {
    const { publishContext } = await this.controller('ControllerPublishVolume', {
      volumeId, nodeId: node, volumeCapability: capability, readonly: false,
    })
    return { volumeId, capability, publishContext, name }
  }

  async unpublish({ node: nodeId }: Kubelet, volumeId: string): Promise<void> {
    await this.controller('ControllerUnpublishVolume', { volumeId, nodeId })
  }

  /** Where the pod sees it, and how long each call took. @throws when one is refused for good */
  async show(kubelet: Kubelet, published: Published): Promise<{ target: string; ms: number[] }> {
    const ms = await this.#done(kubelet, [stageCall(kubelet, published), publishCall(kubelet, published)])
    return { target: targetOf(kubelet, published), ms }
  }

  /** Nothing of it is on that host any more. @throws when a call is refused for good */
  async hide(kubelet: Kubelet, { volumeId, name }: Pick<Published, 'volumeId' | 'name'>): Promise<void> {
    await this.#done(kubelet, [
      { rpc: 'NodeUnpublishVolume', request: { volumeId, targetPath: targetOf(kubelet, { name }) } },
      { rpc: 'NodeUnstageVolume', request: { volumeId, stagingTargetPath: kubelet.at(`${name}.staged`) } },
    ])
  }

  /** One after another, again half a second later what may be asked again. @returns how long each took, in the end */
  async #done(kubelet: Kubelet, calls: readonly GuestCall[]): Promise<number[]> {
    for (const startedMs = performance.now(); ; await sleep(KUBELET_PAUSE_MS)) {
      const answers = await kubelet.call(calls)
      const refused = answers.find(({ code }) => code !== 0)
      if (refused === undefined) return answers.map(({ ms }) => ms)
      const { code, message } = refused
      if (!ASKED_AGAIN.includes(code) || performance.now() - startedMs > GIVE_UP_MS) {
        throw new Error(`${kubelet.node}: ${code} ${message}`)
      }
      this.story.tell(`${kubelet.node} is asked again: ${message}`)
    }
  }
}

const targetOf = (kubelet: Kubelet, { name }: Pick<Published, 'name'>): string => kubelet.at(`${name}.shown`)

export function stageCall(kubelet: Kubelet, { volumeId, capability, publishContext, name }: Published): GuestCall {
  return {
    rpc: 'NodeStageVolume',
    request: {
      volumeId, publishContext, stagingTargetPath: kubelet.at(`${name}.staged`), volumeCapability: capability,
      secrets: {},
    },
  }
}

function publishCall(kubelet: Kubelet, { volumeId, capability, publishContext, name }: Published): GuestCall {
  return {
    rpc: 'NodePublishVolume',
    request: {
      volumeId, publishContext, stagingTargetPath: kubelet.at(`${name}.staged`),
      targetPath: targetOf(kubelet, { name }), volumeCapability: capability, readonly: false,
    },
  }
}

/** `holdfast csi node` of the guest, and who calls it, until its power goes. */
export async function startGuestNode({ guest }: Story): Promise<void> {
  const places = `--csi-endpoint unix://${SOCKET} --endpoint ${OWN}/n1 --state ${STATE} --kubelet-dir ${KUBELET}`
  const log = `${OWN}/csi.log`
  await guest.must(`mkdir -p ${KUBELET}; setsid ${process.execPath} ${CLI} csi node ${places} >> ${log} 2>&1 &
    mkfifo ${CALLS}; setsid ${process.execPath} ${GUEST_CSI} ${SOCKET} 0<> ${CALLS} > ${OWN}/calls.log 2>&1 &
    until [ -S ${SOCKET} ]; do sleep 0.1; done`)
}
