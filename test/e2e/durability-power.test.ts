/**
 * A volume whose durability is changed while a client writes, and whose copies then all lose power: three nodes as
 * processes that are killed together and come back on machines that booted since, as in `writeback-power.test.ts`.
 * Behind a change to `durable` its client has every answer it was given, and no error; behind one to `writeback` it is
 * told what may be gone.
 */
// test-timeout-seconds: 180
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
import { holdfast } from '../cli/run-holdfast.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'

const skip = otherBootMissing() ?? false
const { NONE, EIO } = NBD_ERRNO

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

t.test('all copies lose power behind a change of the durability', { skip }, async (t) => {
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
  const powerCut = async (): Promise<void> => {
    await Promise.all(cluster.nodes.map((node) => node.killNode()))
    boot()
  }

  const at = ['--endpoint', n4.paths.api, '-o', 'json']
  const say = async (...words: string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await holdfast(['volume', ...words, ...at])
    t.equal(code, 0, `${words.join(' ')}: ${stderr}`)
    return JSON.parse(stdout) as Record<string, unknown>
  }

  const client = await connect(t, n4)
  t.equal(await write(client, 0, 1), NONE, 'acknowledged, and not flushed')
  // It writes on while the volume is changed.
  const writing = (async (): Promise<number[]> => {
    const answers: number[] = []
    for (let i = 1; i <= 64; i++) answers.push(await write(client, i, i))
    return answers
  })()
  t.match(await say('set', 'data', 'durability=durable'), { durability: 'durable', durabilityNext: '' })
  t.ok((await writing).every((errno) => errno === NONE))
  t.match(await say('inspect', 'data'), { durability: 'durable', durabilityNext: '' })
  t.equal(await write(client, 65, 65), NONE)
  await powerCut()
  const held = write(client, 66, 66)
  await cluster.start()
  t.equal(await held, NONE, 'what was under way goes on: nothing was lost')
  t.equal(await read(client, 0), 1)
  for (let i = 1; i <= 66; i++) t.equal(await read(client, i), i)

  t.match(await say('set', 'data', 'durability=writeback'), { durability: 'writeback' })
  t.equal(await write(client, 67, 67), NONE)
  await powerCut()
  const lost = write(client, 68, 68)
  await cluster.start()
  t.equal(await lost, EIO, 'what may be gone is told')
  const next = await connect(t, n4)
  t.equal(await read(next, 65), 65, 'what was answered in `durable` stays')
  t.match(await say('inspect', 'data'), { durability: 'writeback', durabilityNext: '' })
  for (const node of [...cluster.nodes, n4]) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
