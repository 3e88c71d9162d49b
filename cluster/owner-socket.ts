/**
 * A unix socket that is its owner's from the moment it is there. `listen` makes the file with the umask of the process,
 * and a mode that is given afterwards comes late: who has connected meanwhile stays connected.
 *
 * For the length of `bind` the umask lets nobody else in. It is that of all threads, so what another one makes in these
 * microseconds is its owner's too, which all that a node makes should be. Main thread only. Rejected: to bind in a
 * folder of our own and move the file: the library removes it by the path at which it was bound.
 */
import fs from 'node:fs'
import type { ListenOptions, Server, Socket } from 'node:net'

/** Who connected to a unix socket, by the kernel's word. */
export interface PeerUser {
  uid: number
  /** That of this process, or root, who may be anybody. */
  isOwner: boolean
}

/** @param peerUid  of a descriptor */
export function peerUserOf(socket: Socket, peerUid: (fd: number) => number): PeerUser {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const uid = peerUid(fd)
  return { uid, isOwner: uid === 0 || uid === process.geteuid!() }
}

/** As `server.listen`; of a unix socket mode 0600. */
export function listenForOwner(server: Server, where: ListenOptions, listening: () => void): void {
  const { path } = where
  if (path === undefined) return void server.listen(where, listening)
  const before = process.umask(0o077)
  try {
    // Binds before it returns.
    server.listen(where, () => {
      fs.chmodSync(path, 0o600)
      listening()
    })
  } finally {
    process.umask(before)
  }
}
