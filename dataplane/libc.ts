/**
 * The few libc calls that Node does not offer and a data path needs, bound once through koffi (0.04-0.6 us a call, so
 * they stay on the event loop's thread), beside those of every process (`cluster/libc.ts`). Linux only, x86_64 and
 * arm64.
 *
 * Results follow the kernel's own convention: a number >= 0, or the negated errno; `errnoName(-result)` names it.
 * Nothing here throws for what the world does. No function blocks for the medium except `pwritev`, whose caller
 * bounds the dirty bytes, and `fallocate`, which belongs to start-up.
 *
 * Buffers are reached by address. A backing store never moves and is held by its `Uint8Array` for the length of the
 * call; an address is looked up once per ArrayBuffer, since callers cut their buffers from few slabs.
 */
import koffi from 'koffi'
import { EINTR, EIO, addressOf, outcome } from '../cluster/libc.ts'

const lib = koffi.load(null)
const callFcntl = lib.func('int fcntl(int fd, int command, ...)')
const callIoctl = lib.func('int ioctl(int fd, unsigned long request, ...)')
const callFallocate = lib.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)')
const callFadvise = lib.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)')
const callPrctl = lib.func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)')
const callPreadv2 = lib.func('int64_t preadv2(int fd, uint64_t vector, int count, int64_t offset, int flags)')
const callPwritev = lib.func('int64_t pwritev(int fd, uint64_t vector, int count, int64_t offset)')
const callWritev = lib.func('int64_t writev(int fd, uint64_t vector, int count)')
const callClockGettime = lib.func('int clock_gettime(int clock, uint64_t into)')
const callLseek = lib.func('int64_t lseek(int fd, int64_t offset, int whence)')
const callSocketpair = lib.func('int socketpair(int domain, int type, int protocol, uint64_t into)')
const callSetrlimit = lib.func('int setrlimit(int resource, void *limits)')
const callSetsockopt = lib.func('int setsockopt(int fd, int level, int option, uint64_t value, uint32_t length)')
const callMallocTrim = lib.func('int malloc_trim(size_t keepBytes)')

const POSIX_FADV_DONTNEED = 4
const F_DUPFD_CLOEXEC = 1030
const BLKGETSIZE64 = 0x80081272
const PR_SET_PDEATHSIG = 1
const PR_GET_DUMPABLE = 3
const PR_SET_DUMPABLE = 4
const RWF_NOWAIT = 8
const RLIMIT_CORE = 4
const CLOCK_BOOTTIME = 7
const AF_UNIX = 1
const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0o2000000 | 0o4000
const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** Buffers that one `pwritev` or `writev` takes (UIO_MAXIOV). */
export const IOVEC_MAX = 1024

/** A second descriptor of the same open file or socket, closed on exec. Negative errno when there are too many. */
export function dup(fd: number): number {
  return outcome(callFcntl(fd, F_DUPFD_CLOEXEC, 'int', 0))
}

/** Reserve space for `[0, lengthBytes)` of a file and grow it to that size. */
export function preallocate(fd: number, lengthBytes: number): number {
  for (;;) {
    const result = outcome(callFallocate(fd, 0, 0, lengthBytes))
    if (result !== -EINTR) return result
  }
}

/**
 * Drop the pages of a file or block device from the page cache that are not dirty, under write-back or mapped. Runs in
 * the thread pool, 0.01 to 0.8 s a GiB by the size of its folios. A file system without a medium (tmpfs) keeps all.
 * @param done  0, or a negative errno
 */
export function dropPages(fd: number, done: (result: number) => void): void {
  callFadvise.async(fd, 0, 0, POSIX_FADV_DONTNEED, (error: unknown, errno: number) => done(error ? -EIO : -errno))
}

/**
 * Where the next data of a file begins at or behind a place, or the next hole. -ENXIO: there is none before the end. A
 * file system that does not know holes calls everything data.
 */
export function seekTo(fd: number, offsetBytes: number, what: 'data' | 'hole'): number {
  return outcome(callLseek(fd, offsetBytes, what === 'data' ? SEEK_DATA : SEEK_HOLE))
}

const word = new BigUint64Array(1)

/** Size of a block device in bytes, or negative errno. */
export function blockDeviceBytes(fd: number): number {
  const result = outcome(callIoctl(fd, BLKGETSIZE64, 'void *', word))
  return result < 0 ? result : Number(word[0])
}

/** Be sent `signal` when the parent ends. Look at `process.ppid` afterwards: the parent may have ended before. */
export function setParentDeathSignal(signal: number): number {
  return outcome(callPrctl(PR_SET_PDEATHSIG, signal, 0, 0, 0))
}

/** No core file of this process, nor of its children, which inherit it. */
export function forbidCoreFiles(): number {
  return outcome(callSetrlimit(RLIMIT_CORE, new BigUint64Array(2)))
}

