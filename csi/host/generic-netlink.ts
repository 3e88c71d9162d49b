/**
 * Generic netlink: a family of the kernel by its name, requests to it, and what it tells a group of listeners. A
 * request is answered before `send` returns, so both ends of a call are in one turn and nothing comes between a look at
 * /sys and the command that follows.
 *
 * The family `nbd` is that of the first network namespace only: elsewhere it is not found, module or not.
 */
import koffi from 'koffi'
import { EAGAIN, EINTR, addressOf, closeFd, errnoName, outcome } from '../../cluster/libc.ts'
import { assert } from '../../engine/assert.ts'
import {
  NLMSG_ERROR, NLM_F_ACK, NLM_F_REQUEST, decodeAttributes, decodeMessages, encodeMessage, errnoOf, listAttributes, text,
  textOf, u16Of, u32Of,
} from './netlink-attributes.ts'

const lib = koffi.load(null)
const callSocket = lib.func('int socket(int domain, int type, int protocol)')
const callBind = lib.func('int bind(int fd, uint64_t address, uint32_t length)')
const callSetsockopt = lib.func('int setsockopt(int fd, int level, int option, uint64_t value, uint32_t length)')
const callSend = lib.func('int64_t send(int fd, uint64_t bytes, size_t length, int flags)')
const callRecvfrom = lib.func(
  'int64_t recvfrom(int fd, uint64_t bytes, size_t length, int flags, uint64_t from, uint64_t fromLength)')

const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 3 | 0o2000000
const NETLINK_GENERIC = 16
const SOL_NETLINK = 270
const NETLINK_ADD_MEMBERSHIP = 1
const MSG_DONTWAIT = 0x40
const SOCKADDR_NL_BYTES = 12

const GENL_ID_CTRL = 16
const GENL_HEADER_BYTES = 4
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2
const CTRL_ATTR_MCAST_GROUPS = 7
const CTRL_ATTR_MCAST_GRP_NAME = 1
const CTRL_ATTR_MCAST_GRP_ID = 2

/** More than any answer asked for here. */
const DATAGRAM_BYTES = 64 * 1024
const EBADMSG = 74
/** Of the listener's buffer: each message is some 30 bytes, and 100 devices may die together. */
export const ENOBUFS = 105

/** Whoever sent the last datagram: `sockaddr_nl` (its port at byte 4), and behind it how long it is. */
const sender = new Uint32Array(4)
const senderAddress = addressOf(new Uint8Array(sender.buffer))

function receive(fd: number, into: Buffer, flags: number): number {
  sender.set([0, 0, 0, SOCKADDR_NL_BYTES])
  const lengthAddress = senderAddress + SOCKADDR_NL_BYTES
  return callRecvfrom(fd, addressOf(into), DATAGRAM_BYTES, flags, senderAddress, lengthAddress) as number
}

/** Any process may send to a netlink socket; the kernel has port 0. */
const isOfKernel = (): boolean => sender[1] === 0

export interface Family {
  id: number
  groups: ReadonlyMap<string, number>
}

export type Answer = { ok: true; attributes: Map<number, Buffer> } | { ok: false; errno: number }

function netlinkSocket(): number {
  const fd = outcome(callSocket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_GENERIC))
  if (fd < 0) return fd
  const address = new Uint8Array(SOCKADDR_NL_BYTES)
  address[0] = AF_NETLINK
  const bound = outcome(callBind(fd, addressOf(address), SOCKADDR_NL_BYTES))
  if (bound >= 0) return fd
  closeFd(fd)
  return bound
}

/** What the kernel says of a family. Undefined: it has no number. */
export function familyOf(attributes: ReadonlyMap<number, Buffer>): Family | undefined {
  const id = u16Of(attributes.get(CTRL_ATTR_FAMILY_ID))
  if (id === undefined) return undefined
  const groups = new Map<string, number>()
  for (const [, group] of listAttributes(attributes.get(CTRL_ATTR_MCAST_GROUPS) ?? Buffer.alloc(0)) ?? []) {
    const facts = decodeAttributes(group)
    const [groupName, groupId] = [facts?.get(CTRL_ATTR_MCAST_GRP_NAME), u32Of(facts?.get(CTRL_ATTR_MCAST_GRP_ID))]
    if (groupName !== undefined && groupId !== undefined) groups.set(textOf(groupName), groupId)
  }
  return { id, groups }
}

