/**
 * Three nodes whose copies lose power together: processes that are killed, and come back on machines that booted since
 * (a boot id of their own, laid over the kernel's in a mount namespace). A fourth one keeps its power and has no disk:
 * a copy that took the place of a slow one there would have lost nothing. Clients are connected through it.
 */
import path from 'node:path'
import type { Test } from 'tap'
import * as P from '../../dataplane/nbd/protocol.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { underOtherBoot } from '../cluster/other-boot.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'

const BLOCK_BYTES = 4096

/** A node that has just started offers its volumes a moment later. */
export async function connected({ paths }: ClusterNodeProcess): Promise<RawClient> {
  for (;;) {
    try {
      return await RawClient.open(paths.nbd, { name: 'data' })
    } catch (error) {
      if (!String(error).includes(`GO was refused: ${P.NBD_REP_ERR_UNKNOWN}`)) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

export async function connect(t: Test, node: ClusterNodeProcess): Promise<RawClient> {
  const client = await connected(node)
  t.teardown(() => client.close())
  return client
}

/** @returns an errno */
export async function write(client: RawClient, block: number, fill: number): Promise<number> {
  const data = Buffer.alloc(BLOCK_BYTES, fill)
  return (await client.ask({ type: P.NBD_CMD_WRITE, offset: block * BLOCK_BYTES, data })).errno
}

/** @returns the first byte, or a negative errno */
export async function read(client: RawClient, block: number): Promise<number> {
  const { errno, data } = await client.ask({ type: P.NBD_CMD_READ, offset: block * BLOCK_BYTES, length: BLOCK_BYTES })
  return errno === NBD_ERRNO.NONE ? data[0]! : -errno
}

/** With a volume `data` in `writeback`, in three copies that are whole. */
export async function nodesThatLosePower(t: Test) {
  const cluster = await ClusterOfDaemons.make(t)
  const { dir, storeProcess: { address: store } } = cluster
  const boot = (): void => {
    for (const node of cluster.nodes) node.under = underOtherBoot(path.join(dir, `${node.name}.boot`))
  }
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB, durability: 'writeback' })
  boot()
  await cluster.start()
  const n4 = new ClusterNodeProcess('n4', { dir, diskBytes: 0, store, change: { disks: [] } })
  t.teardown(() => n4.killNode())
  await n4.start()
  await cluster.whole(id)
  return {
    cluster, id, n4,
    /** All three at once; `cluster.start` brings them back. */
    cutPower: async (): Promise<void> => {
      await Promise.all(cluster.nodes.map((node) => node.killNode()))
      boot()
    },
    stop: async (): Promise<void> => {
      for (const node of [...cluster.nodes, n4]) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
    },
  }
}
