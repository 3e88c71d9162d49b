/**
 * Two nodes as processes: the only copy in sync is lost with its node, and the operator lets the older one lead, after
 * it was said what that costs. What is there then is a state the volume was in; the other copy becomes the same.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { connected } from './lost-power.ts'

const BYTES = 64 << 10

async function write(node: ClusterNodeProcess, value: number): Promise<void> {
  const client = await RawClient.open(node.paths.nbd, { name: 'data' })
  const reply = await client.ask({ type: NBD_CMD_WRITE, offset: 0, data: new Uint8Array(BYTES).fill(value) })
  if (reply.errno !== 0) throw new Error(`a write ended with ${reply.errno}`)
  client.socket.destroy()
}

/** Of the first bytes, which are all the same. */
async function valueAt(node: ClusterNodeProcess): Promise<number> {
  const client = await RawClient.open(node.paths.nbd, { name: 'data' })
  const { errno, data } = await client.ask({ type: NBD_CMD_READ, offset: 0, length: BYTES })
  client.socket.destroy()
  const values = new Set(data).size
  if (errno !== 0 || values !== 1) throw new Error(`a read ended with ${errno}, ${values} values`)
  return data[0]!
}

t.test('the older copy leads by force', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'] })
  await cluster.start()
  /** Of a node that runs; the file's deadline ends it when it never is so. */
  const until = async (node: ClusterNodeProcess, isSo: (volume: Volume) => boolean): Promise<void> => {
    const api = connectControlApi({ socketPath: node.paths.api, source: 'the test' })
    for (;;) {
      const volume = await api.getVolume({ name: 'data' }).catch(() => undefined)
      if (volume !== undefined && isSo(volume)) break
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    api.close()
  }
  const [n1, n2] = [cluster.node('n1'), cluster.node('n2')]
  const run = (...words: string[]) => holdfast([...words, '--endpoint', n2.paths.api])
  const made = await holdfast(['volume', 'create', 'data', '--size', '16Mi', '--endpoint', n1.paths.api])
  t.equal(made.code, 0, made.stderr)
  const promoted = await run('volume', 'promote', 'data', '--to', 'n1')
  t.equal(promoted.code, 0, promoted.stderr)
  const leads = (name: string) => ({ health, copies }: Volume) =>
    health === 'healthy' && copies.length === 2 && copies.some(({ node, role }) => node === name && role === 'primary')
  await until(n1, leads('n1'))
  await write(n1, 1)
  const refused = await run('volume', 'promote', 'data', '--to', 'n2', '--force')
  t.match(refused, { code: 1, stderr: /volume data is not led by n2 by force: n1 leads it and serves/ })

  await n2.killNode()
  await until(n1, ({ health }) => health === 'at-risk')
  await write(n1, 2)
  await n1.killNode()
  await n2.start()
  // Of a client that waits for the volume: what it knows of it may be gone.
  const waiting = await connected(n2)
  const held = waiting.ask({ type: NBD_CMD_READ, offset: 0, length: BYTES })
  const ask = (...more: string[]) => run('volume', 'promote', 'data', '--to', 'n2', '--force', ...more)
  let told = await ask()
  while (!told.stderr.includes('--confirm')) told = await ask()
  t.match(told.stderr, /n2 is not in sync: what was acknowledged since it left the set is lost/)
  t.match(told.stderr, /n1 may only be cut off and still serve/)
  t.match((await run('status')).stdout, /volume promote --force/, 'the page says that there is a way')
  t.match(await ask('--confirm', '0123456789'), { code: 1, stderr: /before that is confirmed/ })
  const token = /--confirm ([0-9a-f]+)/.exec(told.stderr)![1]!
  t.match(await ask('--confirm', token), { code: 0, stdout: /is led by n2 with what it has/ })
  await until(n2, ({ health }) => health === 'at-risk')
  t.equal((await held).errno, NBD_ERRNO.EIO, 'who was connected is told')
  t.equal((await waiting.ask({ type: NBD_CMD_READ, offset: 0, length: BYTES })).errno, NBD_ERRNO.EIO)
  t.notOk(waiting.closed)
  waiting.close()
  t.equal(await valueAt(n2), 1, 'what both had, for who connects afterwards')
  await write(n2, 3)

  await n1.start()
  await until(n2, leads('n2'))
  t.equal(await valueAt(n1), 3)
  await n2.killNode()
  t.equal(await valueAt(n1), 3, 'the copy of n1 is that of n2 now')
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  await n2.start()
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
