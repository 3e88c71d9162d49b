/** Risk: a server that answers a read in part holds a command for ever; or its pieces overlap, and memory is shown. */
import t from 'tap'
import { NbdConnection, READ } from '../../cli/load/nbd-connection.ts'
import { aTurn, FakeSocket } from '../fuzz/fake-socket.ts'

const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}
const chunk = (flags: number, at: number, data: Buffer): Buffer => {
  const head = Buffer.from('668e33ef00000001000000000000000100000000', 'hex')
  head.writeUInt16BE(flags, 4)
  head.writeUInt32BE(8 + data.length, 16)
  return Buffer.concat([head, u64(at), data])
}
const optionReply = (option: number, type: number, data = ''): Buffer => {
  const head = Buffer.from(`0003e889045565a9${'00'.repeat(12)}${data}`, 'hex')
  head.writeUInt32BE(option, 8)
  head.writeUInt32BE(type, 12)
  head.writeUInt32BE(data.length / 2, 16)
  return head
}
const GREETING = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.of(0, 3)])

async function connected() {
  const socket = new FakeSocket()
  const opened = NbdConnection.over(socket.asSocket, 'disk', true)
  for (const bytes of [GREETING, optionReply(8, 1), optionReply(7, 3, '000000000000001000000001'), optionReply(7, 1)]) {
    socket.emit('data', bytes)
    await aTurn()
  }
  return { socket, connection: (await opened)! }
}

for (const [name, pieces] of [
  ['in part', [chunk(1, 0, Buffer.alloc(32))]],
  ['with one piece twice', [chunk(0, 0, Buffer.alloc(32)), chunk(1, 0, Buffer.alloc(32))]],
  ['with pieces that overlap', [chunk(0, 16, Buffer.alloc(32)), chunk(1, 0, Buffer.alloc(32))]],
] as const) {
  t.test(`a read that is answered ${name} has no answer, and that is told`, async (t) => {
    const { socket, connection } = await connected()
    const answer = connection.ask({ type: READ, offset: 0, length: 64 })
    for (const piece of pieces) socket.emit('data', piece)
    t.equal(await answer, 'closed')
    t.match(connection.problem, /in part|twice/)
  })
}

t.test('pieces in any order are a whole read', async (t) => {
  const { socket, connection } = await connected()
  const answer = connection.ask({ type: READ, offset: 0, length: 64 })
  for (const at of [32, 0, 16]) socket.emit('data', chunk(0, at, Buffer.alloc(16, at + 1)))
  socket.emit('data', chunk(1, 48, Buffer.alloc(16, 9)))
  t.match(await answer, { errno: 0, data: Buffer.concat([1, 17, 33, 9].map((byte) => Buffer.alloc(16, byte))) })
})
