/** `stored`: the answer to every append, so it is laid by hand (PROTOCOL.md section 5.2). */
import type { PeerMessage } from '../../engine/replication/messages.ts'
import type { FrameBody } from './block-payload.ts'
import { getU48Padded, getU53, putU48Padded, putU53 } from './byte-fields.ts'
import type { ControlWriter } from './control-writer.ts'

type Stored = Extract<PeerMessage, { type: 'stored' }>

const STORED_BYTES = 28
const HAS_FILL = 1

export function encodeStored(out: ControlWriter, { seq, durableSeq, fill }: Stored): void {
  const at = out.room(STORED_BYTES)
  const { view } = out
  view.setUint32(at, fill === undefined ? 0 : HAS_FILL, true)
  putU48Padded(view, at + 4, seq)
  putU48Padded(view, at + 12, durableSeq)
  putU53(view, at + 20, fill ?? 0)
}

export function decodeStored(epoch: number, { view, at, end }: FrameBody): Stored | string {
  if (end - at !== STORED_BYTES) return 'an answer of another length'
  const flags = view.getUint32(at, true)
  const seq = getU48Padded(view, at + 4)
  const durableSeq = getU48Padded(view, at + 12)
  const fill = getU53(view, at + 20)
  if (flags > HAS_FILL || seq < 0 || durableSeq < 0 || fill < 0) return 'an answer has impossible values'
  if (flags === HAS_FILL) return { type: 'stored', epoch, seq, durableSeq, fill }
  return fill === 0 ? { type: 'stored', epoch, seq, durableSeq } : 'an answer has impossible values'
}
