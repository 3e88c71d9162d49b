/**
 * Risk: our answers differ from those of the servers that clients were written against. One script of requests, legal
 * and not, is sent to ours, to nbdkit's memory plugin and to qemu-nbd; the errno of each answer is compared.
 *
 * Differences that stand are listed with their reason; a new one fails, and so does one that went away.
 */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { RawClient } from '../../dataplane/nbd/raw-client.ts'
import type { Ask } from '../../dataplane/nbd/raw-client.ts'
import { missing, scratch, start, startServer } from './nbd-process.ts'

const SIZE = 16 * 1024 * 1024
const FAR = (1n << 62n)

const script: Record<string, Ask> = {
  'read': { type: P.NBD_CMD_READ, length: 4096 },
  'read at the end': { type: P.NBD_CMD_READ, offset: SIZE - 1, length: 1 },
  'read past the end': { type: P.NBD_CMD_READ, offset: SIZE - 1, length: 2 },
  'read far out': { type: P.NBD_CMD_READ, offset: FAR, length: 1 },
  'read unaligned': { type: P.NBD_CMD_READ, offset: 513, length: 7 },
  'read with FUA': { type: P.NBD_CMD_READ, length: 512, flags: P.NBD_CMD_FLAG_FUA },
  'read with DF': { type: P.NBD_CMD_READ, length: 512, flags: P.NBD_CMD_FLAG_DF },
  'read with an unknown flag': { type: P.NBD_CMD_READ, length: 512, flags: 1 << 14 },
  'read with REQ_ONE': { type: P.NBD_CMD_READ, length: 512, flags: P.NBD_CMD_FLAG_REQ_ONE },
  'write': { type: P.NBD_CMD_WRITE, data: Buffer.alloc(4096, 1) },
  'write unaligned': { type: P.NBD_CMD_WRITE, offset: 5, data: Buffer.alloc(9, 1) },
  'write with FUA': { type: P.NBD_CMD_WRITE, data: Buffer.alloc(512, 1), flags: P.NBD_CMD_FLAG_FUA },
  'write past the end': { type: P.NBD_CMD_WRITE, offset: SIZE - 512, data: Buffer.alloc(1024, 1) },
  'write far out': { type: P.NBD_CMD_WRITE, offset: FAR, data: Buffer.alloc(1024, 1) },
  'flush': { type: P.NBD_CMD_FLUSH },
  'trim': { type: P.NBD_CMD_TRIM, offset: 4096, length: 65536 },
  'trim past the end': { type: P.NBD_CMD_TRIM, offset: SIZE - 512, length: 1024 },
  'zeroes': { type: P.NBD_CMD_WRITE_ZEROES, offset: 4096, length: 65536 },
  'zeroes with NO_HOLE': { type: P.NBD_CMD_WRITE_ZEROES, length: 4096, flags: P.NBD_CMD_FLAG_NO_HOLE },
  'zeroes with FAST_ZERO': { type: P.NBD_CMD_WRITE_ZEROES, length: 4096, flags: P.NBD_CMD_FLAG_FAST_ZERO },
  'zeroes past the end': { type: P.NBD_CMD_WRITE_ZEROES, offset: SIZE - 512, length: 1024 },
  'cache': { type: P.NBD_CMD_CACHE, length: 65536 },
  'cache past the end': { type: P.NBD_CMD_CACHE, offset: SIZE - 512, length: 1024 },
  'block status': { type: P.NBD_CMD_BLOCK_STATUS, length: 65536 },
  'block status with REQ_ONE': { type: P.NBD_CMD_BLOCK_STATUS, length: 65536, flags: P.NBD_CMD_FLAG_REQ_ONE },
  'block status past the end': { type: P.NBD_CMD_BLOCK_STATUS, offset: SIZE - 512, length: 1024 },
  'block status of nothing': { type: P.NBD_CMD_BLOCK_STATUS, length: 0 },
  'resize': { type: 8, length: 0 },
  'an unknown command': { type: 77, length: 0 },
}

/** Request -> [their errno, our errno, why]. */
type Differences = Record<string, [theirs: number, ours: number, why: string]>

const nbdkit: Differences = {}
const qemu: Differences = {
  'write past the end': [22, 28, 'the text says ENOSPC, qemu answers EINVAL'],
  'write far out': [22, 28, 'the text says ENOSPC, qemu answers EINVAL'],
  'zeroes past the end': [22, 28, 'the text says ENOSPC, qemu answers EINVAL'],
}

async function answers(socketPath: string, name: string): Promise<Record<string, number>> {
  const client = await RawClient.open(socketPath, { style: 'structured', contexts: true, name })
  const errnos: Record<string, number> = {}
  for (const [title, ask] of Object.entries(script)) errnos[title] = (await client.ask(ask)).errno
  client.send({ type: P.NBD_CMD_DISC })
  await client.ended()
  client.close()
  return errnos
}

async function compare(t: Test, theirSocket: string, dir: string, known: Differences): Promise<void> {
  const ours = await answers(await startServer(t, dir, SIZE), 'disk')
  const theirs = await answers(theirSocket, 'disk')
  for (const title of Object.keys(script)) {
    const [theirErrno, ourErrno, why] = known[title] ?? [ours[title]!, ours[title]!, 'the same']
    t.same([theirs[title], ours[title]], [theirErrno, ourErrno], `${title}: ${why}`)
  }
}

t.test('nbdkit memory', { skip: missing('nbdkit') }, async (t) => {
  const dir = scratch(t)
  const socket = path.join(dir, 'nbdkit.sock')
  await start(t, 'nbdkit', ['-f', '-U', socket, 'memory', String(SIZE)], socket)
  await compare(t, socket, dir, nbdkit)
})

t.test('qemu-nbd', { skip: missing('qemu-nbd') }, async (t) => {
  const dir = scratch(t)
  const socket = path.join(dir, 'qemu.sock')
  const image = path.join(dir, 'image')
  fs.writeFileSync(image, '')
  fs.truncateSync(image, SIZE)
  const args = ['-f', 'raw', '-x', 'disk', '-k', socket, '-t', '-e', '4', '--discard=unmap', image]
  await start(t, 'qemu-nbd', args, socket)
  await compare(t, socket, dir, qemu)
})