export class GenericNetlink {
  readonly #fd: number
  readonly #bytes = Buffer.from(new ArrayBuffer(DATAGRAM_BYTES))
  #sequence = 1

  private constructor(fd: number) {
    this.#fd = fd
  }

  /** @returns a negative errno when there can be none */
  static open(): GenericNetlink | number {
    const fd = netlinkSocket()
    return fd < 0 ? fd : new GenericNetlink(fd)
  }

  close(): void {
    closeFd(this.#fd)
  }

  /** What the family answers, with its errors as positive errnos. */
  ask(family: number, command: number, attributes: readonly Buffer[]): Answer {
    const sequence = this.#sequence++
    const payload = Buffer.concat([Buffer.from([command, 1, 0, 0]), ...attributes])
    const flags = NLM_F_REQUEST | NLM_F_ACK
    const message = encodeMessage({ type: family, sequence, payload }, flags)
    const bytes = new Uint8Array(message.length)
    bytes.set(message)
    const sent = this.#retried(() => callSend(this.#fd, addressOf(bytes), bytes.length, 0))
    if (sent < 0) return { ok: false, errno: -sent }
    let answer = new Map<number, Buffer>()
    for (;;) {
      const got = this.#retried(() => receive(this.#fd, this.#bytes, 0))
      if (got < 0) return { ok: false, errno: -got }
      if (!isOfKernel()) continue
      for (const message of decodeMessages(Buffer.from(this.#bytes.subarray(0, got)))) {
        if (message.sequence !== sequence) continue
        if (message.type === NLMSG_ERROR) {
          const errno = errnoOf(message) ?? EBADMSG
          return errno === 0 ? { ok: true, attributes: answer } : { ok: false, errno }
        }
        answer = decodeAttributes(message.payload.subarray(GENL_HEADER_BYTES)) ?? answer
      }
    }
  }

  /** Undefined: the kernel has none of that name, or not in this network namespace. */
  family(name: string): Family | undefined {
    const answer = this.ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, [text(CTRL_ATTR_FAMILY_NAME, name)])
    return answer.ok ? familyOf(answer.attributes) : undefined
  }

  #retried(call: () => number): number {
    for (;;) {
      const result = outcome(call())
      if (result !== -EINTR) return result
    }
  }
}

export interface Told {
  command: number
  attributes: Map<number, Buffer>
}

/** A listener to one group; asked now and then, since what it tells is a hint. */
export class GroupListener {
  readonly #fd: number
  readonly #family: number
  readonly #membership: Uint8Array
  #isMember: boolean
  readonly #bytes = Buffer.from(new ArrayBuffer(DATAGRAM_BYTES))

  constructor(family: Family, group: string) {
    const id = family.groups.get(group)
    assert(id !== undefined, 'the family has the group')
    this.#family = family.id
    this.#fd = netlinkSocket()
    assert(this.#fd >= 0, `a second netlink socket: ${errnoName(-this.#fd)}`)
    this.#membership = new Uint8Array(new Uint32Array([id]).buffer)
    this.#isMember = this.#join()
  }

  #join(): boolean {
    const { length } = this.#membership
    const address = addressOf(this.#membership)
    return outcome(callSetsockopt(this.#fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, address, length)) >= 0
  }

  /** What was told since the last time; `isWhole` false: some of it was lost. Does not wait. */
  take(): { told: Told[]; isWhole: boolean } {
    const told: Told[] = []
    let isWhole = true
    if (!this.#isMember) {
      this.#isMember = this.#join()
      // What was told before is lost.
      isWhole = !this.#isMember
    }
    for (;;) {
      const got = outcome(receive(this.#fd, this.#bytes, MSG_DONTWAIT))
      if (got === -EINTR) continue
      if (got === -ENOBUFS) {
        isWhole = false
        continue
      }
      if (got < 0) {
        assert(got === -EAGAIN, 'nothing more is told')
        return { told, isWhole }
      }
      if (!isOfKernel()) continue
      for (const { type, payload } of decodeMessages(Buffer.from(this.#bytes.subarray(0, got)))) {
        if (payload.length < GENL_HEADER_BYTES) continue
        const attributes = decodeAttributes(payload.subarray(GENL_HEADER_BYTES))
        if (type === this.#family && attributes !== undefined) told.push({ command: payload[0]!, attributes })
      }
    }
  }

  close(): void {
    closeFd(this.#fd)
  }
}
