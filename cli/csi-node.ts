/**
 * `holdfast csi node`: CSI's Node side of one host on a unix socket, until it is told to end. Devices and mounts stay
 * as they are when it ends: pods go on using them.
 */
import { mkdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { connectControlApi } from '../cluster/api/client.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import type { Node } from '../cluster/api/definition.ts'
import { FuseDevices } from '../csi/host/fuse-devices.ts'
import type { HostDevices } from '../csi/host/host-devices.ts'
import { DEFAULT_STATE, runKeeper } from '../csi/host/keeper-run.ts'
import { KubeletFolder } from '../csi/host/kubelet-paths.ts'
import { identityService } from '../csi/identity.ts'
import { KeyAtStage } from '../csi/node/key-at-stage.ts'
import { nodeService } from '../csi/node/node-service.ts'
import { Operations } from '../csi/operations.ts'
import { serveCsi } from '../csi/server.ts'
import { version } from '../dataplane/version.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { csiSocketOf, volumesMaxOf } from './csi-controller.ts'
import { findEndpoint } from './endpoint.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

const GRACE_MS = 10_000
/** Of the data process on this host. */
const CALL_MS = 20_000
const KUBELET_FOLDER = '/var/lib/kubelet'

const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`)

/** The node whose daemon the endpoint is: it and kubelet are on one host. */
async function nodeHere(api: ControlClient, socketPath: string): Promise<Node> {
  const folder = realpathSync(path.dirname(socketPath))
  const { nodes } = await api.listNodes()
  const node = nodes.find((one) => one.folder === folder)
  if (node !== undefined) return node
  throw usageError(`no node of the cluster has ${folder} as its folder`, 'name the folder of the node of this host')
}

interface Devices {
  devices: HostDevices
  close(): Promise<void>
}

async function devicesOf(given: Arguments, api: ControlClient, stateFolder: string): Promise<Devices> {
  const kind = given.text('device') ?? 'nbd'
  if (kind === 'fuse') {
    const blockSizeOf = async (name: string): Promise<number> => (await api.getVolume({ name })).blockSizeBytes
    return { devices: new FuseDevices({ stateFolder, blockSizeOf }), close: () => Promise.resolve() }
  }
  if (kind !== 'nbd') throw usageError(`--device ${kind} is not known`, 'nbd or fuse')
  const event = (level: string, message: string, fields: object): void =>
    log(`${level}: ${message} ${JSON.stringify(fields)}`)
  const onBug = (error: unknown): void => {
    log(error instanceof Error ? error.stack ?? error.message : String(error))
    process.exit(EXIT_FAILED)
  }
  return runKeeper({ stateFolder, log: { event }, onBug })
}

export async function runCsiNode({ arguments: given, output }: Invocation): Promise<number> {
  const socketPath = csiSocketOf(given)
  const volumesMax = volumesMaxOf(given)
  const kubelet = new KubeletFolder(given.text('kubelet-dir') ?? KUBELET_FOLDER)
  const stateFolder = path.resolve(given.text('state') ?? DEFAULT_STATE)
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const endpoint = await findEndpoint(given.text('endpoint'))
  const api = connectControlApi(endpoint, CALL_MS)
  const { name: node, id, zone } = await nodeHere(api, endpoint.socketPath)
  const { devices, close } = await devicesOf(given, api, stateFolder)
  const services = [
    identityService({ version: version(), probe: () => api.listNodes(), log }),
    nodeService({
      api, kubelet, node, zone, volumesMax, nodeFolder: path.dirname(endpoint.socketPath),
      devices, keys: new KeyAtStage(api, id, stateFolder),
      operations: new Operations(),
    }),
  ]
  const server = await serveCsi({ socketPath, services, log })
  output.result({ socket: socketPath, node }, () => [`holdfast csi node listens at ${socketPath}, for node ${node}`])
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  await server.close(GRACE_MS)
  await close()
  api.close()
  return EXIT_OK
}
