/**
 * Clones of volumes of three nodes as real processes: made by a command, written at once, with the blocks of their
 * origin whatever becomes of that one, through restarts and without the node that led; filled on nodes that have no
 * copy of the origin; refused in a sentence.
 */
// test-timeout-seconds: 300
import t from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { primaryOf, until } from './until.ts'

const BLOCK = 4096

const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2', 'n3'] })
await cluster.start()

const api = (name: string) => cluster.api(name)
const nbd = (name: string): string => cluster.node(name).paths.nbd
const healthy = (name: string, node = 'n1'): Promise<Volume> =>
  until(() => api(node).getVolume({ name }), ({ health }) => health === 'healthy')

const nodesOf = ({ copies }: Volume): string[] => copies.map(({ node }) => node)

async function say(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node('n2').paths.api])
  return code === 0 ? stdout : `${code}: ${stderr}`
}

async function using<T>(name: string, node: string, act: (client: RawClient) => Promise<T>): Promise<T> {
  const client = await RawClient.open(nbd(node), { name })
  try {
    return await act(client)
  } finally {
    client.close()
  }
}

const write = (name: string, node: string, blocks: number[], byte: number) =>
  using(name, node, async (client) => {
    for (const block of blocks) {
      const data = Buffer.alloc(BLOCK, byte)
      const { errno } = await client.ask({ type: NBD_CMD_WRITE, offset: block * BLOCK, data })
      t.equal(errno, 0)
    }
  })

/** Of each block its first byte. */
const read = (name: string, node: string, blocks: number[]): Promise<number[]> =>
  using(name, node, async (client) => {
    const found: number[] = []
    for (const block of blocks) {
      const answer = await client.ask({ type: NBD_CMD_READ, offset: block * BLOCK, length: BLOCK })
      t.equal(answer.errno, 0)
      const bytes = Buffer.from(answer.data)
      t.ok(bytes.every((byte) => byte === bytes[0]))
      found.push(bytes[0]!)
    }
    return found
  })

t.test('of a snapshot: written at once, and neither sees the other', async (t) => {
  t.match(await say('volume', 'create', 'data', '--size', '16Mi', '--replicas', '1'), /volume data is ready/)
  await write('data', 'n1', [1, 2, 3, 300], 1)
  t.match(await say('snapshot', 'create', 'data', 'one'), /is made/)
  await write('data', 'n1', [2], 2)
  const made = await say('volume', 'clone', 'data@one', 'trial')
  t.match(made, /^volume trial is ready: 16 MiB, 1 replicas, a clone of data@one\n/)
  const [origin, clone] = [await healthy('data'), await healthy('trial')]
  // On a busy machine either may have got another copy since.
  t.ok(nodesOf(clone).some((node) => nodesOf(origin).includes(node)), 'it lies where its origin does')
  t.equal(clone.usedBytes, 0, 'it has no block of its own')
  t.same(await read('trial', 'n2', [0, 1, 2, 3, 300, 301]), [0, 1, 1, 1, 1, 0])
  await write('trial', 'n3', [3, 301], 3)
  await using('trial', 'n3', async (client) => {
    t.equal((await client.ask({ type: NBD_CMD_TRIM, offset: BLOCK, length: BLOCK })).errno, 0)
  })
  await write('data', 'n1', [300], 4)
  t.same(await read('trial', 'n1', [0, 1, 2, 3, 300, 301]), [0, 0, 1, 3, 1, 3])
  t.same(await read('data', 'n1', [0, 1, 2, 3, 300, 301]), [0, 1, 2, 1, 4, 0])
})

