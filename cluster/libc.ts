/**
 * The few libc calls that Node does not offer and every process of a host may need, bound once through koffi (0.04-0.6
 * us a call, so they stay on the event loop's thread): descriptors, who is at the other end of one, what the kernel is
 * told of this process. Linux only, x86_64 and arm64.
 *
 * Results follow the kernel's own convention: a number >= 0, or the negated errno; `errnoName(-result)` names it.
 * Nothing here throws for what the world does, or blocks.
 */
import { readFileSync } from 'node:fs'
import os from 'node:os'
import koffi from 'koffi'
import { assert } from '../engine/assert.ts'

const lib = koffi.load(null)
const callClose = lib.func('int close(int fd)')
const callFlock = lib.func('int flock(int fd, int operation)')
const callPoll = lib.func('int poll(uint64_t entries, unsigned long count, int timeoutMs)')
const callGetsockopt = lib.func('int getsockopt(int fd, int level, int option, uint64_t into, uint64_t length)')
const callMlock2 = lib.func('int mlock2(uint64_t address, uint64_t length, int flags)')
const callPrctl = lib.func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)')

const MLOCK_ONFAULT = 1
const LOCK_EX = 2
const LOCK_NB = 4
const PR_SET_IO_FLUSHER = 57
const POLLERR = 0x8
const POLLHUP = 0x10
const POLLRDHUP = 0x2000
const SO_PEERCRED = 17
const SOL_SOCKET = 1

export const { EINTR, EAGAIN, EOPNOTSUPP, EIO, ENOSPC } = os.constants.errno

const errnoNames = new Map(Object.entries(os.constants.errno).map(([name, number]) => [number, name]))
errnoNames.set(EAGAIN, 'EAGAIN')

/** `EIO` for 5. Takes a positive errno. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`
}

/** A number >= 0, or the negated errno. */
export function outcome(result: number): number {
  return result >= 0 ? result : -koffi.errno()
}

/** Linux closes the descriptor whatever `close` answers; only a descriptor that was not ours is a bug. */
export function closeFd(fd: number): void {
  assert(callClose(fd) === 0 || koffi.errno() !== os.constants.errno.EBADF, 'close of a descriptor that is not open')
}

/** Take the exclusive lock of an open file description without waiting: 0, or -EAGAIN when another one holds it. */
export function lockExclusive(fd: number): number {
  return outcome(callFlock(fd, LOCK_EX | LOCK_NB))
}

/** Tell the kernel that memory reclaim may wait for this process. Children inherit it. Needs CAP_SYS_RESOURCE. */
export function setIoFlusher(): number {
  return outcome(callPrctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
}

/**
 * Code stays in memory once it was used: else a host short of memory takes it first while its dirty pages wait for this
 * very process, which then reads its own code again and again.
 * What is mapped later is not in it. 1 ms. Needs CAP_IPC_LOCK, or a limit (RLIMIT_MEMLOCK) of all that is mapped.
 * @returns bytes that may stay, or the first negative errno
 */
export function lockCode(maps = readFileSync('/proc/self/maps', 'utf8')): number {
  let bytes = 0
  for (const [, from, to] of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) r-xp .* \/.*$/gm)) {
    const [start, end] = [Number(`0x${from}`), Number(`0x${to}`)]
    const result = outcome(callMlock2(start, end - start, MLOCK_ONFAULT))
    if (result < 0) return result
    bytes += end - start
  }
  return bytes
}

const pollEntry = new Int16Array(4)
const pollEntryWords = new Int32Array(pollEntry.buffer)
const pollEntryAddress = Number(koffi.address(pollEntry.buffer))

/**
 * Whether the other end of a socket is gone, also while bytes that it sent are still to be read. 0.3 us.
 * @param onHalfClosed  whether one that sends no more counts as gone: all that TCP tells of one that was closed
 */
export function hasHungUp(fd: number, onHalfClosed: boolean): boolean {
  pollEntryWords[0] = fd
  pollEntry[2] = onHalfClosed ? POLLRDHUP : 0
  pollEntry[3] = 0
  return callPoll(pollEntryAddress, 1, 0) > 0 && (pollEntry[3]! & (POLLERR | POLLHUP | POLLRDHUP)) !== 0
}

/** `struct ucred`: pid, uid, gid; behind it how long it is. */
const peerCredentials = new Uint32Array([0, 0, 0, 12])
const peerCredentialsAddress = Number(koffi.address(peerCredentials.buffer))

/** The user who connected the other end of a unix socket, or negative errno. */
export function peerUid(fd: number): number {
  peerCredentials[3] = 12
  const result = callGetsockopt(fd, SOL_SOCKET, SO_PEERCRED, peerCredentialsAddress, peerCredentialsAddress + 12)
  return result < 0 ? outcome(result) : peerCredentials[1]!
}

const addresses = new WeakMap<ArrayBufferLike, number>()

/** Where the first byte lies. Good for as long as somebody holds the bytes: a backing store never moves. */
export function addressOf(bytes: Uint8Array): number {
  const store = bytes.buffer
  let address = addresses.get(store)
  if (address === undefined) {
    address = Number(koffi.address(store))
    addresses.set(store, address)
  }
  return address + bytes.byteOffset
}
