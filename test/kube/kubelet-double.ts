/**
 * What kubelet does for volumes of pods on one node, in its order and over the socket of the real `holdfast csi node`:
 * registers the driver, tells what is in use, waits for the attachment, stages and publishes; and all of that back.
 * It runs no containers: whoever asks is the pod, and writes where the volume is.
 */
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { CsiClient } from '../csi/csi-client.ts'
import type { NodeProcess } from '../csi/node-process.ts'
import type { KubeObjects } from './kube-objects.ts'
import type { Json } from './rendered-chart.ts'

const DRIVER = 'csi.holdfast.io'
const STORAGE = '/apis/storage.k8s.io/v1'
const TRIED_AGAIN: ReadonlySet<number> = new Set([status.ABORTED, status.FAILED_PRECONDITION, status.UNAVAILABLE])
/** kubelet's first pause. */
const AGAIN_MS = 500

interface Mounted {
  volumeId: string
  staging: string
  target: string
  /** As node status names it. */
  unique: string
}

export class Kubelet {
  readonly nodeName: string
  readonly #objects: KubeObjects
  readonly #node: NodeProcess
  readonly #csi: CsiClient
  /** By uid of the pod. */
  readonly #mounted = new Map<string, Mounted>()

  constructor(t: Pick<Test, 'teardown'>, objects: KubeObjects, nodeName: string, node: NodeProcess) {
    this.nodeName = nodeName
    this.#objects = objects
    this.#node = node
    this.#csi = new CsiClient(t, node.socketPath)
  }

  /** Its Node, and the driver on it as that tells of itself. */
  async register(): Promise<void> {
    const { nodeId, maxVolumesPerNode, accessibleTopology } = await this.#csi.call('Node', 'NodeGetInfo')
    const segments = accessibleTopology.segments as Record<string, string>
    const name = this.nodeName
    const { metadata } = await this.#objects.make('/api/v1/nodes', {
      apiVersion: 'v1', kind: 'Node',
      metadata: {
        name, labels: { 'kubernetes.io/hostname': name, ...segments },
        annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
      },
      status: {
        allocatable: { cpu: '8', memory: '16Gi', pods: '110' }, capacity: { cpu: '8', memory: '16Gi', pods: '110' },
        conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' }],
      },
    })
    // What a node that is not known to be ready is given, and its controller takes away.
    await this.#objects.change(this.#path, { spec: { taints: null } })
    await this.#objects.make(`${STORAGE}/csinodes`, {
      apiVersion: 'storage.k8s.io/v1', kind: 'CSINode',
      metadata: { name, ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid: metadata.uid }] },
      spec: {
        drivers: [{
          name: DRIVER, nodeID: nodeId, topologyKeys: Object.keys(segments),
          allocatable: { count: Number(maxVolumesPerNode) },
        }],
      },
    })
  }

  /** @returns where its volume is mounted, and how long the attachment and what came behind it took */
  async run(pod: Json): Promise<{ mounted: string; attachMs: number; mountMs: number }> {
    const { uid, namespace } = pod.metadata
    const claim = await this.#objects.until(
      `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${pod.spec.volumes[0].persistentVolumeClaim.claimName}`,
      ({ status }) => status.phase === 'Bound')
    const volumeName = claim.spec.volumeName as string
    const volume = (await this.#objects.find(`/api/v1/persistentvolumes/${volumeName}`))!
    const { volumeHandle: volumeId, fsType, volumeAttributes = {} } = volume.spec.csi
    const unique = `kubernetes.io/csi/${DRIVER}^${volumeId}`
    const digest = createHash('sha256').update(volumeId).digest('hex')
    const staging = path.join(this.#node.kubelet, 'plugins/kubernetes.io/csi', DRIVER, digest, 'globalmount')
    const target = path.join(this.#node.kubelet, 'pods', uid, 'volumes/kubernetes.io~csi', volumeName, 'mount')
    const beganMs = performance.now()
    this.#mounted.set(uid, { volumeId, staging, target, unique })
    await this.#tellInUse()
    let { attachmentMetadata } = await this.#attachment(volumeName, unique)
    const attachMs = performance.now() - beganMs
    mkdirSync(staging, { recursive: true })
    mkdirSync(path.dirname(target), { recursive: true })
    const volumeCapability = {
      mount: { fsType, mountFlags: volume.spec.mountOptions ?? [], volumeMountGroup: '' },
      accessMode: { mode: 'SINGLE_NODE_MULTI_WRITER' },
    }
    for (;;) {
      const request = {
        volumeId, stagingTargetPath: staging, publishContext: attachmentMetadata, volumeContext: volumeAttributes,
        volumeCapability, secrets: {},
      }
      try {
        await this.#csi.call('Node', 'NodeStageVolume', request)
        await this.#csi.call('Node', 'NodePublishVolume', { ...request, targetPath: target, readonly: false })
        break
      } catch (error) {
        // The attachment of a pod before may be seen once more; kubelet looks again, too.
        if (!TRIED_AGAIN.has((error as ServiceError).code)) throw error
        await sleep(AGAIN_MS)
        attachmentMetadata = (await this.#attachment(volumeName, unique)).attachmentMetadata
      }
    }
    if (claim.status.allocatedResourceStatuses?.storage !== undefined) await this.#grow(claim, volume, target, staging)
    return { mounted: target, attachMs, mountMs: performance.now() - beganMs - attachMs }
  }

  /** Status of the one that is there for its volume, when it is attached and this node was told. */
  async #attachment(volumeName: string, unique: string): Promise<Json> {
    await this.#objects.until(this.#path, ({ status: { volumesAttached = [] } }) =>
      (volumesAttached as Json[]).some(({ name }) => name === unique))
    const found = await this.#objects.untilOne(`${STORAGE}/volumeattachments`, ({ spec, metadata, status = {} }) =>
      status.attached === true && metadata.deletionTimestamp === undefined && spec.nodeName === this.nodeName
        && spec.source.persistentVolumeName === volumeName)
    return found.status as Json
  }

  /** The second half of what the resizer began. */
  async #grow({ metadata, spec }: Json, volume: Json, target: string, staging: string): Promise<void> {
    const volumeId = volume.spec.csi.volumeHandle as string
    await this.#csi.call('Node', 'NodeExpandVolume', {
      volumeId, volumePath: target, stagingTargetPath: staging, capacityRange: { requiredBytes: 0, limitBytes: 0 },
    })
    const { storage } = spec.resources.requests
    const place = `/api/v1/namespaces/${metadata.namespace}/persistentvolumeclaims/${metadata.name}/status`
    const done = { capacity: { storage }, allocatedResourceStatuses: null, conditions: null }
    await this.#objects.change(place, { status: done })
  }

  /** Nothing of its volume is on this host any more, then the pod is no more. */
  async end(pod: Json): Promise<void> {
    const { uid, name, namespace } = pod.metadata
    const { volumeId, staging, target } = this.#mounted.get(uid)!
    await this.#csi.call('Node', 'NodeUnpublishVolume', { volumeId, targetPath: target })
    await this.#csi.call('Node', 'NodeUnstageVolume', { volumeId, stagingTargetPath: staging })
    this.#mounted.delete(uid)
    await this.#objects.delete(`/api/v1/namespaces/${namespace}/pods/${name}`)
    await this.#tellInUse()
  }

  get #path(): string {
    return `/api/v1/nodes/${this.nodeName}`
  }

  async #tellInUse(): Promise<void> {
    const volumesInUse = [...this.#mounted.values()].map(({ unique }) => unique)
    await this.#objects.change(`${this.#path}/status`, { status: { volumesInUse } })
  }
}
