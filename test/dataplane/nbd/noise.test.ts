/** Risk: bytes nobody thought of, on real connections. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { MemoryDevice } from '../../memory-device.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { Random } from '../../sim/random.ts'
import { RawClient } from './raw-client.ts'

t.test('noise on connections, mixed with requests, ends those connections only', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nbd-'))
  const device = new MemoryDevice({ sizeBytes: 1 << 26, pace: 'turn' })
  const server = new MemoryServer({ devices: { disk: device } })
  const file = path.join(dir, 's')
  await server.listener.listenUnix(file)
  const quiet = await RawClient.open(file, { style: 'structured', contexts: true })
  await quiet.ask({ type: P.NBD_CMD_WRITE, offset: 1 << 25, data: Buffer.alloc(4096, 1) })
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed)
    const style = (['simple', 'structured', 'extended'] as const)[seed % 3]!
    const noisy = await RawClient.open(file, { style, contexts: style !== 'simple' })
    for (let i = random.int(20); i > 0; i--) {
      const type = random.int(9)
      const data = type === P.NBD_CMD_WRITE ? { data: Buffer.alloc(random.int(20_000), seed) } : {}
      noisy.send({ type, offset: random.int(1 << 25), length: random.int(1 << 20), flags: random.int(64), ...data })
      if (type === P.NBD_CMD_DISC) break
    }
    noisy.socket.write(Buffer.from(Array.from({ length: random.int(300) }, () => random.int(256))))
    if (random.int(2) === 0) noisy.socket.destroy()
    else noisy.socket.end()
    while (!noisy.closed) await new Promise(setImmediate)
  }
  const read = await quiet.ask({ type: P.NBD_CMD_READ, offset: 1 << 25, length: 4096 })
  t.ok(read.data.equals(Buffer.alloc(4096, 1)))
  quiet.close()
  while (server.listener.connections > 0) await new Promise((resolve) => setTimeout(resolve, 1))
  t.equal(device.pending, 0)
  await server.close()
  fs.rmSync(dir, { recursive: true })
})
