/**
 * NBD over the frontend of a replicated volume, primary here and elsewhere: what clients may ask is held against an
 * array of bytes; held requests, closed connections and ended times cost nobody else anything.
 */
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { newDataKey } from '../../../cluster/keys/data-key.ts'
import type { UnwrappedKeys } from '../../../cluster/keys/data-key.ts'
import { FrontendDevice } from '../../../dataplane/frontend/frontend-device.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { slabOf } from '../../../dataplane/slab-pool.ts'
import { NBD_ERRNO } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import type { Cipher } from '../../../engine/volume/volume-encryption.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { configOf, hex, specOf, startHosts, until } from '../copy/hosts.ts'
import type { Host } from '../copy/hosts.ts'
import { MemoryConfigs } from '../copy/memory-configs.ts'
import { RawClient } from '../nbd/raw-client.ts'
import { Random } from '../../sim/random.ts'

const SIZE_BYTES = 8 * MIB

async function twoHosts(t: Test) {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const spec = specOf({ sizeBytes: SIZE_BYTES, replicas: 0 })
  const copyId = hex()
  configs.put(configOf(spec.id, { n1: copyId }, 'single'))
  await hosts[0]!.create(spec, copyId)
  await until(() => hosts[0]!.role(spec.id) === 'primary')
  const [n1, n2] = hosts as [Host, Host]
  return { configs, spec, n1, n2 }
}

const keysOf = (cipher: Cipher, volumeId: string): UnwrappedKeys =>
  ({ cipher, keys: [{ volumeId, dataKey: newDataKey() }] })

type Cluster = Awaited<ReturnType<typeof twoHosts>>

interface Served {
  ioTimeoutMs?: number
  cipher?: Cipher
}

/** The volume on that node, over NBD; compressed, too, when it is encrypted. */
async function serve(t: Test, { configs, spec }: Cluster, host: Host, { ioTimeoutMs = 0, cipher }: Served = {}) {
  configs.change(spec.id, (config) => {
    const generation = config.attach.generation + 1
    return { ...config, attach: { generation, mode: 'single', holders: { [host.node]: generation } }, nonce: hex() }
  })
  const frontend = host.worker.frontends.attach({
    volumeId: spec.id, sizeBytes: SIZE_BYTES, blockSizeBytes: 4096, description: 'v', mode: 'write', ioTimeoutMs,
    session: { generation: configs.get(spec.id).attach.generation, incarnation: 1 },
    ...(cipher === undefined ? {} : { compression: 'lz4' as const, keys: keysOf(cipher, spec.id) }),
  })
  const server = new MemoryServer({ devices: { disk: () => new FrontendDevice(frontend) } })
  const socketPath = path.join(temporaryFolder(t), 's')
  await server.listener.listenUnix(socketPath)
  t.teardown(() => server.close())
  return { frontend, server, connect: () => RawClient.open(socketPath, { style: 'structured' }) }
}

async function compareWithArray(t: Test, clients: readonly RawClient[], seed: number): Promise<void> {
  const random = new Random(seed)
  const model = Buffer.alloc(SIZE_BYTES)
  for (let i = 0; i < 150; i++) {
    const client = random.pick(clients)
    const length = random.chance(0.1) ? random.between(1, 700_000) : random.between(1, 20_000)
    const isAligned = random.chance(0.3)
    const offset = isAligned ? random.int(1800) * 4096 : random.int(SIZE_BYTES - length)
    const kind = random.pick(['write', 'write', 'read', 'trim', 'zero', 'flush'] as const)
    if (kind === 'write') {
      const data = Buffer.alloc(length, random.between(1, 255))
      t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset, data })).errno, 0)
      data.copy(model, offset)
    } else if (kind === 'trim' || kind === 'zero') {
      const type = kind === 'trim' ? P.NBD_CMD_TRIM : P.NBD_CMD_WRITE_ZEROES
      t.equal((await client.ask({ type, offset, length })).errno, 0)
      model.fill(0, offset, offset + length)
    } else if (kind === 'flush') t.equal((await client.ask({ type: P.NBD_CMD_FLUSH })).errno, 0)
    else {
      const reply = await client.ask({ type: P.NBD_CMD_READ, offset, length })
      if (!reply.data.equals(model.subarray(offset, offset + length))) t.fail(`seed ${seed}: read ${i} differs`)
    }
  }
  const all = await clients[0]!.ask({ type: P.NBD_CMD_READ, offset: 0, length: SIZE_BYTES })
  t.ok(all.data.equals(model), 'all of it, in the end')
}

for (const [node, cipher] of [
  ['n1', undefined], ['n2', undefined], ['n1', 'aes-256-gcm'], ['n2', 'aes-256-xts'],
] as const) {
  t.test(`any request of any alignment, the primary on n1, the client on ${node}, ${cipher ?? 'plain'}`, async (t) => {
    const cluster = await twoHosts(t)
    const { connect } = await serve(t, cluster, cluster[node], { ...(cipher === undefined ? {} : { cipher }) })
    const clients = [await connect(), await connect()]
    await compareWithArray(t, clients, 7)
    if (cipher !== undefined) return clients.forEach((one) => one.close())
    const { EINVAL, ENOSPC } = NBD_ERRNO
    const [client] = clients as [RawClient]
    t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: SIZE_BYTES, length: 1 })).errno, EINVAL)
    t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: SIZE_BYTES, data: Buffer.alloc(1) })).errno, ENOSPC)
    for (const one of clients) one.close()
  })
}

