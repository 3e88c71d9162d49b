/** Risk: the client that judges the kill tests does not see a lost, torn, misplaced or stale block. */
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryDevice } from '../../memory-device.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { contradictions } from '../../../cli/load/instant.ts'
import { StampedClient } from '../../../cli/load/stamped-client.ts'
import { Random } from '../../sim/random.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const SIZE_BYTES = 4 * 2 ** 20
const TOTAL_BLOCKS = SIZE_BYTES / 4096

async function serve(t: Test, socketPath: string, device: MemoryDevice): Promise<MemoryServer> {
  const server = new MemoryServer({ devices: { disk: device } })
  await server.listener.listenUnix(socketPath)
  t.teardown(() => server.close())
  return server
}

const makeClient = (socketPath: string, seed: number): StampedClient => {
  const random = new Random(seed)
  return new StampedClient({ socketPath, exportName: 'disk', random: () => random.float(), depth: 8 })
}

t.test('a server that keeps everything, closed under load', async (t) => {
  const socketPath = path.join(temporaryFolder(t), 's')
  const device = new MemoryDevice({ sizeBytes: SIZE_BYTES, pace: 'turn' })
  const client = makeClient(socketPath, 1)
  for (let round = 0; round < 4; round++) {
    const server = await serve(t, socketPath, device)
    client.start()
    await client.connected()
    const enough = client.counts.writes + 300
    while (client.counts.writes < enough) await new Promise((resolve) => setImmediate(resolve))
    if (round < 3) await server.close()
  }
  await client.pause()
  await client.verify()
  await client.close()
  t.same(client.problems, [])
  t.equal(client.reconnects, 3)
  t.ok(client.counts.reads > 100 && client.counts.flushes > 10 && client.counts.trims > 10)
})

t.test('a session of a cluster breaks: what no flush covered may be gone, and does not come later', async (t) => {
  const socketPath = path.join(temporaryFolder(t), 's')
  const device = new MemoryDevice({ sizeBytes: SIZE_BYTES })
  await serve(t, socketPath, device)
  const random = new Random(3)
  const client = new StampedClient({
    socketPath, exportName: 'disk', random: () => random.float(), depth: 8, writeback: true, isCluster: true,
  })
  await client.connected()
  await client.write(0, 2, false)
  t.ok(await client.flush())
  const flushed = [blockOf(device, 0), blockOf(device, 1)]
  await client.write(0, 2, false)
  const later = blockOf(device, 1)
  device.faults.push({ kind: 'read', offsetBytes: 0, lengthBytes: 4096, errno: 5 })
  t.notOk(await client.read(0, 1))
  device.faults.pop()
  while (client.sessions < 2) await new Promise((resolve) => setImmediate(resolve))
  device.write(0, flushed[0]!, false, () => {})
  await client.verify()
  t.same(client.problems, [])
  t.equal(client.counts.breaks, 1)
  t.same(blockOf(device, 1), later)
  device.write(4096, flushed[1]!, false, () => {})
  await client.verify()
  await client.close()
  t.match(client.problems, [/block 1: operation 1 was read, possible are 2/], 'what was read since stays')
})

const imageOf = (device: MemoryDevice): Buffer =>
  Buffer.concat(Array.from({ length: TOTAL_BLOCKS }, (_, lba) => blockOf(device, lba)))

t.test('a snapshot under load: true ones pass; an old, a late, a torn one are caught', async (t) => {
  const socketPath = path.join(temporaryFolder(t), 's')
  const device = new MemoryDevice({ sizeBytes: SIZE_BYTES })
  await serve(t, socketPath, device)
  const client = makeClient(socketPath, 5)
  client.start()
  await client.connected()
  const answered = async (count: number): Promise<void> => {
    const enough = client.counts.acknowledgedWrites + count
    while (client.counts.acknowledgedWrites < enough) await new Promise((resolve) => setImmediate(resolve))
  }
  await answered(300)
  const old = imageOf(device)
  await answered(100)
  const since = client.beginInstant()
  await answered(50)
  const early = imageOf(device)
  await answered(200)
  const taken = imageOf(device)
  const possible = client.endInstant(since)
  await answered(100)
  const late = imageOf(device)
  await client.pause()
  await client.close()
  t.same(client.problems, [])
  const judged = (image: Buffer): string[] =>
    contradictions(since, [{ name: 'disk', possible, found: client.stampsOf(image, 0) }])
  t.same(judged(early), [])
  t.same(judged(taken), [])
  t.match(judged(old)[0], /is shown, possible are|was there before the snapshot was ordered/)
  t.match(judged(late)[0], /is shown, possible are/)
  const half = SIZE_BYTES / 2
  const torn = Buffer.concat([early.subarray(0, half), taken.subarray(half)])
  t.match(judged(torn)[0], /is shown, but \d+ over it was there before operation \d+ of disk was sent/)
})

