/**
 * Calls of Kubernetes in every order, against the real decisions of the control plane (ControlCluster: nodes without
 * bytes). Each call may be sent again, or late; each step that it takes at the control API may be cut off before it is
 * done or before its answer comes; and the process may be another one at each call. What Kubernetes was
 * told OK has to be so, what it was refused with has to be so too, and at the end, without faults, everything goes.
 */
import type { Test } from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { controllerServices } from '../../../csi/controller/controller-services.ts'
import { NodeProtocols } from '../../../csi/controller/node-protocols.ts'
import { unless } from '../../../csi/controller/volumes.ts'
import { NAME_LABEL } from '../../../csi/names.ts'
import { Operations } from '../../../csi/operations.ts'
import { refusalOf } from '../../../csi/refusal.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { ControlCluster } from '../../cluster/reconcile/control-cluster.ts'
import { Random } from '../../sim/random.ts'

const NODES = ['n1', 'n2', 'n3'] as const
const NAMES = ['pvc-one', 'PVC/Two'] as const
const FOREIGN = ['vol-0123', 'f'.repeat(32)] as const
const STATUS = { exists: 6, notFound: 5, precondition: 9, aborted: 10, unavailable: 14, range: 11 } as const
const CUT_PERMILLE = 120
const CALLS = 40

type Calls = Record<string, (request: never) => Promise<any>>
type Answer = { ok: true; value: any } | { ok: false; code: number; why: string; isBug: boolean }

/** What Kubernetes knows of a volume that it asked for. */
interface Known {
  id: string
  /** Snapshot ids by name. */
  snapshots: Map<string, string>
}

export class CallStory {
  private readonly random: Random
  private readonly cluster: ControlCluster
  /** Without faults. */
  private readonly truth: ControlClient
  private readonly api: ControlClient
  private calls: Calls
  private cutPermille = CUT_PERMILLE
  private wasCut = false
  private readonly known = new Map<string, Known>()
  readonly told: string[] = []

  private constructor(cluster: ControlCluster, seed: number) {
    this.cluster = cluster
    this.random = new Random(seed)
    this.truth = cluster.elected()[0]!.volumes as unknown as ControlClient
    this.api = this.cutting(this.truth)
    this.calls = this.process()
  }

  /** @returns the first thing that was told and is not so, with what led to it; undefined: there is none */
  static async run(t: Test, seed: number): Promise<string | undefined> {
    const cluster = await ControlCluster.start(t, NODES)
    await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
    const story = new CallStory(cluster, seed)
    const wrong = await story.tell()
    return wrong === undefined ? undefined : `seed ${seed}: ${wrong}; ${story.told.slice(-12).join('; ')}`
  }

  /** Another process of `holdfast csi controller`: nothing of the one before is left. */
  private process(): Calls {
    const diff = async function* (): AsyncGenerator<never> {}
    const protocols = new NodeProtocols(this.api, () => this.cluster.nowMs)
    const mayAsk = () => protocols.check()
    const options = { api: this.api, diff, operations: new Operations(), volumesMax: 0, mayAsk, log: () => undefined }
    const services = controllerServices(options)
    return Object.assign({}, ...services.map(({ calls }) => calls)) as Calls
  }

