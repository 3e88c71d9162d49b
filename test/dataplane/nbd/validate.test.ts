/** Risk: a request reaches the volume that must not, or gets the wrong error. One row per rule of the text. */
import t from 'tap'
import { NBD_ERRNO } from '../../../engine/errors.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { OUT_OF_RANGE, emptyHeader } from '../../../dataplane/nbd/request-parser.ts'
import { validate, volumeRefusal } from '../../../dataplane/nbd/validate.ts'

const { EINVAL, ENOSPC, EPERM } = NBD_ERRNO
const SIZE = 64 * 1024 ** 4
const plain = { chunkedReplies: false, extendedHeaders: false, blockStatus: false }
const full = { chunkedReplies: true, extendedHeaders: false, blockStatus: true }
const extended = { chunkedReplies: true, extendedHeaders: true, blockStatus: true }

interface Row {
  name: string
  type: number
  flags?: number
  offset?: number
  length?: number
  session?: typeof plain
  readOnly?: boolean
  errno: number
}

const { NBD_CMD_READ: READ, NBD_CMD_WRITE: WRITE, NBD_CMD_FLUSH: FLUSH, NBD_CMD_TRIM: TRIM } = P
const { NBD_CMD_CACHE: CACHE, NBD_CMD_WRITE_ZEROES: ZEROES, NBD_CMD_BLOCK_STATUS: STATUS } = P
const { NBD_CMD_FLAG_FUA: FUA, NBD_CMD_FLAG_DF: DF, NBD_CMD_FLAG_NO_HOLE: NO_HOLE } = P
const { NBD_CMD_FLAG_REQ_ONE: REQ_ONE, NBD_CMD_FLAG_FAST_ZERO: FAST, NBD_CMD_FLAG_PAYLOAD_LEN: PAYLOAD } = P

const rows: Row[] = [
  { name: 'read to the very end', type: READ, offset: SIZE - 1, length: 1, errno: 0 },
  { name: 'read one past the end', type: READ, offset: SIZE - 1, length: 2, errno: EINVAL },
  { name: 'read of nothing at the end', type: READ, offset: SIZE, length: 0, errno: 0 },
  { name: 'read far out', type: READ, offset: OUT_OF_RANGE, length: 1, errno: EINVAL },
  { name: 'offset and length that would wrap', type: READ, offset: OUT_OF_RANGE, length: OUT_OF_RANGE, errno: EINVAL },
  { name: 'read of the longest payload', type: READ, length: P.PAYLOAD_BYTES_MAX, errno: 0 },
  { name: 'read of more', type: READ, length: P.PAYLOAD_BYTES_MAX + 1, errno: EINVAL },
  { name: 'write past the end', type: WRITE, offset: SIZE, length: 1, errno: ENOSPC },
  { name: 'write on a read-only export', type: WRITE, length: 1, readOnly: true, errno: EPERM },
  { name: 'zeroes past the end', type: ZEROES, offset: 1, length: SIZE, errno: ENOSPC },
  { name: 'zeroes on a read-only export', type: ZEROES, length: 1, readOnly: true, errno: EPERM },
  { name: 'trim past the end', type: TRIM, offset: 1, length: SIZE, errno: EINVAL },
  { name: 'trim on a read-only export', type: TRIM, length: 1, readOnly: true, errno: EPERM },
  { name: 'trim of everything', type: TRIM, length: SIZE, errno: 0 },
  { name: 'cache past the end', type: CACHE, offset: SIZE, length: 1, errno: EINVAL },
  { name: 'cache on a read-only export', type: CACHE, length: 1, readOnly: true, errno: 0 },
  { name: 'flush', type: FLUSH, errno: 0 },
  { name: 'flush with FUA', type: FLUSH, flags: FUA, errno: 0 },
  { name: 'flush with a range', type: FLUSH, length: 1, errno: EINVAL },
  { name: 'flush on a read-only export', type: FLUSH, readOnly: true, errno: 0 },
  { name: 'block status', type: STATUS, length: SIZE, session: full, errno: 0 },
  { name: 'block status without a context', type: STATUS, length: 1, errno: EINVAL },
  { name: 'block status of nothing', type: STATUS, session: full, errno: EINVAL },
  { name: 'block status past the end', type: STATUS, offset: SIZE, length: 1, session: full, errno: EINVAL },
  { name: 'REQ_ONE on block status', type: STATUS, flags: REQ_ONE, length: 1, session: full, errno: 0 },
  { name: 'REQ_ONE elsewhere', type: READ, flags: REQ_ONE, length: 1, errno: EINVAL },
  { name: 'FUA on a read', type: READ, flags: FUA, length: 1, errno: 0 },
  { name: 'DF on a structured read', type: READ, flags: DF, length: 1, session: full, errno: 0 },
  { name: 'DF without structured replies', type: READ, flags: DF, length: 1, errno: EINVAL },
  { name: 'DF on a write', type: WRITE, flags: DF, length: 1, session: full, errno: EINVAL },
  { name: 'all flags of write zeroes', type: ZEROES, flags: FUA | NO_HOLE | FAST, length: 1, errno: 0 },
  { name: 'NO_HOLE on a trim', type: TRIM, flags: NO_HOLE, length: 1, errno: EINVAL },
  { name: 'an unknown flag', type: WRITE, flags: 1 << 15, length: 1, errno: EINVAL },
  { name: 'PAYLOAD_LEN in a compact header', type: WRITE, flags: PAYLOAD, length: 1, errno: EINVAL },
  { name: 'extended write', type: WRITE, flags: PAYLOAD | FUA, length: 1, session: extended, errno: 0 },
  { name: 'extended write without payload', type: WRITE, length: 1, session: extended, errno: EINVAL },
  { name: 'payload on a read', type: READ, flags: PAYLOAD, length: 1, session: extended, errno: EINVAL },
  { name: 'payload on block status', type: STATUS, flags: PAYLOAD, length: 8, session: extended, errno: EINVAL },
  { name: 'resize, which is not offered', type: 8, errno: EINVAL },
  { name: 'an unknown command', type: 0xffff, errno: EINVAL },
  { name: 'disconnect with anything in it', type: P.NBD_CMD_DISC, flags: 0xffff, offset: OUT_OF_RANGE, errno: 0 },
]

for (const row of rows) {
  t.test(row.name, async (t) => {
    const header = {
      ...emptyHeader(), type: row.type, flags: row.flags ?? 0, offsetBytes: row.offset ?? 0,
      lengthBytes: row.length ?? 0,
    }
    const refusal = validate(header, { sizeBytes: SIZE, readOnly: row.readOnly ?? false }, row.session ?? plain)
    t.equal(refusal?.errno ?? 0, row.errno)
  })
}

t.test('the volume decides the size at the moment of the request', async (t) => {
  const header = { ...emptyHeader(), type: READ, offsetBytes: 4096, lengthBytes: 4096 }
  t.equal(validate(header, { sizeBytes: 4096, readOnly: false }, plain)?.errno, EINVAL)
  t.equal(validate(header, { sizeBytes: 8192, readOnly: false }, plain), undefined)
})

t.test('only the values of the text leave', async (t) => {
  for (const errno of [2, 13, 110, -5]) t.equal(volumeRefusal(errno).errno, NBD_ERRNO.EIO)
  for (const errno of [1, 5, 12, 22, 28, 75, 95, 108]) t.equal(volumeRefusal(errno).errno, errno)
})