const WRONGS: Record<string, { spoil: (device: MemoryDevice) => void; words: RegExp }> = {
  'a block that was lost': {
    spoil: (device) => device.trim(5 * 4096, 4096, false, () => {}),
    words: /block 5: operation 0 was read, possible are \d+\n.*write/,
  },
  'a block that lies elsewhere': {
    spoil: (device) => device.write(6 * 4096, blockOf(device, 9), false, () => {}),
    words: /block 6: it belongs to block 9/,
  },
  'a block of two writes': {
    spoil: (device) => device.write(7 * 4096 + 512, blockOf(device, 8).subarray(512), false, () => {}),
    words: /block 7: it is torn at byte 512/,
  },
  'a block of somebody else': {
    spoil: (device) => device.write(3 * 4096, Buffer.alloc(4096, 7), false, () => {}),
    words: /block 3: no stamp/,
  },
}

function blockOf(device: MemoryDevice, lba: number): Buffer {
  const block = Buffer.alloc(4096)
  device.read(lba * 4096, block, () => {})
  return block
}

for (const [name, { spoil, words }] of Object.entries(WRONGS)) {
  t.test(`${name} is found`, async (t) => {
    const socketPath = path.join(temporaryFolder(t), 's')
    const device = new MemoryDevice({ sizeBytes: SIZE_BYTES })
    await serve(t, socketPath, device)
    const client = makeClient(socketPath, 2)
    await client.fill()
    await client.verify()
    t.same(client.problems, [])
    t.equal(client.counts.verifiedBlocks, TOTAL_BLOCKS)
    spoil(device)
    await client.verify()
    await client.close()
    t.equal(client.problems.length, 1)
    t.match(client.problems[0], words)
  })
}

t.test('an old block that comes back is found', async (t) => {
  const socketPath = path.join(temporaryFolder(t), 's')
  const device = new MemoryDevice({ sizeBytes: SIZE_BYTES })
  await serve(t, socketPath, device)
  const client = makeClient(socketPath, 3)
  await client.connected()
  await client.write(4, 1, false)
  const old = blockOf(device, 4)
  await client.write(4, 1, false)
  device.write(4 * 4096, old, false, () => {})
  await client.verify()
  await client.close()
  t.match(client.problems, [/block 4: operation 1 was read, possible are 2/])
})

t.test('rolled back while it was away: it goes on from there, and what was rolled away is not seen', async (t) => {
  const socketPath = path.join(temporaryFolder(t), 's')
  const device = new MemoryDevice({ sizeBytes: SIZE_BYTES })
  await serve(t, socketPath, device)
  const client = makeClient(socketPath, 7)
  client.start()
  await client.connected()
  const answered = async (count: number): Promise<void> => {
    const enough = client.counts.acknowledgedWrites + count
    while (client.counts.acknowledgedWrites < enough) await new Promise((resolve) => setImmediate(resolve))
  }
  await answered(200)
  const then = imageOf(device)
  await answered(200)
  await client.leave()
  const { sessions } = client
  const away = imageOf(device)
  device.write(0, then, false, () => {})
  client.shows(imageOf(device))
  client.comeBack()
  client.start()
  await answered(100)
  t.equal(client.sessions, sessions + 1, 'nothing connected while it was away')
  await client.leave()
  client.shows(imageOf(device))
  client.comeBack()
  await client.verify()
  t.same(client.problems, [])
  await client.leave()
  client.shows(then)
  const lba = Array.from({ length: TOTAL_BLOCKS }, (_, at) => at).find((at) => {
    const place = at * 4096
    return !away.subarray(place, place + 4096).equals(then.subarray(place, place + 4096))
  })!
  device.write(0, then, false, () => {})
  device.write(lba * 4096, away.subarray(lba * 4096, (lba + 1) * 4096), false, () => {})
  client.comeBack()
  await client.connected()
  await client.read(lba, 1)
  await client.close()
  t.ok(client.problems.some((words) => words.includes(`block ${lba}: operation`)), client.problems[0] ?? 'not seen')
})
