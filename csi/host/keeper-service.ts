/** `holdfast.v1.KeeperService` (proto/holdfast/v1/keeper.proto): the devices of a host for other processes of it. */
import path from 'node:path'
import { GrpcClient } from '../../cluster/api/grpc-client.ts'
import { serveGrpc } from '../../cluster/api/grpc-server.ts'
import type { ApiServer } from '../../cluster/api/grpc-server.ts'
import { loadServices } from '../../cluster/api/proto.ts'
import { peerUid } from '../../cluster/libc.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { DetachOptions, DeviceNotes, DeviceWish, HostDevice, HostDevices } from './host-devices.ts'

/** A device that is in use may take its time to be let go of. */
const CALL_MS = 60_000

const definition = () => loadServices(['keeper'], ['KeeperService']).KeeperService!

export const keeperSocket = (stateFolder: string): string => path.join(stateFolder, 'keeper.sock')

export function serveKeeper(
  stateFolder: string, devices: HostDevices, onBug: (error: unknown) => void,
): Promise<ApiServer> {
  const calls = {
    Attach: async (wish: DeviceWish) => devices.attach(checkedWish(wish)),
    Detach: async ({ volumeId, force }: { volumeId: string; force: boolean }) => {
      await devices.detach(volumeId, { force })
      return {}
    },
    Resize: async ({ volumeId, sizeBytes }: { volumeId: string; sizeBytes: number }) => {
      checkVolumeId(volumeId)
      // The kernel takes whatever it is told, and shows that much.
      if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1 || sizeBytes % 512 !== 0) refuse('size', sizeBytes)
      return devices.resize(volumeId, sizeBytes)
    },
    List: async () => ({ devices: await devices.list() }),
    Note: ({ volumeId, mounts }: DeviceNotes & { volumeId: string }) => {
      return devices.note(volumeId, { mounts })
    },
  }
  return serveGrpc({ socketPath: keeperSocket(stateFolder), peerUid }, [{ definition: definition(), calls }], onBug)
}

function refuse(what: string, given: unknown): never {
  throw new HoldfastError('device-wish', { what, given: JSON.stringify(given) })
}

/** It becomes the name of a file. */
function checkVolumeId(volumeId: string): void {
  if (!/^[0-9a-f]{32}$/.test(volumeId)) refuse('volume id', volumeId)
}

function checkedWish(wish: DeviceWish): DeviceWish {
  const { volumeId, generation, mode, nodeFolder, ioTimeoutMs } = wish
  checkVolumeId(volumeId)
  if (!Number.isSafeInteger(generation) || generation < 1) refuse('generation', generation)
  if (!['single', 'shared', 'read-only'].includes(mode)) refuse('mode', mode)
  if (!path.isAbsolute(nodeFolder)) refuse('folder of a node', nodeFolder)
  if (!Number.isSafeInteger(ioTimeoutMs) || ioTimeoutMs < 0) refuse('time', ioTimeoutMs)
  return wish
}

/** The devices of the keeper that serves there. Rejects with `unreachable` while none does. */
export class RemoteDevices implements HostDevices {
  readonly #client: GrpcClient

  constructor(stateFolder: string) {
    const endpoint = keeperSocket(stateFolder)
    this.#client = new GrpcClient({ address: `unix:${endpoint}`, endpoint, source: 'the keeper of devices' })
  }

  close(): void {
    this.#client.close()
  }

  attach(wish: DeviceWish): Promise<HostDevice> {
    return this.#call<HostDevice>('Attach', { readOnly: false, ...wish })
  }

  async detach(volumeId: string, { force = false }: DetachOptions = {}): Promise<void> {
    await this.#call<object>('Detach', { volumeId, force })
  }

  resize(volumeId: string, sizeBytes: number): Promise<HostDevice> {
    return this.#call<HostDevice>('Resize', { volumeId, sizeBytes })
  }

  async find(volumeId: string): Promise<HostDevice | undefined> {
    return (await this.list()).find((device) => device.volumeId === volumeId)
  }

  async list(): Promise<HostDevice[]> {
    return (await this.#call<{ devices: HostDevice[] }>('List', {})).devices
  }

  note(volumeId: string, { mounts }: DeviceNotes): Promise<HostDevice> {
    return this.#call<HostDevice>('Note', { volumeId, mounts })
  }

  #call<T>(rpc: string, request: object): Promise<T> {
    return this.#client.call(definition(), rpc, request, CALL_MS) as Promise<T>
  }
}
