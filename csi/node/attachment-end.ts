/**
 * Whether an attachment of this host is over: the control API says that this node does not hold it any more, or anew,
 * and knows of it, since a node that was elected before may answer late. Silence says nothing, nor does one answer for
 * another: who does not know is passed over, and the next one asked.
 */
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'

/** The control API at one place. @throws HoldfastError */
export type AskVolume = (volumeId: string) => Promise<Pick<Volume, 'attach'>>

export interface AskedAttachment {
  volumeId: string
  generation: number
}

/** `gone`: there is no such volume. */
export type AttachmentEnd = 'held' | 'over' | 'gone' | 'unknown'

/** @param asked  one after the other, until one knows */
export async function attachmentEnd(
  asked: readonly AskVolume[], node: string, { volumeId, generation }: AskedAttachment,
): Promise<AttachmentEnd> {
  for (const ask of asked) {
    try {
      const { attach } = await ask(volumeId)
      if (attach.generation < generation) continue
      return attach.holders.some((one) => one.node === node && one.generation === generation) ? 'held' : 'over'
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      if (error.code === 'volume-not-found') return 'gone'
    }
  }
  return 'unknown'
}
