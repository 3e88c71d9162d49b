/**
 * Names and numbers of the NBD protocol, exactly as in its text (NetworkBlockDevice/nbd, doc/proto.md, with the
 * extended headers), so that one search finds both. All integers on the wire are big-endian.
 *
 *   request, compact   magic u32 | command flags u16 | type u16 | cookie u64 | offset u64 | length u32        28 bytes
 *   request, extended  magic u32 | command flags u16 | type u16 | cookie u64 | offset u64 | length u64        32 bytes
 *   reply, simple      magic u32 | error u32 | cookie u64                                                     16 bytes
 *   reply, structured  magic u32 | reply flags u16 | type u16 | cookie u64 | length u32                       20 bytes
 *   reply, extended    magic u32 | reply flags u16 | type u16 | cookie u64 | offset u64 | length u64          32 bytes
 *   option             'IHAVEOPT' u64 | option u32 | length u32 | data                                 16 bytes +
 *   option reply       magic u64 | option u32 | reply type u32 | length u32 | data                     20 bytes +
 */
import { assert } from '../../engine/assert.ts'

/** 'NBDMAGIC' and 'IHAVEOPT', each as two words. */
export const NBDMAGIC = [0x4e42444d, 0x41474943] as const
export const IHAVEOPT = [0x49484156, 0x454f5054] as const
export const NBD_OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const

/** Handshake flags (server) and the client's answer to them. */
export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0
export const NBD_FLAG_NO_ZEROES = 1 << 1
export const NBD_FLAG_C_FIXED_NEWSTYLE = 1 << 0
export const NBD_FLAG_C_NO_ZEROES = 1 << 1

/** Transmission flags. */
export const NBD_FLAG_HAS_FLAGS = 1 << 0
export const NBD_FLAG_READ_ONLY = 1 << 1
export const NBD_FLAG_SEND_FLUSH = 1 << 2
export const NBD_FLAG_SEND_FUA = 1 << 3
export const NBD_FLAG_SEND_TRIM = 1 << 5
export const NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6
export const NBD_FLAG_SEND_DF = 1 << 7
export const NBD_FLAG_CAN_MULTI_CONN = 1 << 8
export const NBD_FLAG_SEND_CACHE = 1 << 10
export const NBD_FLAG_SEND_FAST_ZERO = 1 << 11

export const NBD_OPT_EXPORT_NAME = 1
export const NBD_OPT_ABORT = 2
export const NBD_OPT_LIST = 3
export const NBD_OPT_STARTTLS = 5
export const NBD_OPT_INFO = 6
export const NBD_OPT_GO = 7
export const NBD_OPT_STRUCTURED_REPLY = 8
export const NBD_OPT_LIST_META_CONTEXT = 9
export const NBD_OPT_SET_META_CONTEXT = 10
export const NBD_OPT_EXTENDED_HEADERS = 11

export const NBD_REP_ACK = 1
export const NBD_REP_SERVER = 2
export const NBD_REP_INFO = 3
export const NBD_REP_META_CONTEXT = 4
export const NBD_REP_ERR_UNSUP = 0x80000001
export const NBD_REP_ERR_POLICY = 0x80000002
export const NBD_REP_ERR_INVALID = 0x80000003
export const NBD_REP_ERR_TLS_REQD = 0x80000005
export const NBD_REP_ERR_UNKNOWN = 0x80000006
export const NBD_REP_ERR_SHUTDOWN = 0x80000007
export const NBD_REP_ERR_TOO_BIG = 0x80000009
export const NBD_REP_ERR_EXT_HEADER_REQD = 0x8000000a

export const NBD_INFO_EXPORT = 0
export const NBD_INFO_NAME = 1
export const NBD_INFO_DESCRIPTION = 2
export const NBD_INFO_BLOCK_SIZE = 3

export const NBD_REQUEST_MAGIC = 0x25609513
export const NBD_EXTENDED_REQUEST_MAGIC = 0x21e41c71
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef
export const NBD_EXTENDED_REPLY_MAGIC = 0x6e8a278c

export const NBD_CMD_READ = 0
export const NBD_CMD_WRITE = 1
export const NBD_CMD_DISC = 2
export const NBD_CMD_FLUSH = 3
export const NBD_CMD_TRIM = 4
export const NBD_CMD_CACHE = 5
export const NBD_CMD_WRITE_ZEROES = 6
export const NBD_CMD_BLOCK_STATUS = 7

export const NBD_CMD_FLAG_FUA = 1 << 0
export const NBD_CMD_FLAG_NO_HOLE = 1 << 1
export const NBD_CMD_FLAG_DF = 1 << 2
export const NBD_CMD_FLAG_REQ_ONE = 1 << 3
export const NBD_CMD_FLAG_FAST_ZERO = 1 << 4
export const NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5

export const NBD_REPLY_FLAG_DONE = 1 << 0
export const NBD_REPLY_TYPE_NONE = 0
export const NBD_REPLY_TYPE_OFFSET_DATA = 1
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5
export const NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6
export const NBD_REPLY_TYPE_ERROR = 0x8001

export const NBD_STATE_HOLE = 1 << 0
export const NBD_STATE_ZERO = 1 << 1

export const REQUEST_BYTES = 28
export const EXTENDED_REQUEST_BYTES = 32
export const SIMPLE_REPLY_BYTES = 16
export const STRUCTURED_REPLY_BYTES = 20
export const EXTENDED_REPLY_BYTES = 32
export const OPTION_BYTES = 16
export const OPTION_REPLY_BYTES = 20
/** The offset in front of the data of an OFFSET_DATA chunk. */
export const OFFSET_DATA_BYTES = 8
/** Offset u64 and hole size u32. */
export const OFFSET_HOLE_BYTES = 12

/** Longest payload we ask clients to keep to, and the longest we take: a longer WRITE closes the connection. */
export const PAYLOAD_ADVERTISED_BYTES = 32 * 1024 * 1024
export const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
/** "SHOULD be no longer than 256 bytes" (doc/proto.md "Conventions"); enough for every volume name. */
export const NAME_BYTES_MAX = 256

/** The one metadata context, and the id under which it is known after SET_META_CONTEXT. */
export const BASE_ALLOCATION = 'base:allocation'
export const BASE_ALLOCATION_ID = 1

/** What the handshake settled; travels to the worker with the socket, so it is plain data. */
export interface Negotiated {
  structuredReplies: boolean
  /** Takes precedence over structured replies. */
  extendedHeaders: boolean
  /** Ids of the selected metadata contexts. */
  metaContexts: number[]
  noZeroes: boolean
}

/** What an export can do, as told at the handshake. */
export function transmissionFlags(facts: { readOnly: boolean; chunkedReplies: boolean }): number {
  return NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM
    | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE | NBD_FLAG_SEND_FAST_ZERO
    | (facts.readOnly ? NBD_FLAG_READ_ONLY : 0) | (facts.chunkedReplies ? NBD_FLAG_SEND_DF : 0)
}

assert(EXTENDED_REQUEST_BYTES - REQUEST_BYTES === 4, 'extended requests differ by a wider length only')
assert(PAYLOAD_ADVERTISED_BYTES <= PAYLOAD_BYTES_MAX, 'what is advertised is accepted')