t.test('of a volume as it is, larger, and of a clone; refused in a sentence', async (t) => {
  const made = await say('volume', 'clone', 'trial', 'third', '--size', '32Mi')
  t.match(made, /third is ready: 32 MiB, .* clone of trial\n/)
  t.same(await read('third', 'n2', [0, 1, 2, 3, 300, 301, 5000]), [0, 0, 1, 3, 1, 3, 0])
  t.same((await api('n1').listSnapshots({ volume: 'trial', limit: 0, after: '' })).snapshots, [])
  await write('third', 'n2', [5000], 7)
  t.same(await read('third', 'n3', [5000]), [7])
  const { id } = await healthy('trial')
  t.match(await say('volume', 'clone', 'data@one', 'trial'), /^volume trial is ready: /, 'the one that is there')
  t.match(await say('volume', 'clone', 'trial', 'third', '--size', '32Mi', '--replicas', '1'), /third is ready/)
  t.equal((await healthy('trial')).id, id)
  const refused: Array<[string[], RegExp]> = [
    [['data@none', 'x'], /^1: .*volume data has no snapshot "none"/],
    [['none', 'x'], /^1: .*there is no volume "none"/],
    [['data@one', 'data'], /volume data exists already: it is no clone;/],
    [['data@one', 'third'], /third exists already: it is a clone of trial;/],
    [['data', 'trial'], /trial exists already: it is a clone of a snapshot of data;/],
    [['data@one', 'trial', '--size', '32Mi'], /trial exists already: it has 16 MiB, not 32 MiB;/],
    [['data@one', 'trial', '--durability', 'writeback'], /its durability is durable, not writeback;/],
    [['data@one', 'x', '--size', '8Mi'], /^2: .*it has at least 16 MiB/],
    [['data@one', 'x', '--pool', 'other'], /^2: .*pool/],
    [['data@one@two', 'x'], /^2: .*VOLUME or VOLUME@SNAPSHOT/],
  ]
  const told = await Promise.all(refused.map(([words]) => say('volume', 'clone', ...words)))
  for (const [i, [words, message]] of refused.entries()) t.match(told[i], message, words.join(' '))
  const { volumes } = await api('n1').listVolumes({ isInTrash: false })
  t.same(volumes.map(({ name }) => name).sort(), ['data', 'third', 'trial'], 'nothing was changed')
})

t.test('a copy more is filled on a node that has none of the origin', async (t) => {
  const before = nodesOf(await healthy('trial'))
  t.match(await say('volume', 'replicas', 'trial', '2'), /./)
  const volume = await until(() => api('n1').getVolume({ name: 'trial' }), ({ copies, health }) =>
    health === 'healthy' && copies.length === 3 && copies.every(({ state }) => state === 'in-sync'))
  const added = nodesOf(volume).find((node) => !before.includes(node)) ?? nodesOf(volume)[0]!
  t.match(await say('volume', 'promote', 'trial', '--to', added), /./)
  await until(() => api('n1').getVolume({ name: 'trial' }), (one) => primaryOf(one) === added)
  t.same(await read('trial', 'n1', [0, 1, 2, 3, 300, 301]), [0, 0, 1, 3, 1, 3], 'by what was filled')
})

t.test('the origin is purged, and nodes are restarted: the clones are what they were', async (t) => {
  t.match(await say('volume', 'delete', 'data', '--purge'), /./)
  await until(() => api('n1').listVolumes({ isInTrash: true }), ({ volumes }) => volumes.length === 0)
  t.match(await say('volume', 'create', 'data', '--size', '16Mi', '--replicas', '1'), /volume data is ready/)
  // Alone it reads what is left of the other one.
  const own = await until(() => api('n1').getVolume({ name: 'trial' }), ({ copies, hydration }) =>
    hydration === '' && copies.every(({ sharedSlices }) => sharedSlices === 0))
  t.ok(own.usedBytes > 0, 'by itself it gets blocks of its own')
  await write('data', 'n1', [1, 2, 3], 9)
  t.same(await read('third', 'n2', [0, 1, 2, 3, 300, 301, 5000]), [0, 0, 1, 3, 1, 3, 7])
  t.match(await say('volume', 'hydrate', 'third'), /get blocks of their own in the background[^]* on n\d: 1 slice\(s\)/)
  await until(() => say('volume', 'hydrate', 'third'), (said) => /no copy .* shares a block/.test(said))
  t.same(await read('third', 'n2', [0, 1, 2, 3, 300, 301, 5000]), [0, 0, 1, 3, 1, 3, 7], 'it has all of its own')
  const primary = primaryOf(await healthy('third', 'n2'))
  await cluster.node(primary).killNode()
  const other = ['n1', 'n2', 'n3'].find((name) => name !== primary)!
  t.same(await read('third', other, [0, 1, 2, 3, 300, 301, 5000]), [0, 0, 1, 3, 1, 3, 7], 'without the node that led')
  await cluster.node(primary).start()
  await healthy('third', other)
  await healthy('trial', other)
  t.same(await read('trial', primary, [0, 1, 2, 3, 300, 301]), [0, 0, 1, 3, 1, 3])
  t.same(await read('third', primary, [0, 1, 2, 3, 300, 301, 5000]), [0, 0, 1, 3, 1, 3, 7])
})
