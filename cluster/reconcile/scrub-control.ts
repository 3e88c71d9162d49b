/** A scrub of all copies of a volume that can be reached, as a user asks for it; others scrub in their turn. */
import { HoldfastError } from '../../engine/errors.ts'
import type { ScrubVolumeResponse } from '../api/volume-wish-messages.ts'
import type { ReachedNode } from './action-runner.ts'

/** @param reach  a member; undefined: it did not speak lately */
export async function scrubCopies(
  members: readonly string[],
  { volumeId, isDeep }: { volumeId: string; isDeep: boolean },
  reach: (node: string) => ReachedNode | undefined,
): Promise<ScrubVolumeResponse> {
  const told = await Promise.all(members.map(async (node) => {
    const why = await whyNotScrubbed(reach(node), { volumeId, isDeep })
    return { node, why }
  }))
  return {
    nodes: told.filter(({ why }) => why === '').map(({ node }) => node),
    refused: told.filter(({ why }) => why !== ''),
  }
}

async function whyNotScrubbed(
  reached: ReachedNode | undefined,
  order: { volumeId: string; isDeep: boolean },
): Promise<string> {
  if (reached === undefined) return 'it does not answer'
  try {
    await reached.calls.scrub(order)
    return ''
  } catch (error) {
    if (error instanceof HoldfastError) return error.message
    throw error
  }
}
