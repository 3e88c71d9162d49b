/**
 * Bytes for a socket go to the kernel at once, past the stream, which spends more on each piece than the kernel on its
 * bytes. What the kernel does not take now is the stream's, which also finds the errors.
 */
import type net from 'node:net'
import { writev } from './libc.ts'

/**
 * Nothing is given before what the stream still has.
 * @param socket  without TLS
 * @returns the pieces that are left for the stream
 */
export function writeNow(socket: net.Socket, pieces: readonly Uint8Array[]): readonly Uint8Array[] {
  if (socket.connecting || socket.destroyed || socket.writableLength > 0) return pieces
  const handle = (socket as unknown as { _handle: { fd: number } | null })._handle
  if (handle === null || handle.fd < 0) return pieces
  return behind(pieces, Math.max(0, writev(handle.fd, pieces)))
}

const NOTHING: readonly Uint8Array[] = []

/** The pieces without their first `bytes` bytes. */
function behind(pieces: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let rest = bytes
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i]!
    if (rest < piece.length) return [piece.subarray(rest), ...pieces.slice(i + 1)]
    rest -= piece.length
  }
  return NOTHING
}
