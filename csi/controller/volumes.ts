/** Volumes by what Kubernetes calls them, and as it is answered. */
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { shown } from '../../cluster/api/names.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { ErrorCode } from '../../engine/errors.ts'
import type { CsiVolume, Topology, VolumeContentSource, VolumeStatus } from '../messages.ts'
import { isVolumeId } from '../names.ts'
import { invalid, notFound } from '../refusal.ts'
import { volumeCondition } from '../volume-condition.ts'

/** What is answered, or undefined where that is the refusal. */
export async function unless<T>(code: ErrorCode, answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof HoldfastError && error.code === code) return undefined
    throw error
  }
}

export function checkVolumeIdGiven(volumeId: string): void {
  if (volumeId === '') throw invalid('the volume id is missing')
}

/** Undefined: there is none, and an id that is none of ours was never one. */
export async function findVolume(api: ControlClient, volumeId: string): Promise<Volume | undefined> {
  if (!isVolumeId(volumeId)) return undefined
  const found = await unless('volume-not-found', api.getVolume({ name: volumeId }))
  // One of a former version may be called like an id.
  return found?.id === volumeId ? found : undefined
}

/** @throws CsiRefusal INVALID_ARGUMENT, NOT_FOUND */
export async function volumeById(api: ControlClient, volumeId: string): Promise<Volume> {
  checkVolumeIdGiven(volumeId)
  const found = await findVolume(api, volumeId)
  if (found !== undefined) return found
  throw notFound(`there is no volume ${shown(volumeId)}; \`holdfast volume ls\` shows what there is`)
}

interface Answered {
  context?: Record<string, string>
  source?: VolumeContentSource | null
  topology?: Topology[]
}

export const csiVolume = (
  { id, sizeBytes }: Volume, { context = {}, source = null, topology = [] }: Answered = {},
): CsiVolume => ({
  capacityBytes: sizeBytes, volumeId: id, volumeContext: context, contentSource: source, accessibleTopology: topology,
})

export const volumeStatus = (volume: Volume): VolumeStatus => ({
  publishedNodeIds: volume.attach.holders.map(({ node }) => node),
  volumeCondition: volumeCondition(volume),
})
