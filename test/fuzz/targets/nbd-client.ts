/**
 * What a server tells the client of our tools and tests: greeting, replies to options, replies to requests. Promises:
 * whatever comes, every request has an answer, and a connection that ends says in words what the server did.
 *
 * The first byte says which replies are asked for, and how the bytes are cut.
 */
import { assert } from '../../../engine/assert.ts'
import { BLOCK_STATUS, FLUSH, NbdConnection, READ, WRITE } from '../../../cli/load/nbd-connection.ts'
import type { Answer } from '../../../cli/load/nbd-connection.ts'
import { aTurn, FakeSocket } from '../fake-socket.ts'
import type { Target } from '../target.ts'

const READ_BYTES = 64
const REQUESTS = [
  { type: READ, offset: 4096, length: READ_BYTES }, { type: WRITE, offset: 0, data: Buffer.from('12345678') },
  { type: FLUSH }, { type: BLOCK_STATUS, offset: 0, length: 8192 },
]

const u16 = (value: number): Buffer => Buffer.of(value >> 8, value)
const u32 = (value: number): Buffer => Buffer.of(value >>> 24, value >> 16, value >> 8, value)
const u64 = (value: number): Buffer => Buffer.concat([u32(0), u32(value)])

const greeting = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)])
const reply = (option: number, type: number, data = Buffer.alloc(0)): Buffer =>
  Buffer.concat([Buffer.from('0003e889045565a9', 'hex'), u32(option), u32(type), u32(data.length), data])
const size = reply(7, 3, Buffer.concat([u16(0), u64(2 ** 30), u16(5)]))
const simple = (cookie: number, errno = 0, data = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u32(0x67446698), u32(errno), u64(cookie), data])
const chunk = (cookie: number, type: number, data = Buffer.alloc(0), flags = 1): Buffer =>
  Buffer.concat([u32(0x668e33ef), u16(flags), u16(type), u64(cookie), u32(data.length), data])
const dataChunk = (at: number, length: number, flags: number): Buffer =>
  chunk(1, 1, Buffer.concat([u64(at), Buffer.alloc(length, 7)]), flags)

const structured = [greeting, reply(8, 1)]
const go = [size, reply(7, 1)]

/** Behind the handshake; as it comes where the socket has not told of it yet. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await Promise.resolve()
}

export const target: Target = {
  parsers: ['cli/load/nbd-connection.ts'],
  seeds: () => [
    Buffer.concat([Buffer.of(0), greeting, ...go, simple(1, 0, Buffer.alloc(READ_BYTES, 7)), simple(2), simple(3, 5)]),
    Buffer.concat([
      Buffer.of(1), ...structured, ...go, dataChunk(4096, 32, 0), chunk(1, 2, Buffer.concat([u64(4128), u32(32)])),
      chunk(2, 0), chunk(3, 0x8001, Buffer.concat([u32(28), u16(0)])),
    ]),
    Buffer.concat([
      Buffer.of(3), ...structured, reply(10, 4, Buffer.concat([u32(1), Buffer.from('base:allocation')])), reply(10, 1),
      ...go, dataChunk(4128, 32, 0), dataChunk(4096, 32, 1), chunk(4, 5, Buffer.concat([u32(1), u32(8192), u32(3)])),
    ]),
    Buffer.concat([Buffer.of(4), greeting, reply(7, 2 ** 31 + 6)]),
  ],
  words: ['\x67\x44\x66\x98', '\x66\x8e\x33\xef', 'IHAVEOPT', '\0\x03\xe8\x89\x04\x55\x65\xa9'],
  async execute(input) {
    const how = input[0] ?? 0
    const chunkBytes = (how & 4) === 0 ? 4096 : 1 + (how >> 3)
    const socket = new FakeSocket()
    const answers: Answer[] = []
    let asked = 0
    const ready = NbdConnection.over(socket.asSocket, 'disk', (how & 1) !== 0, (how & 2) !== 0).then((connection) => {
      for (const request of connection === undefined ? [] : REQUESTS) {
        if (request.type === BLOCK_STATUS && (how & 2) === 0) continue
        asked++
        void connection!.ask(request).then((answer) => answers.push(answer))
      }
      return connection
    }, (error: unknown) => {
      // It says in words what the server did; a number out of range is no word.
      if (error instanceof TypeError || error instanceof RangeError) throw error
      return undefined
    })
    for (let at = 1; at < input.length && !socket.destroyed; at += chunkBytes) {
      // What is kept of it is not changed behind its back, as the memory of a socket is not.
      socket.emit('data', Buffer.from(input.subarray(at, at + chunkBytes)))
      await settle()
    }
    await aTurn()
    socket.destroy()
    const connection = await ready
    await connection?.closed
    await aTurn()
    assert(answers.length === asked, 'every request is answered')
    const problem = connection?.problem ?? ''
    assert(!/out of range|buffer bounds|Received/i.test(problem), `a server's mistake has words: ${problem}`)
  },
}
