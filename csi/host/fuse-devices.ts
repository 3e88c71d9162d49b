/**
 * `host.device: fuse`: volumes as loop devices over nbdfuse, where the kernel has no NBD client. For tests and for
 * trying out only, and only where it is named: I/O is not held while the data process restarts, and a device that is
 * in use does not grow.
 *
 *     attachment socket -> nbdfuse: STATE/fuse/<volume id>/disk -> /dev/loopN, entry in STATE/fuse/devices
 *
 * What is there is what /sys, mountinfo and /proc show; the entry says only what was wished and noted. Each step
 * looks whether it is done, so any of them may be repeated, after a kill too.
 */
import { mkdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import { DeviceTable, TABLE_VERSION } from './device-table.ts'
import type { TableEntry } from './device-table.ts'
import { FuseServer } from './fuse-server.ts'
import type { DetachOptions, DeviceNotes, DeviceWish, HostDevice, HostDevices } from './host-devices.ts'
import { endLoop, loopOf, makeLoop } from './loop-devices.ts'

const ATTACHED_FOLDER = 'attached'

export interface FuseDevicesOptions {
  stateFolder: string
  /** Sector size that the volume shows. */
  blockSizeOf(volumeId: string): Promise<number>
}

export class FuseDevices implements HostDevices {
  readonly #o: FuseDevicesOptions
  readonly #dir: string
  /** Of its own: the keeper of kernel devices knows nothing of these. */
  readonly #table: DeviceTable

  constructor(options: FuseDevicesOptions) {
    this.#o = options
    const dir = path.join(options.stateFolder, 'fuse')
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    // As mountinfo and /sys have it.
    this.#dir = realpathSync(dir)
    this.#table = new DeviceTable(this.#dir)
  }

  async attach(wish: DeviceWish): Promise<HostDevice> {
    const { volumeId, generation, mode, readOnly = mode === 'read-only', nodeFolder } = wish
    const present = this.#entry(volumeId)
    if (present !== undefined && present.generation > generation) {
      const reason = `generation ${present.generation} was seen on this host`
      throw new HoldfastError('generation-past', { volume: volumeId, asked: generation, reason })
    }
    const isSame = present?.generation === generation && present.readOnly === readOnly && present.state !== 'detaching'
    if (present !== undefined && !isSame) await this.#end(present)
    const [server, file] = [this.#server(volumeId), this.#file(volumeId)]
    // Without its server a loop device is worth nothing, and whoever has it open may not get another one's data.
    if (!server.isServing) await endLoop(file)
    const blockSizeBytes = await this.#o.blockSizeOf(volumeId)
    const mounts = isSame ? present.mounts : []
    const socket = path.join(path.resolve(nodeFolder), ATTACHED_FOLDER, `${volumeId}.${generation}`)
    const entry: TableEntry = {
      version: TABLE_VERSION, volumeId, generation, mode, readOnly, mounts, blockSizeBytes, socket,
      device: { kind: 'fuse', mountPoint: path.dirname(file) }, backend: '', sizeBytes: 0, connections: 0,
      deadConnectionMs: 0, state: 'attaching',
    }
    if (!isSame) this.#table.save(entry)
    await server.start({ exportName: volumeId, socketPath: socket, isReadOnly: readOnly })
    await makeLoop(file, { isReadOnly: readOnly, blockSizeBytes })
    if (present?.state !== 'attached' || !isSame) this.#table.save({ ...entry, state: 'attached' })
    return (await this.find(volumeId))!
  }

  async detach(volumeId: string, { force = false }: DetachOptions = {}): Promise<void> {
    const entry = this.#entry(volumeId)
    if (entry === undefined) return
    // Without it the loop device fails, and whoever waits for it waits no longer.
    if (force) await this.#server(volumeId).kill()
    await this.#end(entry)
    this.#table.remove(volumeId)
  }

  async resize(volumeId: string, sizeBytes: number): Promise<HostDevice> {
    const device = await this.find(volumeId)
    if (device === undefined) throw new HoldfastError('volume-not-found', { name: volumeId })
    if (device.sizeBytes >= sizeBytes) return device
    const present = `${device.sizeBytes} bytes`
    throw new HoldfastError('device-kept', { device: device.path, volume: volumeId, present })
  }

  find(volumeId: string): Promise<HostDevice | undefined> {
    const entry = this.#entry(volumeId)
    if (entry === undefined) return Promise.resolve(undefined)
    const loop = loopOf(this.#file(volumeId))
    const state = loop === undefined && entry.state === 'attached' ? 'attaching' : entry.state
    const { generation, mode, readOnly, mounts, blockSizeBytes } = entry
    const shown = { path: loop?.path ?? '', sizeBytes: loop?.sizeBytes ?? 0, blockSizeBytes, readOnly }
    return Promise.resolve({ volumeId, generation, mode, state, ...shown, mounts })
  }

  async list(): Promise<HostDevice[]> {
    const found = await Promise.all(this.#table.read().map(({ volumeId }) => this.find(volumeId)))
    return found.filter((device) => device !== undefined)
  }

  async note(volumeId: string, { mounts }: DeviceNotes): Promise<HostDevice> {
    const entry = this.#entry(volumeId)
    if (entry === undefined) throw new HoldfastError('volume-not-found', { name: volumeId })
    this.#table.save({ ...entry, mounts })
    return (await this.find(volumeId))!
  }

  /** Nothing of it is left but its entry. @throws HoldfastError `device-busy`: somebody uses it */
  async #end(entry: TableEntry): Promise<void> {
    if (entry.state !== 'detaching') this.#table.save({ ...entry, state: 'detaching' })
    await endLoop(this.#file(entry.volumeId))
    await this.#server(entry.volumeId).end()
  }

  #entry(volumeId: string): TableEntry | undefined {
    return this.#table.read().find((entry) => entry.volumeId === volumeId)
  }

  #server(volumeId: string): FuseServer {
    return new FuseServer(path.join(this.#dir, volumeId))
  }

  #file(volumeId: string): string {
    return this.#server(volumeId).file
  }
}
