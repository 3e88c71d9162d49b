/**
 * Loaded into a node's processes before anything else (`--import`): what their threads send over TCP sockets, so to
 * peers, is also written to the folder that TRAFFIC_DIR names: what goes through streams of JavaScript, and what is
 * given to the kernel past them (`dataplane/write-now.ts`). Clients of the tests use unix sockets.
 */
import koffi from 'koffi'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { threadId } from 'node:worker_threads'

type Chunk = Uint8Array | { chunk: Uint8Array | string } | string
type Writev = (fd: number, vector: number | bigint, count: number) => number | bigint
type WriteGeneric = (this: net.Socket, isMany: boolean, data: Chunk | Chunk[], ...rest: unknown[]) => unknown

const SOL_SOCKET = 1
const SO_DOMAIN = 39
const AF_INET = 2
const AF_INET6 = 10
const IOVEC_WORDS = 2

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
  captureWritev(file)
}

/** Of all who bind it from now on. */
function captureWritev(file: string): void {
  const { load } = koffi
  const getsockopt = load(null)
    .func('int getsockopt(int fd, int level, int name, _Out_ int *value, _Inout_ uint32_t *length)')
  const isTcp = (fd: number): boolean => {
    const domain = [0]
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, domain, [4]) === 0 && [AF_INET, AF_INET6].includes(domain[0]!)
  }
  const captured = (call: Writev): Writev => (fd, vector, count) => {
    // First: who calls reads errno after the last call.
    const isKept = isTcp(fd)
    const written = call(fd, vector, count)
    if (!isKept) return written
    const words = new BigUint64Array(koffi.view(BigInt(vector), count * IOVEC_WORDS * 8))
    let rest = Number(written)
    for (let i = 0; i < count && rest > 0; i++) {
      const length = Math.min(rest, Number(words[IOVEC_WORDS * i + 1]!))
      if (length > 0) fs.appendFileSync(file, new Uint8Array(koffi.view(words[IOVEC_WORDS * i]!, length)))
      rest -= length
    }
    return written
  }
  koffi.load = (...words) => {
    const lib = load(...words)
    const func = (signature: string, ...more: unknown[]): unknown => {
      const call = (lib.func as (...of: unknown[]) => unknown)(signature, ...more)
      return /\bwritev\(/.test(signature) ? captured(call as Writev) : call
    }
    // Its own cannot be replaced, and nothing else of it is used.
    return { func } as unknown as typeof lib
  }
}
