/**
 * ControllerPublishVolume and ControllerUnpublishVolume: who may write to a volume is the attach generation of its
 * configuration, and these ask for one and give it back. The generation goes to the node in the publish context, which
 * stages no older one than it has seen.
 *
 * An attachment whose outcome nobody knows begins nothing behind an Unpublish that was answered (N4): it names the
 * generation that it follows, and the Unpublish has spent another one.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import type { DetachVolumeRequest } from '../../cluster/api/volume-wish-messages.ts'
import { shown } from '../../cluster/api/names.ts'
import type { ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest } from '../messages.ts'
import { isVolumeId } from '../names.ts'
import { aborted, exists, invalid, notFound } from '../refusal.ts'
import { accessOf, attachModeOf } from './capabilities.ts'
import { findVolume, unless, volumeById } from './volumes.ts'

export const GENERATION = 'holdfast.io/generation'
export const MODE = 'holdfast.io/mode'

export interface PublishContext { [GENERATION]: string; [MODE]: string }

/**
 * @param volumesMax  that a node may hold; 0: however many
 * @throws CsiRefusal, HoldfastError `volume-attached` with the holders in it, `node-attachments`,
 * `attachment-overtaken`
 */
export async function publishVolume(
  api: ControlClient, { volumeId, nodeId, volumeCapability, readonly }: ControllerPublishVolumeRequest,
  volumesMax: number,
): Promise<{ publishContext: PublishContext }> {
  if (nodeId === '') throw invalid('the node id is missing')
  const mode = attachModeOf(accessOf(volumeCapability), readonly)
  const { id, name, attach: before } = await volumeById(api, volumeId)
  const isThere = before.holders.some(({ node }) => node === nodeId)
  if (isThere && before.mode !== mode) {
    throw exists(`volume ${name} is published to ${nodeId} already in mode ${before.mode}, and not in mode ${mode}: `
      + 'unpublish it there first')
  }
  // The lead follows the pod where a copy is in sync.
  const asked = api.attachVolume({
    name: id, node: nodeId, mode, force: false, primary: true, heldMost: volumesMax,
    follows: { generation: before.generation },
  })
  const answer = await unless('node-not-found', asked)
  if (answer === undefined) throw notFound(`there is no node ${shown(nodeId)}; \`holdfast node ls\` shows the nodes`)
  const { attach } = answer
  const holder = attach.holders.find(({ node }) => node === nodeId)
  // Taken away from it again since.
  if (holder === undefined) throw exists(`volume ${name} was given to another node meanwhile: try again`)
  return { publishContext: { [GENERATION]: String(holder.generation), [MODE]: attach.mode } }
}

/**
 * Of what is not there, not ours or not published there nothing is left to do. Resolves when who leads the volume
 * refuses what comes under the generation that the node had. What is ended is what is there now: a call that is carried
 * out late ends nothing that was published behind it.
 * @throws CsiRefusal ABORTED: it is published by a newer attachment than was seen; HoldfastError
 */
export async function unpublishVolume(
  api: ControlClient, { volumeId, nodeId }: ControllerUnpublishVolumeRequest,
): Promise<object> {
  const seen = await findVolume(api, volumeId)
  // Also of a volume in the trash, which is not shown: nobody publishes that anew.
  await endAttachment(api, { volumeId, nodeId }, seen?.attach.generation ?? 0)
  return {}
}

/**
 * The same for who has read the volume before he decided. @param generation  as it was then; a newer attachment is not
 * ended; 0: the volume was not there
 * @throws CsiRefusal ABORTED: there is a newer attachment; HoldfastError
 */
export async function endAttachment(
  api: ControlClient, { volumeId, nodeId }: ControllerUnpublishVolumeRequest, generation: number,
): Promise<void> {
  if (!isVolumeId(volumeId)) return
  const asked = detached(api, { name: volumeId, node: nodeId, all: nodeId === '', generation, spend: true })
  await unless('volume-not-found', unless('volume-not-attached', asked))
}

async function detached(api: ControlClient, request: DetachVolumeRequest): Promise<void> {
  const answer = await unless('volume-attached', api.detachVolume(request))
  const isOver = answer?.attach.holders.every(({ node }) => node !== request.node && request.all !== true)
  if (isOver === true) return
  throw aborted(`volume ${request.name} was published again meanwhile; nothing of that was ended: try again`)
}