/** The kernel shows memory and environment of this process to nobody but root. Children do not inherit it. */
export function hideMemory(): number {
  return outcome(callPrctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
}

export const isMemoryHidden = (): boolean => callPrctl(PR_GET_DUMPABLE, 0, 0, 0, 0) === 0

/**
 * Give whole free pages of the allocator's arenas back to the kernel (glibc keeps them otherwise). Runs in the thread
 * pool, 1-10 ms; an allocation in an arena waits while that one is looked through.
 */
export function trimHeap(done: () => void): void {
  callMallocTrim.async(0, () => done())
}

const option = new Int32Array(1)
const optionAddress = Number(koffi.address(option.buffer))

/**
 * How much a socket takes before who writes has to wait, as far as the machine allows it (net.core.wmem_max; Linux
 * doubles it for what it keeps beside). Of TCP it would end the kernel's own choice.
 */
export function setSendBuffer(fd: number, bytes: number): number {
  option[0] = bytes
  return outcome(callSetsockopt(fd, SOL_SOCKET, SO_SNDBUF, optionAddress, option.byteLength))
}

const timespec = new BigInt64Array(2)
const timespecAddress = Number(koffi.address(timespec.buffer))
const timespecWords = new Uint32Array(timespec.buffer)

/** Milliseconds since boot, time asleep included (CLOCK_BOOTTIME). */
export function bootTimeMs(): number {
  callClockGettime(CLOCK_BOOTTIME, timespecAddress)
  return (timespecWords[1]! * 0x1_0000_0000 + timespecWords[0]!) * 1000 + timespecWords[2]! / 1e6
}

const pairOfSockets = new Int32Array(2)
const pairOfSocketsAddress = Number(koffi.address(pairOfSockets.buffer))

/** Two unix sockets that are connected to each other, closed on exec. Undefined: out of descriptors. */
export function socketPair(): [number, number] | undefined {
  const result = callSocketpair(AF_UNIX, SOCK_STREAM_CLOEXEC_NONBLOCK, 0, pairOfSocketsAddress)
  return result < 0 ? undefined : [pairOfSockets[0]!, pairOfSockets[1]!]
}

/** `struct iovec[IOVEC_MAX]`, 16 bytes each: address, length. In 32-bit words, since 64-bit ones would be bigints. */
const vector = new Uint32Array(IOVEC_MAX * 4)
const vectorAddress = Number(koffi.address(vector.buffer))
function setVector(index: number, bytes: Uint8Array, skipBytes: number): void {
  const address = addressOf(bytes) + skipBytes
  const high = Math.floor(address / 0x1_0000_0000)
  vector[index * 4] = address - high * 0x1_0000_0000
  vector[index * 4 + 1] = high
  vector[index * 4 + 2] = bytes.byteLength - skipBytes
}

/** Memory of which the first byte's address is a multiple of `alignment` (a power of two), as direct I/O wants it. */
export function alignedMemory(bytes: number, alignment: number): Uint8Array {
  const store = new ArrayBuffer(bytes + alignment)
  const beyond = Number(koffi.address(store)) % alignment
  return new Uint8Array(store, beyond === 0 ? 0 : alignment - beyond, bytes)
}

/** Read from the page cache only: bytes read (perhaps fewer than asked), -EAGAIN when the medium would be needed. */
export function readCached(fd: number, offsetBytes: number, into: Uint8Array): number {
  setVector(0, into, 0)
  return outcome(callPreadv2(fd, vectorAddress, 1, offsetBytes, RWF_NOWAIT))
}

/**
 * Write `buffers` from number `first` on, without the first `skipBytes` bytes of that one, at `offsetBytes`.
 * @returns bytes written, perhaps fewer than given (at most IOVEC_MAX buffers are taken), or negative errno
 */
export function pwritev(
  fd: number,
  offsetBytes: number,
  buffers: readonly Uint8Array[],
  first: number,
  skipBytes: number,
): number {
  const count = Math.min(buffers.length - first, IOVEC_MAX)
  for (let i = 0; i < count; i++) setVector(i, buffers[first + i]!, i === 0 ? skipBytes : 0)
  return outcome(callPwritev(fd, vectorAddress, count, offsetBytes))
}

/**
 * Write `buffers` to a socket that does not block, as much as it takes now.
 * @returns bytes written, perhaps fewer than given (at most IOVEC_MAX buffers are taken), or negative errno
 */
export function writev(fd: number, buffers: readonly Uint8Array[]): number {
  const count = Math.min(buffers.length, IOVEC_MAX)
  for (let i = 0; i < count; i++) setVector(i, buffers[i]!, 0)
  return outcome(callWritev(fd, vectorAddress, count))
}
