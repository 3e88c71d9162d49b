/**
 * The place of a unix socket in the file system: short enough, in a folder of its own, and not taken by a living
 * process. A file left behind by a process that was killed is removed; anything else at that path is left alone.
 *
 * Folders that are made here are open to their owner only (0700). A folder that is there keeps its mode, since it
 * may be shared with others; the socket itself is always 0600.
 */
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'

/** sizeof(sockaddr_un.sun_path) less its terminating NUL. */
export const SOCKET_PATH_BYTES_MAX = 107

/** @throws HoldfastError `socket-path`, `socket-busy` or `socket-taken` */
export async function prepareSocketPath(socketPath: string): Promise<void> {
  const length = Buffer.byteLength(socketPath)
  if (length > SOCKET_PATH_BYTES_MAX) throw new HoldfastError('socket-path', { path: socketPath, length })
  fs.mkdirSync(path.dirname(socketPath), { recursive: true, mode: 0o700 })
  const found = fs.lstatSync(socketPath, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new HoldfastError('socket-taken', { path: socketPath })
  if (await answers(socketPath)) throw new HoldfastError('socket-busy', { path: socketPath })
  fs.rmSync(socketPath, { force: true })
}

/** Only a refused connection proves that nobody listens; every doubt counts as a living process. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT')
    })
  })
}
