/**
 * The store of one data worker, as its shell sees it: volumes over the streams this worker owns. Everything is
 * asynchronous by callback and ends in a value; `HoldfastError` is that value when the world refuses.
 */
import { HoldfastError } from '../errors.ts'
import type { BlockDevice } from './block-device.ts'
import type { QosLimits } from './qos-limits.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from './volume-spec.ts'

export type Result<T> = { ok: true; value: T } | { ok: false; error: HoldfastError }
export type Reply<T> = (result: Result<T>) => void

export interface StoreApi {
  /**
   * Durable on every disk of the pool that will hold a slice before the reply. The caller has checked name, size and
   * parameters.
   */
  createVolume(spec: VolumeSpec, reply: Reply<VolumeStatus>): void
  /** Grow at once; open sessions are served up to the new size. Shrinking is refused (`volume-shrink`). */
  resizeVolume(name: string, sizeBytes: number, reply: Reply<VolumeStatus>): void
  /** What clients may ask of it from now on; undefined: as much as they like. Durable before the reply. */
  setQos(name: string, qos: QosLimits | undefined, reply: Reply<VolumeStatus>): void
  /** Forget the volume and give its space back in the background. */
  deleteVolume(name: string, reply: Reply<void>): void
  volumes(): VolumeStatus[]
  volume(name: string): VolumeStatus | undefined
  /** The same object for every caller, for as long as the volume exists. */
  device(name: string): BlockDevice | undefined
  disks(): DiskStatus[]
  /** Finish what was accepted, checkpoint, mark the disks clean. Nothing may be submitted afterwards. */
  stop(reply: Reply<void>): void
}

export const failure = (
  code: ConstructorParameters<typeof HoldfastError>[0],
  detail: Record<string, string | number>,
) => ({ ok: false, error: new HoldfastError(code, detail) }) as const
