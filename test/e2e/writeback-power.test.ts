/**
 * A `writeback` volume whose copies all lose power with acknowledged writes that nobody flushed: three nodes as
 * processes that are killed together and come back on machines that booted since (a boot id of their own, laid over
 * the kernel's in a mount namespace). Who was connected through a node that stayed up gets errors and nothing else, for
 * good; who connects afterwards, there or elsewhere, goes on.
 */
// test-timeout-seconds: 120
// test-serial: its mount namespaces would keep what other tests have mounted
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import * as P from '../../dataplane/nbd/protocol.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { otherBootMissing, underOtherBoot } from '../cluster/other-boot.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'

const skip = otherBootMissing() ?? false

const { NONE, EIO } = NBD_ERRNO

/** A node that has just started offers its volumes a moment later. */
async function connect(t: Test, { paths }: ClusterNodeProcess): Promise<RawClient> {
  for (;;) {
    try {
      const client = await RawClient.open(paths.nbd, { name: 'data' })
      t.teardown(() => client.close())
      return client
    } catch (error) {
      if (!String(error).includes(`GO was refused: ${P.NBD_REP_ERR_UNKNOWN}`)) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

const write = async (client: RawClient, block: number, fill: number): Promise<number> =>
  (await client.ask({ type: P.NBD_CMD_WRITE, offset: block * 4096, data: Buffer.alloc(4096, fill) })).errno

async function read(client: RawClient, block: number): Promise<number> {
  const { errno, data } = await client.ask({ type: P.NBD_CMD_READ, offset: block * 4096, length: 4096 })
  return errno === NONE ? data[0]! : -errno
}

t.test('all copies of a writeback volume lose power', { skip }, async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { dir, storeProcess: { address: store } } = cluster
  const boot = (): void => {
    for (const node of cluster.nodes) node.under = underOtherBoot(path.join(dir, `${node.name}.boot`))
  }
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB, durability: 'writeback' })
  boot()
  await cluster.start()
  // With power, and without a disk: a copy that took the place of a slow one there would have lost nothing.
  const n4 = new ClusterNodeProcess('n4', { dir, diskBytes: 0, store, change: { disks: [] } })
  t.teardown(() => n4.killNode())
  await n4.start()
  await cluster.whole(id)
  const [n1] = cluster.nodes as [ClusterNodeProcess]

  const old = await connect(t, n4)
  const idle = await connect(t, n4)
  t.equal(await write(old, 0, 1), NONE)
  t.equal((await old.ask({ type: P.NBD_CMD_FLUSH })).errno, NONE)
  t.equal(await write(old, 1, 2), NONE, 'acknowledged, and not flushed')

  await Promise.all(cluster.nodes.map((node) => node.killNode()))
  boot()
  const held = write(old, 2, 3)
  await cluster.start()
  t.equal(await held, EIO, 'what was under way is told')
  t.equal(await write(old, 3, 4), EIO)
  t.equal(await read(idle, 0), -EIO, 'so is who had asked nothing')

  const next = await connect(t, n4)
  t.equal(await read(next, 0), 1, 'a new connection is served, and has what was flushed')
  t.equal(await write(next, 4, 5), NONE)
  t.equal((await next.ask({ type: P.NBD_CMD_FLUSH })).errno, NONE)
  t.match((await cluster.config(id)).attach, { generation: 2, mode: 'open', holders: {} })
  t.equal(await read(old, 0), -EIO, 'the old connection is never served again')
  t.notOk(old.closed || idle.closed, 'and not closed: its client would connect again and go on')
  const elsewhere = await connect(t, n1)
  t.equal(await read(elsewhere, 4), 5)

  // Once more, now that generations were made: nothing of it is special to the first time.
  t.equal(await write(elsewhere, 5, 6), NONE)
  await Promise.all(cluster.nodes.map((node) => node.killNode()))
  boot()
  const again = write(next, 6, 7)
  await cluster.start()
  t.equal(await again, EIO)
  const last = await connect(t, n4)
  t.equal(await read(last, 4), 5)
  t.equal((await cluster.config(id)).attach.generation, 3)
  for (const node of [...cluster.nodes, n4]) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
