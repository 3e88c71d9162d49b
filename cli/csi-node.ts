/**
 * `holdfast csi node`: CSI's Node side of one host on a unix socket, until it is told to end. Devices and mounts stay
 * as they are when it ends: pods go on using them.
 *
 * The keeper of devices runs before anything is asked of the control API, and whatever that says: I/O of pods waits for
 * it, also while the daemon of this host or the elected controller does not answer. Whether an attachment is over is
 * asked at any other node, too (`--cluster-endpoint`): who dies with it says nothing any more.
 */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { connectControlApi } from '../cluster/api/client.ts'
import type { ControlClient, Endpoint } from '../cluster/api/client.ts'
import type { Volume } from '../cluster/api/volume-messages.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import { FuseDevices } from '../csi/host/fuse-devices.ts'
import type { HostDevices } from '../csi/host/host-devices.ts'
import { DEFAULT_STATE, runKeeper } from '../csi/host/keeper-run.ts'
import { KubeletFolder } from '../csi/host/kubelet-paths.ts'
import { identityService } from '../csi/identity.ts'
import { KeyAtStage } from '../csi/node/key-at-stage.ts'
import { nodeService } from '../csi/node/node-service.ts'
import type { NodeServiceOptions } from '../csi/node/node-service.ts'
import { attachmentEnd } from '../csi/node/attachment-end.ts'
import type { AskVolume } from '../csi/node/attachment-end.ts'
import { Operations } from '../csi/operations.ts'
import { serveCsi } from '../csi/server.ts'
import type { CsiService } from '../csi/server.ts'
import { keepMemorySecret } from '../dataplane/memory-secrecy.ts'
import { version } from '../dataplane/version.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { csiSocketOf, volumesMaxOf } from './csi-controller.ts'
import { ownNode } from './csi-own-node.ts'
import type { OwnNode } from './csi-own-node.ts'
import { endpointOf } from './endpoint.ts'
import { takeMemoryFlags } from './memory-flags.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

const GRACE_MS = 10_000
/** Of the data process on this host. */
const CALL_MS = 20_000
const KUBELET_FOLDER = '/var/lib/kubelet'

const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`)

interface Devices {
  devices: HostDevices
  close(): Promise<void>
}

/** Of the control API elsewhere in the cluster. Undefined: none was named. */
function elsewhereOf(given: Arguments): AskVolume | undefined {
  const flag = given.text('cluster-endpoint')
  if (flag === undefined) return undefined
  return (name) => askOnce(() => endpointOf(given, process.env, flag), name)
}

/** Connected for one call: it is rare, and a connection that failed before would fail for a while, whoever is back. */
async function askOnce(endpoint: () => Promise<Endpoint> | Endpoint, name: string): Promise<Volume> {
  const client = connectControlApi(await endpoint(), CALL_MS)
  try {
    return await client.getVolume({ name })
  } finally {
    client.close()
  }
}

/** What is known of this host's attachments; until it is known which node this is, nothing. */
interface Known {
  api: ControlClient | undefined
  here: Endpoint | undefined
  node: string
}

async function devicesOf(
  given: Arguments, known: Known, elsewhere: AskVolume | undefined, stateFolder: string,
): Promise<Devices> {
  const kind = given.text('device') ?? 'nbd'
  if (kind === 'fuse') {
    const blockSizeOf = async (name: string): Promise<number> => (await known.api!.getVolume({ name })).blockSizeBytes
    return { devices: new FuseDevices({ stateFolder, blockSizeOf }), close: () => Promise.resolve() }
  }
  if (kind !== 'nbd') throw usageError(`--device ${kind} is not known`, 'nbd or fuse')
  const event = (level: string, message: string, fields: object): void =>
    log(`${level}: ${message} ${JSON.stringify(fields)}`)
  const onBug = (error: unknown): void => {
    log(error instanceof Error ? error.stack ?? error.message : String(error))
    process.exit(EXIT_FAILED)
  }
  const isOver = async (volumeId: string, generation: number): Promise<boolean> => {
    const { node, here } = known
    if (here === undefined) return false
    const asked: AskVolume[] = [(name) => askOnce(() => here, name), ...elsewhere === undefined ? [] : [elsewhere]]
    return await attachmentEnd(asked, node, { volumeId, generation }) === 'over'
  }
  return runKeeper({ stateFolder, log: { event }, onBug, isOver })
}

export async function runCsiNode({ arguments: given, output }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: true })
  takeMemoryFlags()
  const socketPath = csiSocketOf(given)
  const volumesMax = volumesMaxOf(given)
  const kubelet = new KubeletFolder(given.text('kubelet-dir') ?? KUBELET_FOLDER)
  const stateFolder = path.resolve(given.text('state') ?? DEFAULT_STATE)
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort())
  const known: Known = { api: undefined, here: undefined, node: '' }
  const elsewhere = elsewhereOf(given)
  let isOther = false
  const { devices, close } = await devicesOf(given, known, elsewhere, stateFolder)
  const options = { flag: given.text('endpoint'), stateFolder, log, signal: ending.signal }
  const own = await ownNode(options, ({ name }) => {
    log(`this is node ${name} now, and was another one: the process ends, to be started again`)
    isOther = true
    ending.abort()
  }).catch(async (error: unknown) => {
    await close()
    throw error
  })
  if (own !== undefined) {
    const here = { socketPath: own.socketPath, source: 'the node of this host' }
    const api = connectControlApi(here, CALL_MS)
    Object.assign(known, { api, here, node: own.name })
    const services = servicesOf(own, { api, elsewhere, kubelet, volumesMax, devices, stateFolder })
    // Without the socket nothing stays: the keeper alone would keep the process, and nobody would start it again.
    const server = await serveCsi({ socketPath, services, log }).catch(async (error: unknown) => {
      api.close()
      await close()
      throw error
    })
    const { name: node } = own
    collectStart()
    output.result({ socket: socketPath, node }, () => [`holdfast csi node listens at ${socketPath}, for node ${node}`])
    if (!ending.signal.aborted) await once(ending.signal, 'abort')
    await server.close(GRACE_MS)
    known.here = undefined
    api.close()
  }
  await close()
  return isOther ? EXIT_FAILED : EXIT_OK
}

type Given = Pick<NodeServiceOptions, 'api' | 'elsewhere' | 'kubelet' | 'volumesMax' | 'devices'>
type Parts = Given & { stateFolder: string }

function servicesOf({ name: node, id, zone, socketPath }: OwnNode, { stateFolder, ...parts }: Parts): CsiService[] {
  return [
    // Ready without the control API: what is asked to end needs none, and a restart would mend nothing.
    identityService({ version: version(), probe: () => parts.devices.list(), log }),
    nodeService({
      ...parts, node, zone, nodeFolder: path.dirname(socketPath), keys: new KeyAtStage(parts.api, id, stateFolder),
      operations: new Operations(),
    }),
  ]
}
