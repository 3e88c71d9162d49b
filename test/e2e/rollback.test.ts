/**
 * A volume of three nodes as real processes goes back to a snapshot, while the node that leads it is killed: the bytes
 * of then are there, who wrote before is refused, and what was rolled away comes back, the same on every copy.
 */
// test-timeout-seconds: 300
import t from 'tap'
import type { RollBackRequest, Snapshot } from '../../cluster/api/snapshot-messages.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { HoldfastError, NBD_ERRNO } from '../../engine/errors.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { primaryOf, until } from './until.ts'

const write = async (client: RawClient, block: number, fill: number): Promise<number> => {
  const data = Buffer.alloc(BLOCK_BYTES, fill)
  return (await client.ask({ type: NBD_CMD_WRITE, offset: block * BLOCK_BYTES, data })).errno
}

t.test('back, and forth again', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  const made = await until(() => api('n2').getVolume({ name: 'data' }), ({ health }) => health === 'healthy')
  const primary = primaryOf(made)
  const user = primary === 'n2' ? 'n3' : 'n2'
  const view = () => api(user).getVolume({ name: 'data' })
  const connect = async (node: string) => {
    const client = await RawClient.open(cluster.node(node).paths.nbd, { name: 'data' })
    t.teardown(() => client.close())
    return client
  }
  /** The first byte of the first two blocks, through that node; and the client leaves. */
  const bytes = async (node: string): Promise<number[]> => {
    const client = await connect(node)
    const { errno, data } = await client.ask({ type: NBD_CMD_READ, offset: 0, length: 2 * BLOCK_BYTES })
    client.close()
    return errno === 0 ? [data[0]!, data[BLOCK_BYTES]!] : [-errno]
  }
  const rollBack = (change: Partial<RollBackRequest>): Promise<Snapshot> =>
    api(user).rollBackVolume({ volume: 'data', to: '', keepAs: '', force: false, id: '', ...change })
  const list = async (node: string) =>
    (await api(node).listSnapshots({ volume: 'data', limit: 0, after: '' })).snapshots

  const client = await connect(user)
  t.equal(await write(client, 0, 1), 0)
  await api(user).createSnapshot({ volume: 'data', name: 'one', labels: {}, id: '' })
  t.same([await write(client, 0, 2), await write(client, 1, 2)], [0, 0])

  await until(view, ({ frontends }) => frontends.length === 1)
  const words = ['volume', 'rollback', 'data', '--to', 'one', '--endpoint', cluster.node(user).paths.api]
  const { code, stderr } = await holdfast(words)
  t.equal(code, 1)
  t.match(stderr, /^holdfast: volume data is in use by 1 NBD connection\(s\); disconnect its users first, or add --f/)
  t.equal(await write(client, 0, 2), 0, 'nothing was changed')
  await t.rejects(rollBack({ to: 'none', force: true }), { code: 'snapshot-not-found' })
  t.equal(await write(client, 0, 2), 0, 'nothing was changed')

  const asked = rollBack({ to: 'one', keepAs: 'before', force: true })
  await cluster.node(primary).killNode()
  const isKept = async () => (await list(user)).some(({ name }) => name === 'before')
  for (let attempt = asked; ; attempt = rollBack({ to: 'one', keepAs: 'before', force: true })) {
    try {
      await attempt
      break
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'change-outcome') throw error
      t.comment(error.message)
      if (await isKept()) break
    }
  }
  t.equal(await write(client, 0, 9), NBD_ERRNO.EIO, 'who wrote before is refused')
  client.close()
  t.same(await bytes(user), [1, 0])
  t.same((await list(user)).map(({ name }) => name), ['one', 'before'])

  const second = await connect(user)
  t.equal(await write(second, 0, 3), 0)
  second.close()
  t.match(await rollBack({ to: 'before', keepAs: 'after' }), { name: 'after' })
  t.same(await bytes(user), [2, 2], 'what was rolled away')

  await cluster.node(primary).start()
  await cluster.whole(id)
  const found = await list(user)
  for (const node of ['n1', 'n2', 'n3']) {
    await until(async () => {
      const now = await view()
      if (primaryOf(now) !== node) await api(user).moveVolume({ name: 'data', what: 'primary', to: node, from: '' })
      return primaryOf(now)
    }, (leads) => leads === node)
    t.same(await bytes(node), [2, 2], `the copy on ${node}`)
    t.same(await list(node), found, `and its snapshots`)
  }

  const say = (...words: string[]) => holdfast(['volume', ...words, '--endpoint', cluster.node(user).paths.api])
  t.match(await say('attach', 'data', '--to', user), { code: 0 })
  const held = new RegExp(`^holdfast: volume data is attached to ${user} in mode single; .*detach data.* add --force`)
  t.match(await say('rollback', 'data', '--to', 'after'), { code: 1, stderr: held })
  t.same(await bytes(user), [2, 2], 'nothing was changed')
  t.same(await list(user), found)
  t.match(await say('detach', 'data'), { code: 0 })
  t.match(await say('rollback', 'data', '--to', 'after'), { code: 0, stdout: /volume data shows snapshot after again/ })
  // It offers the volume again when it has heard of the detachment.
  await until(() => bytes(user).catch(() => []), ([first]) => first === 3)
  t.same(await bytes(user), [3, 0])
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})
