/**
 * Between a raw image in a file and an NBD export, sparse both ways: of an export only what is allocated is read, of a
 * file only what is no hole, and blocks of zeroes are not written on either side.
 */
import fs from 'node:fs'
import os from 'node:os'
import { errnoName } from '../cluster/libc.ts'
import { seekTo } from '../dataplane/libc.ts'
import { HoldfastError } from '../engine/errors.ts'
import { BLOCK_BYTES, GIB, MIB } from '../engine/units.ts'
import { BLOCK_STATUS, FLUSH, NbdConnection, READ, WRITE } from './load/nbd-connection.ts'
import type { Answer, Request } from './load/nbd-connection.ts'
import { writeWhole } from './whole-write.ts'

const PIECE_BYTES = MIB
/** Pieces under way at once. */
const DEPTH = 8
/** Of what one block status asks about. */
const STATUS_BYTES = GIB
const HOLE = 1
const ZERO = 2
const ZEROES = Buffer.alloc(BLOCK_BYTES)

interface Range {
  offset: number
  length: number
}

/** What goes on meanwhile. */
export interface CopyWatch {
  /** @param doneBytes  of the image, holes too */
  progress(doneBytes: number, dataBytes: number): void
  /** Throws when the user wants it to end. */
  check(): void
}

const failed = (what: string, reason: string): HoldfastError => new HoldfastError('copy-ended', { what, reason })

/** @throws HoldfastError `copy-ended` */
export async function openExport(socketPath: string, name: string, what: string): Promise<NbdConnection> {
  let connection: NbdConnection | undefined
  let reason = 'its node does not serve it'
  try {
    connection = await NbdConnection.open(socketPath, name, true, true)
  } catch (error) {
    reason = (error as Error).message
  }
  if (connection === undefined) throw failed(what, reason)
  return connection
}

async function asked(connection: NbdConnection, request: Request, what: string): Promise<Buffer> {
  const answer: Answer = await connection.ask(request)
  if (answer === 'closed') throw failed(what, 'its node went away')
  if (answer.errno !== 0) throw failed(what, answer.errno === 28 ? 'the pool is full' : `NBD error ${answer.errno}`)
  return answer.data
}

/**
 * @param told   a block status: lengths and flags, 4 bytes each
 * @param offset of its first range, in bytes
 * @param end    of the export: what goes beyond is cut off
 * @returns what holds data, and where the last range ends; undefined: no such answer, or one that leads nowhere
 */
export function dataIn(told: Buffer, offset: number, end: number): { data: Range[]; to: number } | undefined {
  if (told.length === 0 || told.length % 8 !== 0) return undefined
  const data: Range[] = []
  let to = offset
  for (let at = 0; at < told.length && to < end; at += 8) {
    const length = Math.min(told.readUInt32BE(at), end - to)
    if (length === 0) return undefined
    if ((told.readUInt32BE(at + 4) & (HOLE | ZERO)) === 0) data.push({ offset: to, length })
    to += length
  }
  return { data, to }
}

/** What of an export holds data, in order. A node that answers nonsense ends it, and is not asked for ever. */
async function* dataOf(connection: NbdConnection, what: string): AsyncGenerator<Range> {
  const end = connection.sizeBytes
  for (let offset = 0; offset < end;) {
    const length = Math.min(STATUS_BYTES, end - offset)
    const told = dataIn(await asked(connection, { type: BLOCK_STATUS, offset, length }, what), offset, end)
    if (told === undefined) throw failed(what, 'its node says nothing of what is allocated')
    yield* told.data
    offset = told.to
  }
}

/**
 * What of a file is no hole, in order.
 * @throws HoldfastError `image-read`: it does not say that, or became shorter meanwhile
 */
function* dataOfFile(fd: number, filePath: string, sizeBytes: number): Generator<Range> {
  const sought = (result: number): number => {
    if (result >= 0) return result
    throw new HoldfastError('image-read', { path: filePath, reason: errnoName(-result) })
  }
  for (let at = 0; at < sizeBytes;) {
    const data = seekTo(fd, at, 'data')
    if (data === -os.constants.errno.ENXIO) return
    const begin = sought(data)
    if (begin >= sizeBytes) return
    const end = Math.min(sizeBytes, sought(seekTo(fd, begin, 'hole')))
    yield { offset: begin, length: end - begin }
    at = end
  }
}

