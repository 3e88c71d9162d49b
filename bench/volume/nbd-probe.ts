/**
 * The least NBD client there is: one connection, one read, to find the moment from which a server answers. It enters
 * with NBD_OPT_EXPORT_NAME, which every server knows, so replies are simple ones. Source: NBD doc/proto.md.
 */
import net from 'node:net'
import {
  IHAVEOPT,
  NBD_CMD_READ,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_OPT_EXPORT_NAME,
} from '../../dataplane/nbd/protocol.ts'
import { emptyHeader, encodeRequest } from '../../dataplane/nbd/request-parser.ts'

const GREETING_BYTES = 18
/** Size, transmission flags; no zeroes behind them. */
const EXPORT_BYTES = 10
const REPLY_BYTES = 16

/** The bytes, or undefined when the server is not there (yet) or refuses. */
export function readOnce(
  socketPath: string,
  volume: string,
  { offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number },
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath)
    let received = Buffer.alloc(0)
    let asked = false
    const end = (bytes: Buffer | undefined): void => {
      socket.destroy()
      resolve(bytes)
    }
    socket.on('error', () => end(undefined))
    socket.on('close', () => resolve(undefined))
    socket.on('data', (bytes: Buffer) => {
      received = Buffer.concat([received, bytes])
      if (!asked && received.length >= GREETING_BYTES) {
        asked = true
        socket.write(Buffer.concat([exportName(volume), readRequest(offsetBytes, lengthBytes)]))
      }
      const payloadAt = GREETING_BYTES + EXPORT_BYTES + REPLY_BYTES
      if (received.length < payloadAt) return
      if (received.readUInt32BE(payloadAt - REPLY_BYTES + 4) !== 0) return end(undefined)
      if (received.length >= payloadAt + lengthBytes) end(received.subarray(payloadAt, payloadAt + lengthBytes))
    })
  })
}

function exportName(volume: string): Buffer {
  const name = Buffer.from(volume)
  const bytes = Buffer.alloc(20 + name.length)
  bytes.writeUInt32BE(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES, 0)
  bytes.writeUInt32BE(IHAVEOPT[0], 4)
  bytes.writeUInt32BE(IHAVEOPT[1], 8)
  bytes.writeUInt32BE(NBD_OPT_EXPORT_NAME, 12)
  bytes.writeUInt32BE(name.length, 16)
  name.copy(bytes, 20)
  return bytes
}

function readRequest(offsetBytes: number, lengthBytes: number): Buffer {
  const high = Math.floor(offsetBytes / 2 ** 32)
  const header = { ...emptyHeader(), type: NBD_CMD_READ, lengthBytes }
  return Buffer.from(encodeRequest({ ...header, offsetHigh: high, offsetLow: offsetBytes - high * 2 ** 32 }, false))
}
