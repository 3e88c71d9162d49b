/**
 * A store in memory behind the worker's calls, for tests of what stands above the store: API, CLI, sessions. It keeps
 * the contract of `StoreApi`: one answer per call in a later turn, the same device for every caller.
 */
import { HoldfastError } from '../engine/errors.ts'
import type { QosLimits } from '../engine/volume/qos-limits.ts'
import type { Reply } from '../engine/volume/store-api.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from '../engine/volume/volume-spec.ts'
import type { PreparedDisk } from '../dataplane/disk-preparation.ts'
import type { WorkerStore } from '../dataplane/store-calls.ts'
import { MemoryDevice } from './memory-device.ts'

export class MemoryStore implements WorkerStore {
  readonly #volumes = new Map<string, { status: VolumeStatus; device: MemoryDevice }>()
  readonly #disks: DiskStatus[] = []
  stopped = false
  /** Answers wait until `release()` when set. */
  hold = false
  readonly #held: Array<() => void> = []

  release(): void {
    this.hold = false
    for (const run of this.#held.splice(0)) run()
  }

  #later(run: () => void): void {
    if (this.hold) this.#held.push(run)
    else setImmediate(run)
  }

  createVolume(spec: VolumeSpec, reply: Reply<VolumeStatus>): void {
    this.#later(() => {
      if (spec.pool !== 'default') {
        return reply({ ok: false, error: new HoldfastError('pool-not-found', { pool: spec.pool, tags: 'none' }) })
      }
      const device = new MemoryDevice({ sizeBytes: spec.sizeBytes, blockSizeBytes: spec.blockSizeBytes })
      const status: VolumeStatus = {
        spec, health: 'healthy', healthReason: '', epoch: 1, seq: 0, commitSeq: 0, usedBytes: 0, logicalBytes: 0,
        heldRequests: 0,
      }
      this.#volumes.set(spec.name, { status, device })
      reply({ ok: true, value: status })
    })
  }

  resizeVolume(name: string, sizeBytes: number, reply: Reply<VolumeStatus>): void {
    this.#later(() => {
      const { status, device } = this.#volumes.get(name)!
      const current = status.spec.sizeBytes
      if (sizeBytes < current) {
        return reply({ ok: false, error: new HoldfastError('volume-shrink', { name, current, size: sizeBytes }) })
      }
      status.spec.sizeBytes = device.sizeBytes = sizeBytes
      reply({ ok: true, value: status })
    })
  }

  setQos(name: string, qos: QosLimits | undefined, reply: Reply<VolumeStatus>): void {
    this.#later(() => {
      const { status } = this.#volumes.get(name)!
      const { qos: _former, ...spec } = status.spec
      status.spec = qos === undefined ? spec : { ...spec, qos }
      reply({ ok: true, value: status })
    })
  }

  deleteVolume(name: string, reply: Reply<void>): void {
    this.#later(() => {
      this.#volumes.delete(name)
      reply({ ok: true, value: undefined })
    })
  }

  volumes(): VolumeStatus[] {
    return [...this.#volumes.values()].map(({ status }) => structuredClone(status))
  }

  volume(name: string): VolumeStatus | undefined {
    return this.#volumes.get(name)?.status
  }

  device(name: string): MemoryDevice | undefined {
    return this.#volumes.get(name)?.device
  }

  disks(): DiskStatus[] {
    return this.#disks
  }

  /** A disk counts as added once it is named. */
  addDisk(disk: PreparedDisk, _otherNames: string[], reply: Reply<undefined>): void {
    const { file, pool, tags, segmentCount, segmentBytes, diskUuid } = disk
    const capacityBytes = segmentCount * segmentBytes
    this.#disks.push({
      uuid: diskUuid, path: file.path, pool, tags, state: 'online', reason: '', capacityBytes,
      freeBytes: capacityBytes, reserveBytes: 0, checksumErrors: 0,
    })
    this.#later(() => reply({ ok: true, value: undefined }))
  }

  stop(reply: Reply<void>): void {
    this.stopped = true
    this.#later(() => reply({ ok: true, value: undefined }))
  }
}