/** Run `copy` for each piece of the ranges, a few at a time; the first failure ends it when all have ended. */
async function inPieces(
  ranges: AsyncIterable<Range> | Iterable<Range>,
  watch: CopyWatch,
  copy: (piece: Range) => Promise<number>,
): Promise<number> {
  const running = new Set<Promise<void>>()
  let dataBytes = 0
  let failure: unknown
  const begin = (piece: Range): void => {
    const run = copy(piece).then(
      (bytes) => {
        dataBytes += bytes
        watch.progress(piece.offset + piece.length, dataBytes)
      },
      (error: unknown) => {
        failure ??= error
      },
    ).finally(() => running.delete(run))
    running.add(run)
  }
  try {
    for await (const { offset, length } of ranges) {
      for (let at = offset; at < offset + length && failure === undefined;) {
        watch.check()
        // Pieces end at the same places whatever the ranges are.
        const to = Math.min(offset + length, (Math.floor(at / PIECE_BYTES) + 1) * PIECE_BYTES)
        begin({ offset: at, length: to - at })
        at = to
        if (running.size >= DEPTH) await Promise.race(running)
      }
      if (failure !== undefined) break
    }
  } catch (error) {
    failure ??= error
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure
  watch.check()
  return dataBytes
}

/** Runs of blocks that are not all zeroes. */
function* nonZero(bytes: Buffer): Generator<{ at: number; length: number }> {
  let from = -1
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const block = bytes.subarray(at, at + BLOCK_BYTES)
    const isZero = ZEROES.compare(block, 0, block.length, 0, block.length) === 0
    if (isZero && from >= 0) {
      yield { at: from, length: at - from }
      from = -1
    } else if (!isZero && from < 0) from = at
  }
  if (from >= 0) yield { at: from, length: bytes.length - from }
}

/**
 * Into an empty file of the export's size. Durable when it is answered.
 * @returns bytes of data
 */
export async function readInto(
  connection: NbdConnection, fd: number, filePath: string, what: string, watch: CopyWatch,
): Promise<number> {
  const write = (bytes: Buffer, offset: number): void => {
    for (const { at, length } of nonZero(bytes)) writeWhole(fd, bytes, at, length, offset + at)
  }
  const wrote = (run: () => void): void => {
    try {
      run()
    } catch (error) {
      throw new HoldfastError('image-write', { path: filePath, reason: (error as NodeJS.ErrnoException).code ?? 'EIO' })
    }
  }
  wrote(() => fs.ftruncateSync(fd, connection.sizeBytes))
  const dataBytes = await inPieces(dataOf(connection, what), watch, async ({ offset, length }) => {
    const bytes = await asked(connection, { type: READ, offset, length }, what)
    wrote(() => write(bytes, offset))
    return length
  })
  wrote(() => fs.fsyncSync(fd))
  return dataBytes
}

/** What was written before by others, too. @throws HoldfastError `copy-ended` */
export async function flush(connection: NbdConnection, what: string): Promise<void> {
  await asked(connection, { type: FLUSH }, what)
}

/**
 * Out of a file, into an export that holds nothing yet. Durable when it is answered.
 * @returns bytes of data
 */
export async function writeFrom(
  connection: NbdConnection, fd: number, filePath: string, what: string, watch: CopyWatch,
): Promise<number> {
  const { size } = fs.fstatSync(fd)
  const dataBytes = await inPieces(dataOfFile(fd, filePath, size), watch, async ({ offset, length }) => {
    const bytes = Buffer.alloc(length)
    let read: number
    try {
      read = fs.readSync(fd, bytes, 0, length, offset)
    } catch (error) {
      throw new HoldfastError('image-read', { path: filePath, reason: (error as NodeJS.ErrnoException).code ?? 'EIO' })
    }
    if (read < length) throw new HoldfastError('image-read', { path: filePath, reason: 'it became shorter' })
    const runs = [...nonZero(bytes)]
    await Promise.all(runs.map(({ at, length: long }) =>
      asked(connection, { type: WRITE, offset: offset + at, data: bytes.subarray(at, at + long) }, what)))
    return runs.reduce((sum, run) => sum + run.length, 0)
  })
  await flush(connection, what)
  return dataBytes
}