t.test('a connection that closes while its requests are held leaves nothing behind', async (t) => {
  const cluster = await twoHosts(t)
  const { n1, n2, spec } = cluster
  const { connect, frontend, server } = await serve(t, cluster, n2)
  const first = await connect()
  t.equal((await first.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 1) })).errno, 0)
  await n1.stop()
  await until(() => n2.worker.transport.instanceOf({ node: 'n1', worker: 0 }, 'data') === undefined)
  for (let i = 0; i < 20; i++) first.send({ type: P.NBD_CMD_WRITE, offset: i * 4096, data: Buffer.alloc(4096, 2) })
  await until(() => frontend.pendingCount === 20)
  first.socket.destroy()
  await until(() => frontend.pendingCount === 0)
  await until(() => server.transmissions.size === 0)
  const second = await connect()
  const held = second.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 3) })
  await until(() => frontend.pendingCount === 1)
  await n1.start()
  n1.meet([{ node: 'n2', endpoint: n2.endpoint }])
  n2.meet([{ node: 'n1', endpoint: n1.endpoint }])
  t.equal((await held).errno, 0, 'it was held, and then done')
  const { data } = await second.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })
  t.equal(data[0], 3, 'what came last is there, not what was sent before it')
  t.equal(n1.role(spec.id), 'primary')
  second.close()
})

t.test('a request is held for as long as the volume says, and no longer', async (t) => {
  const cluster = await twoHosts(t)
  const { connect, frontend } = await serve(t, cluster, cluster.n2, { ioTimeoutMs: 300 })
  const client = await connect()
  t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 1) })).errno, 0)
  await cluster.n1.stop()
  const begin = performance.now()
  const reply = await client.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })
  t.equal(reply.errno, NBD_ERRNO.EIO)
  t.ok(performance.now() - begin >= 299, `after ${Math.round(performance.now() - begin)} ms`)
  t.equal(frontend.pendingCount, 0)
  client.close()
})

t.test('an attachment that another one took the place of fails at once', async (t) => {
  const cluster = await twoHosts(t)
  const { n1, n2 } = cluster
  const former = await serve(t, cluster, n2)
  const client = await former.connect()
  t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 1) })).errno, 0)
  const next = await serve(t, cluster, n1)
  const other = await next.connect()
  t.equal((await other.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 2) })).errno, 0)
  t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 3) })).errno, NBD_ERRNO.EIO)
  const { data } = await other.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })
  t.equal(data[0], 2)
  client.close()
  other.close()
})

t.test('a volume that shrinks while the bytes of a write arrive refuses it', async (t) => {
  const cluster = await twoHosts(t)
  const { frontend, connect } = await serve(t, cluster, cluster.n2)
  const client = await connect()
  t.equal((await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, 1) })).errno, 0)
  const late = client.encode({ type: P.NBD_CMD_WRITE, offset: SIZE_BYTES - 65536, data: Buffer.alloc(65536, 2) })
  client.socket.write(late.subarray(0, 32768))
  // The answer to this one is behind the beginning of the other.
  const other = await connect()
  t.equal((await other.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })).errno, 0)
  frontend.inbox.put({ type: 'resized', sizeBytes: SIZE_BYTES / 2 })
  await until(() => frontend.sizeBytes === SIZE_BYTES / 2)
  client.socket.write(late.subarray(32768))
  t.equal((await client.reply()).errno, NBD_ERRNO.ENOSPC)
  t.equal((await client.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })).data[0], 1, 'it goes on')
  client.close()
  other.close()
})

for (const kept of ['failed', 'counted'] as const) {
  t.test(`bytes of a write that ${kept === 'failed' ? kept : 'somebody uses'} stay as they were`, async (t) => {
    const written: Uint8Array[] = []
    const device = {
      sizeBytes: SIZE_BYTES, blockSizeBytes: 4096, readOnly: false, description: '', keepsPayload: true,
      write: (_: number, data: Uint8Array, __: boolean, done: (errno: number) => void) => {
        written.push(data)
        if (kept === 'counted') slabOf(data)!.users++
        done(kept === 'counted' ? 0 : NBD_ERRNO.EIO)
      },
    }
    const server = new MemoryServer({ devices: { disk: () => device as unknown as FrontendDevice } })
    const socketPath = path.join(temporaryFolder(t), 's')
    await server.listener.listenUnix(socketPath)
    t.teardown(() => server.close())
    const client = await RawClient.open(socketPath)
    for (let i = 0; i < 300; i++) {
      await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, i % 251) })
    }
    t.ok(written.every((data, i) => data.every((byte) => byte === i % 251)))
    client.close()
  })
}
