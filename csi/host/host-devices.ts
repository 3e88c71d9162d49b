/**
 * A volume as a block device of this host: what staging and `holdfast attach` ask, and the device keeper answers
 * (csi/SPEC.md section 5). Two ways of making one: the kernel's NBD client, and for trying out a FUSE file behind a
 * loop device. Neither mounts nor formats.
 *
 * Every call may be repeated, also after a process was killed in the middle of it. Calls about one volume are done one
 * after another. All reject with a HoldfastError; what it says can be acted on.
 */
import type { AttachMode } from '../../engine/replication/configuration.ts'

/** Which attachment is to be a device. */
export interface DeviceWish {
  /** 32 lower-case hex digits. */
  volumeId: string
  /** Attach generation; one that is older than one seen here for this volume is refused (N3). */
  generation: number
  mode: Exclude<AttachMode, 'open'>
  /** Also where the attachment could be written. */
  readOnly?: boolean
  /** Folder of the node whose data process serves this host; its `attached/` has the attachment's socket. */
  nodeFolder: string
  /** Of the volume: how long I/O is held; 0: for ever. */
  ioTimeoutMs: number
}

/** What was staged with a device: noted before it is done, so that a half-done stage can be undone. */
export interface StagedMount {
  path: string
  /** Empty: a block device, not a file system. */
  fileSystem: string
  options: readonly string[]
}

export interface DeviceNotes {
  mounts: readonly StagedMount[]
}

export interface HostDevice extends DeviceNotes {
  volumeId: string
  generation: number
  mode: DeviceWish['mode']
  /** `/dev/nbd3`: a block device that has its size, when `attach` has answered. */
  path: string
  state: 'attaching' | 'attached' | 'detaching'
  sizeBytes: number
  blockSizeBytes: number
  readOnly: boolean
}

export interface DetachOptions {
  /** Also while it is in use: whoever uses it gets errors from then on. For one whose attachment is over. */
  force?: boolean
}

export interface HostDevices {
  /**
   * The device is there, has its size, and is kept until `detach`. Of a newer generation than that of a device which
   * is there, the former one is detached first.
   */
  attach(wish: DeviceWish): Promise<HostDevice>
  /**
   * Gone, as the kernel shows; what was mounted is unmounted before by the caller. None there: done.
   * In use, as far as that shows without opening it: refused (`device-busy`), and nothing is touched.
   */
  detach(volumeId: string, options?: DetachOptions): Promise<void>
  /** The device shows at least so much: a volume that has grown. */
  resize(volumeId: string, sizeBytes: number): Promise<HostDevice>
  find(volumeId: string): Promise<HostDevice | undefined>
  list(): Promise<HostDevice[]>
  /** Durable when answered, and before the step that it announces. Of a volume that has a device or is getting one. */
  note(volumeId: string, notes: DeviceNotes): Promise<HostDevice>
}
