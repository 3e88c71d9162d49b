/** Risk: a socket goes to the kernel whose handshake is not over, or is of something else. Against our own server. */
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { closeFd, hasHungUp } from '../../../cluster/libc.ts'
import { ClientHandshake, dialAttachment } from '../../../csi/host/nbd-handshake.ts'
import { MemoryDevice } from '../../memory-device.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

t.test('dialled: what the server says of the export, and a socket that lives as long as the server', async (t) => {
  const file = path.join(temporaryFolder(t), 'a.sock')
  const server = new MemoryServer({ devices: { disk: new MemoryDevice({ sizeBytes: 1 << 20 }) } })
  await server.listener.listenUnix(file)
  const { fd, facts } = await dialAttachment(file, 2000)
  t.equal(facts.sizeBytes, 1 << 20)
  t.equal(facts.blockSizeBytes, 4096)
  t.ok((facts.flags & 1) === 1, 'flags are there')
  t.notOk(hasHungUp(fd, true))
  await server.close()
  while (!hasHungUp(fd, true)) await new Promise((resolve) => setTimeout(resolve, 5))
  closeFd(fd)
})

t.test('nobody there, one who is silent, one who speaks something else', async (t) => {
  const folder = temporaryFolder(t)
  const absent = { code: 'attachment-absent' }
  await t.rejects(dialAttachment(path.join(folder, 'nobody'), 1000), { ...absent, message: /ENOENT/ })
  const server = net.createServer((socket) => socket.on('error', () => undefined).resume())
  await new Promise<void>((resolve) => server.listen(path.join(folder, 'silent'), resolve))
  await t.rejects(dialAttachment(path.join(folder, 'silent'), 100), { ...absent, message: /did not answer/ })
  server.close()
  const other = net.createServer((socket) => socket.on('error', () => undefined).end('HTTP/1.1 400 Bad\r\n\r\n'))
  await new Promise<void>((resolve) => other.listen(path.join(folder, 'other'), resolve))
  await t.rejects(dialAttachment(path.join(folder, 'other'), 1000), { ...absent, message: /does not speak NBD/ })
  other.close()
})

t.test('a refusal is told in the words of the server; bytes may come one by one', (t) => {
  const greeting = Buffer.from('4e42444d4147494349484156454f50540003', 'hex')
  const refusal = Buffer.concat([Buffer.from('0003e889045565a9', 'hex'), Buffer.alloc(12), Buffer.from('it is locked')])
  refusal.writeUInt32BE(7, 8)
  refusal.writeUInt32BE(0x80000002, 12)
  refusal.writeUInt32BE(12, 16)
  const handshake = new ClientHandshake()
  const steps = [...greeting, ...refusal].map((byte) => handshake.feed(Buffer.from([byte])))
  t.same(steps.filter(({ type }) => type !== 'more').map(({ type }) => type), ['send', 'refused'])
  t.match(steps.at(-1), { reason: 'it is locked' })
  t.end()
})
