/** The id of a frontend's request as frames carry it: 40 bytes, in records, requests and replies. */
import type { RequestId } from '../../engine/replication/record.ts'
import { getU53, putU32, putU53 } from './byte-fields.ts'

export const REQUEST_ID_BYTES = 40

/** `answeredBelow` is written where there is one; whoever calls says by a flag of his own whether there is. */
export function putRequestId(view: DataView, at: number, id: RequestId): void {
  putU53(view, at, id.generation)
  putU53(view, at + 8, id.incarnation)
  putU53(view, at + 16, id.request)
  putU32(view, at + 24, id.part)
  putU32(view, at + 28, id.parts)
  putU53(view, at + 32, id.answeredBelow ?? 0)
}

export function getRequestId(view: DataView, at: number, hasAnsweredBelow: boolean): RequestId | undefined {
  const generation = getU53(view, at)
  const incarnation = getU53(view, at + 8)
  const request = getU53(view, at + 16)
  const part = view.getUint32(at + 24, true)
  const parts = view.getUint32(at + 28, true)
  const answeredBelow = getU53(view, at + 32)
  if (generation < 0 || incarnation < 0 || request < 0 || answeredBelow < 0 || part >= parts) return undefined
  if (hasAnsweredBelow) return { generation, incarnation, request, part, parts, answeredBelow }
  return answeredBelow === 0 ? { generation, incarnation, request, part, parts } : undefined
}

export const isZeroBetween = (bytes: Uint8Array, from: number, to: number): boolean => {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false
  return true
}
