/**
 * A client over TLS whose volume another data worker has: TLS stays in the thread that accepted it, and its plain bytes
 * go through a pair of unix sockets to the worker that serves them as any session.
 *
 *   client --TLS-- this worker --near | far-- the worker of the volume
 *
 * Invariant: that worker knows as soon as the kernel does that the client has gone, not when what is on the way here
 * has been passed on: it has a duplicate of the client's own descriptor to ask. What a client that is gone had sent is
 * dropped by it, since the client may have sent it again elsewhere.
 */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { closeFd } from '../../cluster/libc.ts'
import { dup, socketPair } from '../libc.ts'

export interface FarEnds {
  /** Of the pair. Owned by who gets it, as the next one. */
  fd: number
  /** Of the client's connection. */
  clientFd: number
}

/** @param fd  of the connection under `secured`, which stays its own. @returns undefined: out of descriptors */
export function relay(secured: TLSSocket, fd: number): FarEnds | undefined {
  const clientFd = dup(fd)
  const pair = clientFd < 0 ? undefined : socketPair()
  if (pair === undefined) {
    if (clientFd >= 0) closeFd(clientFd)
    return undefined
  }
  const near = new net.Socket({ fd: pair[0], allowHalfOpen: true })
  near.on('error', () => near.destroy())
  near.on('end', () => near.end())
  near.on('close', () => secured.destroySoon())
  secured.on('close', () => near.destroy())
  secured.pipe(near)
  near.pipe(secured)
  return { fd: pair[1], clientFd }
}
