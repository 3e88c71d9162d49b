/**
 * The commands of the kernel's NBD client over generic netlink (linux/nbd-netlink.h), as bytes and as calls. Nothing
 * here decides: whether an index may get a command is the keeper's care (keeper-step.ts, N1).
 *
 * A command is judged by the kernel before the call returns. CONNECT takes the sockets; this process may end then.
 * RECONFIGURE puts sockets in the place of dead ones, as many as there are, and says nothing of the others: a socket
 * that was taken shows the request timeout as its send timeout (`isTaken`).
 */
import koffi from 'koffi'
import { addressOf, outcome } from '../../cluster/libc.ts'
import type { GenericNetlink, Told } from './generic-netlink.ts'
import { decodeAttributes, listAttributes, nested, text, u32, u32Of, u64 } from './netlink-attributes.ts'

export const NBD_FAMILY = 'nbd'
export const NBD_GROUP = 'nbd_mc_group'

const NBD_CMD_CONNECT = 1
const NBD_CMD_DISCONNECT = 2
const NBD_CMD_RECONFIGURE = 3
export const NBD_CMD_LINK_DEAD = 4
const NBD_CMD_STATUS = 5

const NBD_ATTR_INDEX = 1
const NBD_ATTR_SIZE_BYTES = 2
const NBD_ATTR_BLOCK_SIZE_BYTES = 3
const NBD_ATTR_TIMEOUT = 4
const NBD_ATTR_SERVER_FLAGS = 5
const NBD_ATTR_SOCKETS = 7
const NBD_ATTR_DEAD_CONN_TIMEOUT = 8
const NBD_ATTR_DEVICE_LIST = 9
const NBD_ATTR_BACKEND_IDENTIFIER = 10
const NBD_SOCK_ITEM = 1
const NBD_SOCK_FD = 1
const NBD_DEVICE_INDEX = 1
const NBD_DEVICE_CONNECTED = 2

const EBADMSG = 74
const SOL_SOCKET = 1
const SO_SNDTIMEO = 21
const lib = koffi.load(null)
const callGetsockopt = lib.func('int getsockopt(int fd, int level, int option, uint64_t into, uint64_t length)')

export interface ConnectOptions {
  sockets: readonly number[]
  sizeBytes: number
  blockSizeBytes: number
  /** As the server told in its handshake. */
  flags: number
  requestSeconds: number
  deadConnectionSeconds: number
  backend: string
}

export interface ReconfigureOptions {
  index: number
  backend: string
  sockets: readonly number[]
  /** Unset: as it is. */
  sizeBytes?: number
  /** Counts for what begins to wait from then on. Unset: as it is. */
  deadConnectionSeconds?: number
}

const socketList = (fds: readonly number[]): Buffer =>
  nested(NBD_ATTR_SOCKETS, fds.map((fd) => nested(NBD_SOCK_ITEM, [u32(NBD_SOCK_FD, fd)])))

/** To an index that the kernel chooses among those that nobody uses, or makes. */
export function connectAttributes(o: ConnectOptions): Buffer[] {
  return [
    u64(NBD_ATTR_SIZE_BYTES, o.sizeBytes),
    u64(NBD_ATTR_BLOCK_SIZE_BYTES, o.blockSizeBytes),
    u64(NBD_ATTR_TIMEOUT, o.requestSeconds),
    u64(NBD_ATTR_DEAD_CONN_TIMEOUT, o.deadConnectionSeconds),
    u64(NBD_ATTR_SERVER_FLAGS, o.flags),
    text(NBD_ATTR_BACKEND_IDENTIFIER, o.backend),
    socketList(o.sockets),
  ]
}

export function reconfigureAttributes(o: ReconfigureOptions): Buffer[] {
  const { index, backend, sockets, sizeBytes, deadConnectionSeconds } = o
  return [
    u32(NBD_ATTR_INDEX, index),
    text(NBD_ATTR_BACKEND_IDENTIFIER, backend),
    ...(sizeBytes === undefined ? [] : [u64(NBD_ATTR_SIZE_BYTES, sizeBytes)]),
    ...(deadConnectionSeconds === undefined ? [] : [u64(NBD_ATTR_DEAD_CONN_TIMEOUT, deadConnectionSeconds)]),
    ...(sockets.length === 0 ? [] : [socketList(sockets)]),
  ]
}

export class NbdNetlink {
  readonly #netlink: GenericNetlink
  readonly #family: number

  constructor(netlink: GenericNetlink, family: number) {
    this.#netlink = netlink
    this.#family = family
  }

  /** @returns the index, or a negative errno */
  connect(options: ConnectOptions): number {
    const answer = this.#netlink.ask(this.#family, NBD_CMD_CONNECT, connectAttributes(options))
    return answer.ok ? u32Of(answer.attributes.get(NBD_ATTR_INDEX)) ?? -EBADMSG : -answer.errno
  }

  /** @returns 0, or a negative errno */
  reconfigure(options: ReconfigureOptions): number {
    const answer = this.#netlink.ask(this.#family, NBD_CMD_RECONFIGURE, reconfigureAttributes(options))
    return answer.ok ? 0 : -answer.errno
  }

  /** Requests under way fail, new ones too; the index is free when its last user has closed it. */
  disconnect(index: number): number {
    const answer = this.#netlink.ask(this.#family, NBD_CMD_DISCONNECT, [u32(NBD_ATTR_INDEX, index)])
    return answer.ok ? 0 : -answer.errno
  }

  /** Indexes that are connected, to whatever. */
  connected(): number[] {
    const answer = this.#netlink.ask(this.#family, NBD_CMD_STATUS, [])
    const list = answer.ok ? answer.attributes.get(NBD_ATTR_DEVICE_LIST) : undefined
    return (listAttributes(list ?? Buffer.alloc(0)) ?? []).flatMap(([, item]) => {
      const facts = decodeAttributes(item)
      const index = u32Of(facts?.get(NBD_DEVICE_INDEX))
      return facts?.get(NBD_DEVICE_CONNECTED)?.[0] === 1 && index !== undefined ? [index] : []
    })
  }
}

/** The index of which a connection died; undefined: it tells something else. */
export function deadLink({ command, attributes }: Told): number | undefined {
  return command === NBD_CMD_LINK_DEAD ? u32Of(attributes.get(NBD_ATTR_INDEX)) : undefined
}

/** `struct timeval`, and behind it how long it is. */
const timeval = new Uint32Array(5)
const timevalAddress = addressOf(new Uint8Array(timeval.buffer))

/** Whether the kernel's NBD client has taken a socket that was given to it: it sets its send timeout. */
export function isTaken(fd: number): boolean {
  timeval.set([0, 0, 0, 0, 16])
  const result = outcome(callGetsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timevalAddress, timevalAddress + 16))
  return result >= 0 && (timeval[0] !== 0 || timeval[2] !== 0)
}
