/** The volumes of `holdfast dev`: what is wished for is made unless it is there, as soon as the nodes can take it. */
import { formatSize, parseSize } from '../cluster/api/amounts.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import type { Volume } from '../cluster/api/volume-messages.ts'
import type { CreateVolumeRequest } from '../cluster/api/volume-wish-messages.ts'
import { checkVolumeName, checkVolumeSize } from '../cluster/api/volume-request.ts'
import { nbdUris } from '../cluster/api/volume-view.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import { GIB } from '../engine/units.ts'
import { usageError } from './arguments.ts'
import type { DevNode } from './dev-node.ts'
import type { Output } from './output.ts'

const LOOK_EVERY_MS = 100
/** Longer than an election takes; then it is said what is waited for. */
const QUIET_MS = 10_000
/** Volumes that are served and not healthy by then are told as they are. */
const HEALTHY_WAIT_MS = 30_000

export interface WishedVolume {
  name: string
  sizeBytes: number
  /** Undefined: up to three copies, as the nodes allow. */
  replicas: string | undefined
}

export const DEMO: WishedVolume = { name: 'demo', sizeBytes: GIB, replicas: undefined }

/** `NAME:SIZE[:REPLICAS]`; REPLICAS counts the copies beside the primary. */
export function parseWishedVolume(text: string): WishedVolume {
  const [name = '', size = '', replicas, ...more] = text.split(':')
  if (size === '' || more.length > 0) {
    throw usageError(`--volume ${text} is not NAME:SIZE[:REPLICAS]`, 'e.g. --volume data:2Gi or --volume data:2Gi:0')
  }
  checkVolumeName(name)
  const sizeBytes = parseSize(size)
  if (sizeBytes === undefined) throw new HoldfastError('volume-size', { size })
  checkVolumeSize(sizeBytes)
  return { name, sizeBytes, replicas }
}

/**
 * Make what is missing; volumes that are there are left as they are.
 * @returns all of them, with the places where every node serves them
 */
export async function makeVolumes(nodes: DevNode[], wished: WishedVolume[], output: Output): Promise<Volume[]> {
  const client = connectControlApi({ socketPath: nodes[0]!.paths.api, source: 'the dev node' })
  try {
    await allKnown(client, nodes, output)
    const { volumes } = await client.listVolumes()
    for (const { name, sizeBytes, replicas } of wished) {
      if (volumes.some((volume) => volume.name === name)) continue
      const parameters: Record<string, string> = replicas === undefined ? {} : { replicas }
      volumes.push(await createVolume(client, { name, sizeBytes, parameters }))
    }
    await allServed(client, volumes, output)
    for (const volume of volumes) output.note(`volume ${volume.name}: ${describe(volume)}`)
    return volumes.map((volume) => ({ ...volume, nbd: nodes.flatMap((node) => placesOf(volume.name, node)) }))
  } finally {
    client.close()
  }
}

/** Also one that is made and not served yet: that is waited for with the others. */
async function createVolume(client: ControlClient, request: CreateVolumeRequest): Promise<Volume> {
  try {
    return await client.createVolume(request)
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'volume-waits') return client.getVolume(request)
    throw error
  }
}

function describe({ sizeBytes, usedBytes, health, healthReason, copies }: Volume): string {
  const size = `${formatSize(sizeBytes)}, ${formatSize(usedBytes)} used`
  if (copies.length === 1) return size
  const nodes = copies.map(({ node, role }) => (role === 'primary' ? `${node} (primary)` : node)).join(', ')
  return `${size}, ${health}${health === 'healthy' ? '' : ` (${healthReason})`}, copies on ${nodes}`
}

function placesOf(volume: string, { ready, tls }: DevNode): string[] {
  if (ready === undefined) return []
  return nbdUris(volume, { socketPath: ready.nbdSocket, tcp: ready.tcp, isTls: tls !== undefined })
}

/** Whoever decides knows every node with its disk, so that copies can be put on all of them. */
function allKnown(client: ControlClient, nodes: DevNode[], output: Output): Promise<void> {
  return until(output, 'the nodes meet', async () => {
    const { nodes: known } = await client.listNodes()
    return nodes.every(({ name }) => known.some((node) => node.name === name && node.disks.length > 0))
  })
}

/** After a stop of all of them the copies find out first who has the newest, and then get what they lack. */
function allServed(client: ControlClient, volumes: Volume[], output: Output): Promise<void> {
  const deadlineMs = performance.now() + HEALTHY_WAIT_MS
  return until(output, 'the volumes are healthy', async () => {
    const isLate = performance.now() > deadlineMs
    const isReady = ({ health }: Volume) => health === 'healthy' || (isLate && health !== 'suspended')
    if (volumes.every(isReady)) return true
    volumes.splice(0, volumes.length, ...(await client.listVolumes()).volumes)
    return volumes.every(isReady)
  })
}

async function until(output: Output, what: string, isSo: () => Promise<boolean>): Promise<void> {
  let tellAtMs = performance.now() + QUIET_MS
  for (;;) {
    try {
      if (await isSo()) return
    } catch (error) {
      if (!(error instanceof HoldfastError) || !ERRORS[error.code].retryable) throw error
    }
    if (performance.now() > tellAtMs) {
      output.note(`waiting until ${what}; \`holdfast status\` says what is wrong`)
      tellAtMs = Infinity
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
}
