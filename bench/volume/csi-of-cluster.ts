/** The CSI driver of a cluster of daemons as a suite drives it: calls as the sidecars and kubelet make them. */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { GENERATION } from '../../csi/controller/publish-volume.ts'
import { findProgram } from '../../csi/host/host-command.ts'
import type { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { ControllerProcess } from '../../test/csi/controller-process.ts'
import { CsiClient } from '../../test/csi/csi-client.ts'
import { NodeProcess } from '../../test/csi/node-process.ts'
import type { Scratch } from './scratch.ts'

type Ends = { teardown(end: () => unknown): void }

const CAPABILITY = {
  mount: { fsType: 'ext4', mountFlags: [], volumeMountGroup: '' }, accessMode: { mode: 'SINGLE_NODE_WRITER' },
}

/** `holdfast csi controller`. */
export class CsiController {
  readonly pid: number
  readonly #csi: CsiClient

  private constructor(pid: number, csi: CsiClient) {
    this.pid = pid
    this.#csi = csi
  }

  static async start(t: Ends, cluster: ClusterOfDaemons, scratch: Scratch): Promise<CsiController> {
    const controller = new ControllerProcess(t, cluster.node('n1').paths.api)
    await controller.start()
    scratch.watchOver(controller.pid)
    return new CsiController(controller.pid, new CsiClient(t, controller.socketPath))
  }

  /** Of three copies. @returns its id */
  async create(name: string, sizeBytes: number): Promise<string> {
    const { volume } = await this.#csi.call('Controller', 'CreateVolume', {
      name, capacityRange: { requiredBytes: sizeBytes, limitBytes: 0 }, volumeCapabilities: [CAPABILITY],
      parameters: { 'holdfast.io/replicas': '2' },
    })
    return volume.volumeId as string
  }

  /** @returns the publish context */
  async publish(volumeId: string, nodeId: string): Promise<Record<string, string>> {
    const request = { volumeId, nodeId, volumeCapability: CAPABILITY, readonly: false }
    const { publishContext } = await this.#csi.call('Controller', 'ControllerPublishVolume', request)
    if (publishContext[GENERATION] === undefined) throw new Error('it was published under no generation')
    return publishContext as Record<string, string>
  }

  async unpublish(volumeId: string, nodeId: string): Promise<void> {
    await this.#csi.call('Controller', 'ControllerUnpublishVolume', { volumeId, nodeId })
  }

  /** @returns how many, and where the next page begins */
  async list(maxEntries: number, startingToken = ''): Promise<{ count: number; nextToken: string }> {
    const { entries, nextToken } = await this.#csi.call('Controller', 'ListVolumes', { maxEntries, startingToken })
    return { count: entries.length, nextToken }
  }
}

/** Why no volume is mounted here; undefined: it can be. */
export function whyNotMounted(): string | undefined {
  if (process.getuid!() !== 0) return 'mounts need root'
  const missing = (['nbdfuse', 'losetup', 'mkfs.ext4'] as const).find((one) => findProgram(one) === undefined)
  return missing === undefined ? undefined : `${missing} is not installed`
}

/** `holdfast csi node --device fuse` beside n2. */
export class CsiNode {
  readonly #csi: CsiClient
  readonly #kubelet: string

  private constructor(csi: CsiClient, kubelet: string) {
    this.#csi = csi
    this.#kubelet = kubelet
  }

  static async start(t: Ends, cluster: ClusterOfDaemons): Promise<CsiNode> {
    const node = new NodeProcess(t, { endpoint: cluster.node('n2').paths.api })
    await node.start()
    return new CsiNode(new CsiClient(t, node.socketPath), node.kubelet)
  }

  /** A file system is made on it where it is blank. */
  async stage(volumeId: string, publishContext: Record<string, string>): Promise<void> {
    mkdirSync(this.#path(volumeId, 'staging'), { recursive: true })
    await this.#csi.call('Node', 'NodeStageVolume', this.#request(volumeId, publishContext))
  }

  async publish(volumeId: string, publishContext: Record<string, string>): Promise<void> {
    const request = { ...this.#request(volumeId, publishContext), targetPath: this.#path(volumeId, 'target') }
    await this.#csi.call('Node', 'NodePublishVolume', { ...request, readonly: false })
  }

  /** Nothing of it is left on the host. */
  async end(volumeId: string): Promise<void> {
    const stagingTargetPath = this.#path(volumeId, 'staging')
    await this.#csi.call('Node', 'NodeUnpublishVolume', { volumeId, targetPath: this.#path(volumeId, 'target') })
    await this.#csi.call('Node', 'NodeUnstageVolume', { volumeId, stagingTargetPath })
  }

  #request(volumeId: string, publishContext: Record<string, string>): object {
    const stagingTargetPath = this.#path(volumeId, 'staging')
    return { volumeId, publishContext, stagingTargetPath, volumeCapability: CAPABILITY, secrets: {} }
  }

  #path = (volumeId: string, name: string): string => path.join(this.#kubelet, volumeId, name)
}
