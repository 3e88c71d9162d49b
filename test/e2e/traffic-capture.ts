/**
 * Loaded into a node's processes before anything else (`--import`): what their threads send over TCP sockets of
 * JavaScript, so to peers, is also written to the folder that TRAFFIC_DIR names. Clients of the tests use unix sockets.
 */
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { threadId } from 'node:worker_threads'

type Chunk = Uint8Array | { chunk: Uint8Array | string } | string
type WriteGeneric = (this: net.Socket, isMany: boolean, data: Chunk | Chunk[], ...rest: unknown[]) => unknown

const dir = process.env.TRAFFIC_DIR
if (dir !== undefined) {
  const prototype = net.Socket.prototype as unknown as { _writeGeneric: WriteGeneric }
  const { _writeGeneric: original } = prototype
  if (original === undefined) throw new Error('this Node has another socket: nothing would be captured')
  const file = path.join(dir, `${process.pid}-${threadId}`)
  const keep = (chunk: Chunk): void => {
    if (typeof chunk === 'string') fs.appendFileSync(file, chunk)
    else if ('chunk' in chunk) keep(chunk.chunk)
    else fs.appendFileSync(file, chunk)
  }
  prototype._writeGeneric = function (isMany, data, ...rest) {
    if (this.remoteAddress !== undefined) for (const chunk of Array.isArray(data) ? data : [data]) keep(chunk)
    return original.call(this, isMany, data, ...rest)
  }
}
