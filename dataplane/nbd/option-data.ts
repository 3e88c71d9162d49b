/**
 * The data of negotiation options, and the replies to them: codecs only. Lengths inside the data are the client's
 * word and are checked against the bytes that are there; a decoder answers undefined when they disagree.
 *
 * Source: doc/proto.md "Option types", "Option reply types".
 */
import {
  IHAVEOPT, NBD_INFO_BLOCK_SIZE, NBD_INFO_DESCRIPTION, NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_OPTION_REPLY_MAGIC,
  OPTION_BYTES, OPTION_REPLY_BYTES,
} from './protocol.ts'

/** Data of NBD_OPT_INFO and NBD_OPT_GO. */
export interface InfoRequest {
  name: Buffer
  /** NBD_INFO numbers, possibly some that nobody knows. */
  wanted: Set<number>
}

/** Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export interface MetaContextRequest {
  name: Buffer
  queries: string[]
}

export function decodeInfoRequest(data: Buffer): InfoRequest | undefined {
  if (data.length < 6) return undefined
  const nameBytes = data.readUInt32BE(0)
  if (nameBytes > data.length - 6) return undefined
  const count = data.readUInt16BE(4 + nameBytes)
  if (data.length !== 6 + nameBytes + 2 * count) return undefined
  const wanted = new Set<number>()
  for (let i = 0; i < count; i++) wanted.add(data.readUInt16BE(6 + nameBytes + 2 * i))
  return { name: data.subarray(4, 4 + nameBytes), wanted }
}

export function encodeInfoRequest(name: Uint8Array, wanted: readonly number[]): Buffer {
  const data = Buffer.alloc(6 + name.length + 2 * wanted.length)
  data.writeUInt32BE(name.length, 0)
  data.set(name, 4)
  data.writeUInt16BE(wanted.length, 4 + name.length)
  wanted.forEach((info, index) => data.writeUInt16BE(info, 6 + name.length + 2 * index))
  return data
}

export function decodeMetaContextRequest(data: Buffer): MetaContextRequest | undefined {
  if (data.length < 8) return undefined
  const nameBytes = data.readUInt32BE(0)
  if (nameBytes > data.length - 8) return undefined
  const count = data.readUInt32BE(4 + nameBytes)
  const queries: string[] = []
  let at = 8 + nameBytes
  for (let i = 0; i < count; i++) {
    if (data.length - at < 4) return undefined
    const queryBytes = data.readUInt32BE(at)
    at += 4
    if (queryBytes > data.length - at) return undefined
    queries.push(data.toString('utf8', at, at + queryBytes))
    at += queryBytes
  }
  return at === data.length ? { name: data.subarray(4, 4 + nameBytes), queries } : undefined
}

export function encodeMetaContextRequest(name: Uint8Array, queries: readonly string[]): Buffer {
  const parts = [u32(name.length), name, u32(queries.length)]
  for (const query of queries) parts.push(u32(Buffer.byteLength(query)), Buffer.from(query))
  return Buffer.concat(parts)
}

/** An option as a client sends it. */
export function encodeOption(option: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  const header = Buffer.alloc(OPTION_BYTES)
  header.writeUInt32BE(IHAVEOPT[0], 0)
  header.writeUInt32BE(IHAVEOPT[1], 4)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(data.length, 12)
  return Buffer.concat([header, data])
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  const reply = Buffer.alloc(OPTION_REPLY_BYTES + data.length)
  reply.writeUInt32BE(NBD_OPTION_REPLY_MAGIC[0], 0)
  reply.writeUInt32BE(NBD_OPTION_REPLY_MAGIC[1], 4)
  reply.writeUInt32BE(option, 8)
  reply.writeUInt32BE(type, 12)
  reply.writeUInt32BE(data.length, 16)
  reply.set(data, OPTION_REPLY_BYTES)
  return reply
}

/** Payload of NBD_REP_SERVER. */
export function encodeServer(name: string, description: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(name)), Buffer.from(name), Buffer.from(description)])
}

/** Payload of NBD_REP_META_CONTEXT. */
export function encodeMetaContext(id: number, name: string): Buffer {
  return Buffer.concat([u32(id), Buffer.from(name)])
}

/** Size and transmission flags: the end of an NBD_INFO_EXPORT, and the answer to NBD_OPT_EXPORT_NAME. */
export function encodeExport(sizeBytes: number, flags: number): Buffer {
  const bytes = Buffer.alloc(10)
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 0)
  bytes.writeUInt16BE(flags, 8)
  return bytes
}

export function encodeInfoExport(sizeBytes: number, flags: number): Buffer {
  return Buffer.concat([u16(NBD_INFO_EXPORT), encodeExport(sizeBytes, flags)])
}

export function encodeInfoText(type: typeof NBD_INFO_NAME | typeof NBD_INFO_DESCRIPTION, text: string): Buffer {
  return Buffer.concat([u16(type), Buffer.from(text)])
}

export function encodeInfoBlockSize(sizes: { minimum: number; preferred: number; maximum: number }): Buffer {
  return Buffer.concat([u16(NBD_INFO_BLOCK_SIZE), u32(sizes.minimum), u32(sizes.preferred), u32(sizes.maximum)])
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