  /** A step is cut off before it is done, or when it is done and nobody hears of it. */
  private cutting(api: ControlClient): ControlClient {
    const lost = (): HoldfastError => {
      this.wasCut = true
      return new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'the answer did not come' })
    }
    return new Proxy(api, {
      get: (target, method: keyof ControlClient) => async (request: never) => {
        if (this.random.int(1000) < this.cutPermille) throw lost()
        const answer = await (target[method] as (request: never) => Promise<unknown>)(request)
        if (this.random.int(1000) < this.cutPermille) throw lost()
        return answer
      },
    })
  }

  private async tell(): Promise<string | undefined> {
    for (let i = 0; i < CALLS; i++) {
      if (this.random.int(8) === 0) this.calls = this.process()
      const wrong = await this.step()
      if (wrong !== undefined) return wrong
    }
    this.cutPermille = 0
    return this.end()
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.random.int(list.length)]!
  }

  private async ask(rpc: string, request: object): Promise<Answer> {
    this.wasCut = false
    const answer = await this.cluster.answered(this.answerOf(rpc, request))
    this.told.push(`${rpc} ${JSON.stringify(request)} ${answer.ok ? 'OK' : `${answer.code} ${answer.why}`}`)
    return answer
  }

  private async answerOf(rpc: string, request: object): Promise<Answer> {
    try {
      return { ok: true, value: await this.calls[rpc]!(request as never) }
    } catch (error) {
      const refusal = refusalOf(error)
      const why = refusal?.message ?? (error as Error).stack!
      return { ok: false, code: refusal?.code ?? 13, why, isBug: refusal === undefined }
    }
  }

  /** Now and then twice in a row. */
  private async step(): Promise<string | undefined> {
    const one = this.drawn()
    return await one() ?? (this.random.int(4) === 0 ? one() : undefined)
  }

  private drawn(): () => Promise<string | undefined> {
    const name = this.pick(NAMES)
    const node = this.pick(NODES)
    const bytes = (1 + this.random.int(3)) * MIB
    const title = this.pick(['s1', 'S 2'])
    const id = this.random.int(6) === 0 ? this.pick(FOREIGN) : this.known.get(name)?.id ?? this.pick(FOREIGN)
    const draw = this.random.int(20)
    if (draw < 5) return () => this.create(name, bytes, this.pick(['', '1', '1']))
    if (draw < 7) return () => this.delete(name, id)
    if (draw < 11) return () => this.publish(id, node, this.random.int(5) === 0)
    if (draw < 14) return () => this.unpublish(id, this.pick([node, node, '']))
    if (draw < 16) return () => this.expand(id, bytes)
    if (draw < 19) return () => this.snapshot(name, id, title)
    return () => this.deleteSnapshot(name, title)
  }

  /** As soon as all nodes have spoken. */
  private async volumes(): Promise<Volume[]> {
    let volumes: Volume[] | undefined
    await this.cluster.until('all is known', async () => {
      volumes = (await unless('no-controller', this.truth.listVolumes()))?.volumes
      return volumes !== undefined
    })
    return volumes!
  }

  private async volume(id: string): Promise<Volume | undefined> {
    const volumes = await this.volumes()
    return volumes.find((one) => one.id === id)
  }

  /** Whatever it is, the caller may come again, and does not believe anything. */
  private passes(answer: Exclude<Answer, { ok: true }>): boolean {
    return !answer.isBug && (answer.code === STATUS.aborted || answer.code === STATUS.unavailable)
  }

  private async create(name: string, bytes: number, replicas: string): Promise<string | undefined> {
    const answer = await this.ask('CreateVolume', {
      name, capacityRange: { requiredBytes: bytes, limitBytes: bytes + MIB },
      volumeCapabilities: [{ block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
      parameters: replicas === '' ? {} : { 'holdfast.io/replicas': replicas }, secrets: {}, volumeContentSource: null,
      accessibilityRequirements: null, mutableParameters: {},
    })
    const volumes = await this.volumes()
    const own = volumes.filter(({ labels }) => labels[NAME_LABEL] === name)
    if (own.length > 1) return `${own.length} volumes were made for ${name}`
    const [there] = own
    const wanted = replicas === '' ? 2 : Number(replicas)
    const fits = there !== undefined && there.replicas === wanted && there.sizeBytes >= bytes
      && there.sizeBytes <= bytes + MIB
    if (!answer.ok) {
      if (this.passes(answer)) return undefined
      return answer.code === STATUS.exists && there !== undefined && !fits ? undefined : `refused: ${answer.why}`
    }
    const { volumeId, capacityBytes } = answer.value.volume
    if (there?.id !== volumeId || !fits || there!.sizeBytes !== capacityBytes) return 'it is another one'
    const known = this.known.get(name)
    if (known?.id !== volumeId) this.known.set(name, { id: volumeId, snapshots: new Map() })
    return undefined
  }

  private async delete(name: string, id: string): Promise<string | undefined> {
    const before = await this.volume(id)
    const answer = await this.ask('DeleteVolume', { volumeId: id, secrets: {} })
    const there = await this.volume(id)
    if (answer.ok) {
      const known = this.known.get(name)
      if (known?.id === id && known.snapshots.size > 0) return 'a volume was deleted with its snapshots'
      if (before !== undefined && before.attach.holders.length > 0) return 'a volume was deleted that is published'
      return there === undefined ? undefined : 'deleted, and it is there'
    }
    if (this.passes(answer)) return undefined
    const isUsed = there !== undefined && (there.attach.holders.length > 0 || await this.hasSnapshots(id))
    return answer.code === STATUS.precondition && isUsed ? undefined : `refused: ${answer.why}`
  }

  private async hasSnapshots(volume: string): Promise<boolean> {
    const { snapshots } = await this.cluster.answered(this.truth.listSnapshots({ volume, limit: 0, after: '' }))
    return snapshots.length > 0
  }

  private async publish(volumeId: string, nodeId: string, isRead: boolean): Promise<string | undefined> {
    const before = await this.volume(volumeId)
    const answer = await this.ask('ControllerPublishVolume', {
      volumeId, nodeId, volumeCapability: { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }, readonly: isRead,
    })
    const there = await this.volume(volumeId)
    const mode = isRead ? 'read-only' : 'single'
    const others = (before?.attach.holders ?? []).filter(({ node }) => node !== nodeId)
    if (answer.ok) {
      if (there === undefined) return 'published, and there is no such volume'
      const { attach } = there
      const held = attach.holders.find(({ node }) => node === nodeId)
      const { 'holdfast.io/generation': generation, 'holdfast.io/mode': told } = answer.value.publishContext
      if (held === undefined || String(held.generation) !== generation) return 'published under another generation'
      if (attach.mode !== mode || told !== mode) return `published in mode ${attach.mode}`
      if (mode === 'single' && attach.holders.length > 1) return 'two nodes write'
      return others.every(({ node }) => attach.holders.some((one) => one.node === node)) ? undefined
        : 'it was taken away from another node'
    }
    if (this.passes(answer)) return undefined
    if (answer.code === STATUS.notFound && before === undefined) return undefined
    const isHeld = (there?.attach.holders ?? []).some(({ node }) => node !== nodeId) || others.length > 0
    if (answer.code === STATUS.precondition && isHeld) return undefined
    const isOther = before !== undefined && before.attach.holders.some(({ node }) => node === nodeId)
      && before.attach.mode !== mode
    return answer.code === STATUS.exists && isOther ? undefined : `refused: ${answer.why}`
  }

  private async unpublish(volumeId: string, nodeId: string): Promise<string | undefined> {
    const answer = await this.ask('ControllerUnpublishVolume', { volumeId, nodeId, secrets: {} })
    const holders = (await this.volume(volumeId))?.attach.holders ?? []
    if (!answer.ok) return this.passes(answer) ? undefined : `refused: ${answer.why}`
    const isHeld = nodeId === '' ? holders.length > 0 : holders.some(({ node }) => node === nodeId)
    return isHeld ? `unpublished, and ${nodeId} holds it` : undefined
  }

  private async expand(volumeId: string, bytes: number): Promise<string | undefined> {
    const before = await this.volume(volumeId)
    const answer = await this.ask('ControllerExpandVolume', {
      volumeId, capacityRange: { requiredBytes: bytes, limitBytes: 0 }, secrets: {},
      volumeCapability: { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } },
    })
    const there = await this.volume(volumeId)
    if (answer.ok) {
      const least = Math.max(bytes, before?.sizeBytes ?? 0)
      return there !== undefined && there.sizeBytes >= least && answer.value.capacityBytes === there.sizeBytes
        ? undefined : `grown to ${answer.value.capacityBytes}, and it has ${there?.sizeBytes}`
    }
    if (this.passes(answer)) return undefined
    return answer.code === STATUS.notFound && before === undefined ? undefined : `refused: ${answer.why}`
  }

  private async snapshot(name: string, sourceVolumeId: string, title: string): Promise<string | undefined> {
    const before = await this.volume(sourceVolumeId)
    const full = `${title} of ${name}`
    const answer = await this.ask('CreateSnapshot', { sourceVolumeId, name: full, secrets: {}, parameters: {} })
    if (!answer.ok) {
      if (this.passes(answer)) return undefined
      return answer.code === STATUS.notFound && before === undefined ? undefined : `refused: ${answer.why}`
    }
    const { snapshotId, sourceVolumeId: of } = answer.value.snapshot
    const known = this.known.get(name)
    if (of !== sourceVolumeId || !await this.hasSnapshot(snapshotId)) return 'a snapshot was told that is not there'
    if (known?.id !== sourceVolumeId) return undefined
    const earlier = known.snapshots.get(title)
    known.snapshots.set(title, snapshotId)
    return earlier === undefined || earlier === snapshotId ? undefined : 'the same snapshot twice'
  }

  private async hasSnapshot(handle: string): Promise<boolean> {
    const [volume = '', id = ''] = handle.split('.')
    const { snapshots } = await this.cluster.answered(this.truth.listSnapshots({ volume, limit: 0, after: '' }))
    return snapshots.some((one) => one.id === id)
  }

  private async deleteSnapshot(name: string, title: string): Promise<string | undefined> {
    const known = this.known.get(name)
    const snapshotId = known?.snapshots.get(title) ?? this.pick([`${FOREIGN[1]}.${FOREIGN[1]}`, 'snap-1'])
    const answer = await this.ask('DeleteSnapshot', { snapshotId, secrets: {} })
    // Who was cut off comes again: it may be gone by then.
    if (!answer.ok) {
      if (this.wasCut && !answer.isBug) return this.retryDelete(known, title, snapshotId)
      return this.passes(answer) ? undefined : `refused: ${answer.why}`
    }
    return this.gone(known, title, snapshotId)
  }

  private async retryDelete(known: Known | undefined, title: string, snapshotId: string): Promise<string | undefined> {
    for (let i = 0; i < 50; i++) {
      const answer = await this.ask('DeleteSnapshot', { snapshotId, secrets: {} })
      if (answer.ok) return this.gone(known, title, snapshotId)
      if (!this.passes(answer)) return `refused: ${answer.why}`
    }
    return 'a snapshot is not deleted however often it is asked for'
  }

  private async gone(known: Known | undefined, title: string, snapshotId: string): Promise<string | undefined> {
    known?.snapshots.delete(title)
    const isOfOurs = known !== undefined && snapshotId.startsWith(`${known.id}.`)
    if (!isOfOurs || await this.volume(known.id) === undefined) return undefined
    return await this.hasSnapshot(snapshotId) ? 'a snapshot was deleted, and it is there' : undefined
  }

  /** Without faults each call is answered once and for all, and nothing is left. */
  private async end(): Promise<string | undefined> {
    const volumes = await this.volumes()
    for (const { id } of volumes) {
      const wrong = await this.unpublish(id, '')
      if (wrong !== undefined) return wrong
      const { snapshots } = await this.cluster.answered(this.truth.listSnapshots({ volume: id, limit: 0, after: '' }))
      for (const one of snapshots) {
        const answer = await this.ask('DeleteSnapshot', { snapshotId: `${id}.${one.id}`, secrets: {} })
        if (!answer.ok) return `at the end: ${answer.why}`
      }
      const answer = await this.ask('DeleteVolume', { volumeId: id, secrets: {} })
      if (!answer.ok) return `at the end: ${answer.why}`
    }
    const left = (await this.volumes()).length
    return left === 0 ? undefined : `${left} volumes are left`
  }
}
