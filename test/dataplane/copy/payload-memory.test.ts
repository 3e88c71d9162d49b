/**
 * The memory that writes come in is used again, and never while anybody needs it: here it is overwritten as soon as
 * its last user gave it back, and every copy still has what clients wrote.
 */
import path from 'node:path'
import t from 'tap'
import { PayloadUses } from '../../../dataplane/copy/payload-uses.ts'
import { FrontendDevice } from '../../../dataplane/frontend/frontend-device.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import type { Slab } from '../../../dataplane/slab-pool.ts'
import type { CopyState } from '../../../engine/replication/copy.ts'
import { cutWindow, emptyWindow, forgetUpTo, pushRecord } from '../../../engine/replication/record-window.ts'
import { BLOCK_BYTES, MIB } from '../../../engine/units.ts'
import { MemoryServer } from '../../nbd-server.ts'
import { Random } from '../../sim/random.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RawClient } from '../nbd/raw-client.ts'
import { contentOf } from './copy-content.ts'
import { MemoryConfigs } from './memory-configs.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'
import { poisonIdleSlabs } from './poisoned-slabs.ts'

const SIZE_BYTES = 4 * MIB
const BLOCKS = SIZE_BYTES / BLOCK_BYTES

for (const durability of ['durable', 'writeback'] as const) {
  t.test(`every copy has what was written through any node, ${durability}`, async (t) => {
    const poisoned = poisonIdleSlabs(t)
    const configs = new MemoryConfigs()
    const hosts = await startHosts(t, ['n1', 'n2', 'n3'], configs)
    const spec = specOf({ durability, sizeBytes: SIZE_BYTES })
    const ids = hosts.map(() => hex())
    configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!])), 'open'))
    await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
    await until(() => hosts[0]!.role(spec.id) === 'primary')
    const clients: RawClient[] = []
    for (const [i, host] of hosts.slice(0, 2).entries()) {
      const session = { generation: configs.get(spec.id).attach.generation, incarnation: 1 + i }
      const frontend = host.worker.frontends.attach({
        volumeId: spec.id, sizeBytes: SIZE_BYTES, blockSizeBytes: 4096, description: 'v', mode: 'write',
        ioTimeoutMs: 0, session,
      })
      const server = new MemoryServer({ devices: { disk: () => new FrontendDevice(frontend) } })
      const socketPath = path.join(temporaryFolder(t), 's')
      await server.listener.listenUnix(socketPath)
      t.teardown(() => server.close())
      clients.push(await RawClient.open(socketPath, { style: 'structured' }))
    }
    const model = Buffer.alloc(SIZE_BYTES)
    const random = new Random(7)
    for (let round = 0; round < 20; round++) {
      const busy = new Set<number>()
      const asked = clients.map(() => 0)
      for (let i = 0; i < 24; i++) {
        const count = random.chance(0.1) ? random.between(2, 64) : 1
        const lba = random.int(BLOCKS - count)
        const blocks = Array.from({ length: count }, (_, at) => lba + at)
        if (blocks.some((block) => busy.has(block))) continue
        for (const block of blocks) busy.add(block)
        const data = Buffer.alloc(count * BLOCK_BYTES, random.between(1, 200))
        data.writeUInt32LE(round * 100 + i, 16)
        data.copy(model, lba * BLOCK_BYTES)
        const by = random.int(clients.length)
        clients[by]!.send({ type: P.NBD_CMD_WRITE, offset: lba * BLOCK_BYTES, data })
        asked[by]!++
      }
      for (const [by, client] of clients.entries()) {
        for (; asked[by]! > 0; asked[by]!--) {
          if ((await client.reply()).errno !== 0) t.fail(`a write of round ${round} failed`)
        }
      }
    }
    for (const client of clients) {
      for (let at = 0; at < SIZE_BYTES; at += MIB) {
        const { data } = await client.ask({ type: P.NBD_CMD_READ, offset: at, length: MIB })
        if (!data.equals(model.subarray(at, at + MIB))) t.fail(`what is read at ${at} is not what was written`)
      }
      client.close()
    }
    await until(() => hosts.every((host) => {
      const { log } = host.worker.copies.copy(spec.id)!.state
      return log.appliedSeq === log.tail && log.tail === hosts[0]!.worker.copies.copy(spec.id)!.state.log.tail
    }))
    const [first, ...others] = await Promise.all(
      hosts.map((host) => contentOf(host.worker.copies.copy(spec.id)!, BLOCKS)),
    )
    for (const content of others) t.same(content, first, 'the copies are the same')
    t.ok(poisoned() > 5, `memory was used again, ${poisoned()} times`)
  })
}

t.test('a log counts as a user of the memory of its records until they are forgotten and written', (t) => {
  const pool = new SlabPool()
  const slab = pool.acquire(1)
  const other = pool.acquire(1)
  const log = { window: emptyWindow(1), drops: 0, tail: 0 } as CopyState['log']
  const uses = new PayloadUses()
  const append = ({ bytes }: Slab): void => {
    const data = { bytes: bytes.subarray(0, BLOCK_BYTES), crcs: [0] }
    pushRecord(log.window, {
      kind: 'write', epoch: 1, seq: ++log.tail, request: undefined, lba: 0, blockCount: 1,
      payload: { bytes: BLOCK_BYTES, data },
    })
  }
  append(slab)
  append(slab)
  append(other)
  uses.take(log)
  t.same([slab.users, other.users], [2, 2], 'records of one slab count once')
  forgetUpTo(log.window, 2)
  uses.letGo(log, 1)
  t.equal(slab.users, 2, 'forgotten, not written')
  uses.letGo(log, 2)
  t.same([slab.users, other.users], [1, 2], 'both')
  t.ok(uses.isCounting)
  append(slab)
  uses.take(log)
  cutWindow(log.window, 3)
  log.tail = 3
  log.drops++
  append(slab)
  forgetUpTo(log.window, 4)
  uses.letGo(log, 4)
  t.notOk(uses.isCounting)
  t.same([slab.users, other.users], [2, 2], 'what was cut back may still be on its way to the disk: never again')
  t.end()
})
