/**
 * The memory that a copy is filled from and through is used again, and never while anybody needs it: here it is
 * overwritten as soon as its last user gave it back, while a client writes, and in the end the copies are the same.
 */
import path from 'node:path'
import t from 'tap'
import { FillMemory } from '../../../dataplane/copy/fill-memory.ts'
import { FrontendDevice } from '../../../dataplane/frontend/frontend-device.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import type { CopyState } from '../../../engine/replication/copy.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import type { LocalCopyStore } from '../../../engine/volume/copy-store.ts'
import { BLOCK_BYTES, MIB } from '../../../engine/units.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { Random } from '../../sim/random.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RawClient } from '../nbd/raw-client.ts'
import { contentOf } from './copy-content.ts'
import { MemoryConfigs } from './memory-configs.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'
import { poisonIdleSlabs } from './poisoned-slabs.ts'

const SIZE_BYTES = 24 * MIB
const BLOCKS = SIZE_BYTES / BLOCK_BYTES
const WRITE_BYTES = MIB / 4

for (const durability of ['durable', 'writeback'] as const) {
  t.test(`a copy that is filled under writes has all of them, ${durability}`, async (t) => {
    const poisoned = poisonIdleSlabs(t)
    const configs = new MemoryConfigs()
    const hosts = await startHosts(t, ['n1', 'n2', 'n3'], configs)
    const spec = specOf({ durability, sizeBytes: SIZE_BYTES })
    const ids = hosts.map(() => hex())
    const config = configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!])), 'open')
    const members = { ...config.members, n3: { ...config.members.n3!, state: 'catching-up' as const } }
    configs.put({ ...config, members, inSync: ['n1', 'n2'] })
    await Promise.all(hosts.slice(0, 2).map((host, i) => host.create(spec, ids[i]!)))
    await until(() => hosts[0]!.role(spec.id) === 'primary')
    const frontend = hosts[1]!.worker.frontends.attach({
      volumeId: spec.id, sizeBytes: SIZE_BYTES, blockSizeBytes: 4096, description: 'v', mode: 'write',
      ioTimeoutMs: 0, session: { generation: configs.get(spec.id).attach.generation, incarnation: 1 },
    })
    const server = new MemoryServer({ devices: { disk: () => new FrontendDevice(frontend) } })
    const socketPath = path.join(temporaryFolder(t), 's')
    await server.listener.listenUnix(socketPath)
    t.teardown(() => server.close())
    const client = await RawClient.open(socketPath, { style: 'structured' })
    const random = new Random(11)
    const write = async (offset: number, length: number): Promise<void> => {
      const data = Buffer.alloc(length, 1 + random.int(200))
      client.send({ type: P.NBD_CMD_WRITE, offset, data })
      if ((await client.reply()).errno !== 0) t.fail(`a write at ${offset} failed`)
    }
    for (let at = 0; at < SIZE_BYTES; at += WRITE_BYTES) await write(at, WRITE_BYTES)
    // Blocks that lie one by one, too.
    for (let i = 0; i < 200; i++) await write(random.int(BLOCKS) * BLOCK_BYTES, BLOCK_BYTES)
    const before = poisoned()
    await hosts[2]!.create(spec, ids[2]!)
    while (!configs.get(spec.id).inSync.includes('n3')) await write(random.int(BLOCKS) * BLOCK_BYTES, BLOCK_BYTES)
    t.ok(poisoned() - before >= SIZE_BYTES / MIB, `memory was used again, ${poisoned() - before} times`)
    client.close()
    await until(() => hosts.every((host) => {
      const { log } = host.worker.copies.copy(spec.id)!.state
      return log.appliedSeq === log.tail && log.tail === hosts[0]!.worker.copies.copy(spec.id)!.state.log.tail
    }))
    const [first, ...others] = await Promise.all(
      hosts.map((host) => contentOf(host.worker.copies.copy(spec.id)!, BLOCKS)),
    )
    for (const content of others) t.strictSame(content, first, 'the copies are the same')
  })
}

t.test('memory of a scan is kept until no piece has its versions', (t) => {
  const pool = new SlabPool()
  const store = { reading: {} } as LocalCopyStore
  const memory = new FillMemory(store, pool)
  const scan = (blocks: number): BlockVersion[] => {
    const bytes = store.reading.scanMemory!(blocks * BLOCK_BYTES)
    return Array.from({ length: blocks }, (_, lba) => ({
      epoch: 1, seq: 1, lba, kind: 'write' as const,
      payload: {
        bytes: BLOCK_BYTES,
        data: { bytes: bytes.subarray(lba * BLOCK_BYTES, (lba + 1) * BLOCK_BYTES), crcs: [0] },
      },
    }))
  }
  const stateWith = (...pieces: BlockVersion[][]): CopyState => {
    const unanswered = pieces.map((versions, number) => ({ number, versions, slicesDone: [] }))
    return { primary: { peers: new Map([['n3', { fill: { unanswered } }]]) } } as unknown as CopyState
  }
  const [one, other] = [scan(256), scan(3)]
  memory.scanned(one)
  memory.scanned(other)
  memory.letGo(stateWith(one, other))
  t.equal(pool.idleBytes, 0)
  memory.letGo(stateWith(other))
  t.ok(pool.idleBytes >= MIB, 'the one that is answered')
  t.ok(memory.isKeeping)
  memory.letGo({ primary: undefined } as CopyState)
  t.notOk(memory.isKeeping, 'nobody is filled any more')
  let released = 0
  memory.arrived(one, { release: () => released++ })
  store.onFilled(other)
  t.equal(released, 0)
  store.onFilled(one)
  t.equal(released, 1)
  t.end()
})
