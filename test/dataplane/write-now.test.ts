/** What the kernel takes at once and what is left for the stream are together what was to be sent, in order. */
import { once } from 'node:events'
import net from 'node:net'
import t from 'tap'
import { socketPair } from '../../dataplane/libc.ts'
import { writeNow } from '../../dataplane/write-now.ts'

function pair(t: { teardown(end: () => void): unknown }): [net.Socket, net.Socket] {
  const fds = socketPair()!
  const [a, b] = fds.map((fd) => new net.Socket({ fd })) as [net.Socket, net.Socket]
  t.teardown(() => {
    a.destroy()
    b.destroy()
  })
  return [a, b]
}

t.test('what a peer that does not read leaves is for the stream, and nothing overtakes it', async (t) => {
  const [sender, reader] = pair(t)
  reader.pause()
  const pieces = Array.from({ length: 64 }, (_, i) => new Uint8Array(32_768 + i).fill(i))
  const rest = writeNow(sender, pieces)
  t.ok(rest.length > 0 && rest.length <= pieces.length, 'the kernel is full')
  t.equal(writeNow(sender, [new Uint8Array(1)]).length, 1, 'it takes nothing more')
  for (const piece of rest) sender.write(piece)
  const last = [Uint8Array.of(255)]
  t.equal(writeNow(sender, last), last, 'what the stream has goes first')
  sender.end(last[0]!)
  const got: Buffer[] = []
  for await (const bytes of reader) got.push(bytes as Buffer)
  t.ok(Buffer.concat(got).equals(Buffer.concat([...pieces, ...last])))
})

t.test('what finds room leaves nothing, and a socket that is gone takes nothing', async (t) => {
  const [sender, reader] = pair(t)
  const pieces = [Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)]
  t.same(writeNow(sender, pieces), [])
  const [bytes] = (await once(reader, 'data')) as [Buffer]
  t.same([...bytes], [1, 2, 3])
  sender.destroy()
  t.equal(writeNow(sender, pieces), pieces)
})
