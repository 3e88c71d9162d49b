/**
 * What a copy sends in one turn to one peer, with the appends that follow one another made into one: a turn that orders
 * thirty requests sends one frame, and the receiver takes it in one step and answers once.
 *
 * One append of all records is the same to the receiver as several in order: it skips what it has, and takes what
 * comes behind its tail (SPEC W2).
 */
import type { PeerMessage } from '../../engine/replication/messages.ts'

type Append = Extract<PeerMessage, { type: 'append' }>

/** So that a frame does not hold up what comes behind it. */
const MERGED_BYTES_MAX = 2 << 20

/** @param messages  to one peer, in order; is emptied. @param send  is given what goes out, in order */
export function sendMerged(messages: PeerMessage[], send: (message: PeerMessage) => void): void {
  let append: Append | undefined
  let bytes = 0
  let isOwn = false
  for (let i = 0; i < messages.length; i++) {
    const message = messages[i]!
    if (message.type !== 'append') {
      if (append !== undefined) send(append)
      append = undefined
      send(message)
      continue
    }
    const more = bytesOf(message)
    if (append !== undefined && follows(append, message) && bytes + more <= MERGED_BYTES_MAX) {
      // The arrays of the core are its own.
      if (!isOwn) append = { ...append, records: [...append.records] }
      isOwn = true
      for (const record of message.records) append.records.push(record)
      append.commitSeq = message.commitSeq
      bytes += more
      continue
    }
    if (append !== undefined) send(append)
    append = message
    bytes = more
    isOwn = false
  }
  if (append !== undefined) send(append)
  messages.length = 0
}

const follows = (a: Append, b: Append): boolean => {
  const last = a.records.at(-1) ?? a.previous
  return a.epoch === b.epoch && last.seq === b.previous.seq && last.epoch === b.previous.epoch
}

function bytesOf({ records }: Append): number {
  let bytes = 0
  for (const record of records) if (record.kind === 'write') bytes += record.payload.bytes
  return bytes
}
