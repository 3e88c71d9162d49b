/**
 * Group snapshots of three volumes that three nodes lead, as real processes, under load: clients write one volume after
 * the other, and no group has what came second without what came first; also while the node that leads one of them is
 * killed, and the one that decides. How long writes waited is measured.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import type { SnapshotGroup } from '../../cluster/api/snapshot-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { primaryOf, until } from './until.ts'

const NODES = ['n1', 'n2', 'n3'] as const
const VOLUMES = ['va', 'vb', 'vc'] as const
/** Each writes its block of one volume, then of the next, then begins again with the next number. */
const CHAINS = 16
/** The longest that a primary holds writes, whatever happens. */
const BOUND_MS = 2_000

const cluster = await ClusterOfDaemons.make(t)
const specs: VolumeSpec[] = []
for (const name of VOLUMES) specs.push(await cluster.makeVolume({ name, sizeBytes: 16 * MIB }))
await cluster.start()

const api = (name: string) => cluster.api(name)
const say = async (...words: string[]): Promise<string> => {
  const { code, stdout, stderr } = await holdfast([...words, '--endpoint', cluster.node('n2').paths.api])
  return code === 0 ? stdout : `${code}: ${stderr}`
}
const create = (node: string, name: string): Promise<SnapshotGroup> =>
  api(node).createGroup({ name, volumes: [...VOLUMES], labels: {}, id: '' })

async function connect(node: string, name: string): Promise<NbdConnection> {
  const connection = await NbdConnection.open(cluster.node(node).paths.nbd, name, true)
  if (connection === undefined) throw new Error(`${name} is not served by ${node}`)
  t.teardown(() => connection.disconnect())
  return connection
}

class Chains {
  /** Of writes, in ms, since it was asked last. */
  longestMs = 0
  writes = 0
  errors: unknown[] = []
  private isRunning = true
  private readonly ended: Array<Promise<void>> = []

  constructor(connections: readonly NbdConnection[]) {
    for (let chain = 0; chain < CHAINS; chain++) this.ended.push(this.run(chain, connections))
  }

  async stop(): Promise<void> {
    this.isRunning = false
    await Promise.all(this.ended)
  }

  private async run(chain: number, connections: readonly NbdConnection[]): Promise<void> {
    for (let number = 1; this.isRunning; number++) {
      for (const connection of connections) {
        const data = Buffer.alloc(BLOCK_BYTES)
        data.writeUInt32LE(number, 0)
        const startedMs = performance.now()
        const answer = await connection.ask({ type: WRITE, offset: chain * BLOCK_BYTES, data })
        this.longestMs = Math.max(this.longestMs, performance.now() - startedMs)
        if (answer === 'closed' || answer.errno !== 0) return void this.errors.push(answer)
        this.writes++
      }
    }
  }
}

/** What each chain had written of each volume. */
async function shown(node: string, group: string): Promise<number[][]> {
  return Promise.all(VOLUMES.map(async (volume) => {
    const connection = await connect(node, `${volume}@${group}`)
    const answer = await connection.ask({ type: READ, offset: 0, length: CHAINS * BLOCK_BYTES })
    await connection.disconnect()
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`${volume}@${group} is not read`)
    return Array.from({ length: CHAINS }, (_, chain) => answer.data.readUInt32LE(chain * BLOCK_BYTES))
  }))
}

const inOrder = ([a, b, c]: readonly number[][]): boolean =>
  a!.every((number, i) => number >= b![i]! && b![i]! >= c![i]! && c![i]! >= number - 1)

async function leadBy(volume: string, node: string): Promise<void> {
  await until(async () => {
    const now = await api('n1').getVolume({ name: volume })
    if (primaryOf(now) !== node) await api('n1').moveVolume({ name: volume, what: 'primary', to: node, from: '' })
    return primaryOf(now)
  }, (leads) => leads === node)
}

t.test('each is led by another node', async () => {
  for (const name of VOLUMES) {
    await until(() => api('n1').getVolume({ name }), ({ health }) => health === 'healthy')
  }
  for (const [i, volume] of VOLUMES.entries()) await leadBy(volume, NODES[i]!)
})

t.test('by commands: made, listed, deleted, refused', async (t) => {
  t.match(await say('snapshot', 'create', 'first', '--group', 'va,vb,vc', '--label', 'app=db'),
    /^group snapshot first is made, of 3 volumes at one instant\n {2}va, at seq \d+\n {2}vb, [^]*\n {2}vc, /)
  t.match(await say('snapshot', 'create', 'first', '--group', 'vc,vb,va', '--label', 'app=db'),
    /^group snapshot first is there already, of 3 volumes at one instant\n/)
  t.match(await say('snapshot', 'create', 'first', '--group', 'va,vb'),
    /^1: holdfast: there is a group snapshot first already: it is of other volumes; choose another name\n$/)
  t.match(await say('snapshot', 'create', 'second', '--group', 'va,none'), /^1: holdfast: there is no volume "none"/)
  t.match(await say('snapshot', 'ls', '--groups'),
    /^NAME +STATE +MADE \(UTC\) +VOLUMES +LABELS\nfirst +made +20\d\d-[-:\d ]+ +va,vb,vc +app=db\n$/)
  const json = JSON.parse(await say('snapshot', 'ls', '--groups', '-o', 'json')) as SnapshotGroup[]
  t.match(json, [{ name: 'first', state: 'made', members: [{ volume: 'va', sizeBytes: 16 * MIB }, {}, {}] }])
  t.match(await say('snapshot', 'ls', 'va'), /^NAME .* GROUP +LABELS\nfirst .* first +app=db\n$/)
  t.match(await say('snapshot', 'delete', 'va', 'first'),
    /^1: holdfast: snapshot first of volume va belongs to group snapshot first; `holdfast snapshot delete --group/)
  const pruned = await say('snapshot', 'prune', 'va', '--keep-last', '1')
  t.match(pruned, /^0 snapshot\(s\) of volume va are deleted\n0 are kept/)
  t.match(await say('snapshot', 'delete', '--group', 'first'), /^group snapshot first is deleted, with the snapshots/)
  t.match(await say('snapshot', 'delete', '--group', 'first'), /^1: holdfast: there is no group snapshot "first"/)
  t.match(await say('snapshot', 'ls', 'vc'), /^no snapshots of volume vc/)
})

t.test('under load: what came second is in no group without what came first', async (t) => {
  const connections = await Promise.all(VOLUMES.map((volume) => connect('n1', volume)))
  const chains = new Chains(connections)
  await until(async () => chains.writes, (writes) => writes > 2_000)
  const usualMs = chains.longestMs
  const heldMs: number[] = []
  const groups: SnapshotGroup[] = []
  for (let number = 1; number <= 12; number++) {
    chains.longestMs = 0
    groups.push(await create(NODES[number % 3]!, `load-${number}`))
    heldMs.push(chains.longestMs)
  }
  const { writes } = chains
  await chains.stop()
  t.same(chains.errors, [])
  const numbers = await Promise.all(groups.map(({ name }, i) => shown(NODES[i % 3]!, name)))
  numbers.forEach((one, i) => t.ok(inOrder(one), `${groups[i]!.name}: ${JSON.stringify(one)}`))
  t.ok(numbers.some(([a, , c]) => a!.some((number, i) => number > c![i]!)), 'some chains were between two volumes')
  const sorted = heldMs.toSorted((a, b) => a - b).map(Math.ceil)
  const lines = cluster.nodes.flatMap((node) => node.log())
  const taken = lines.filter(({ message }) => message === 'a group snapshot is taken')
  const holds = taken.map((line) => Number(line['heldMs'])).sort((a, b) => a - b)
  const usual = `the longest of them without groups ${Math.ceil(usualMs)} ms`
  t.comment(`${writes} writes; ${usual}, with each of 12 groups ${sorted.join(' ')} ms`)
  t.comment(`writes were held for ${holds.join(' ')} ms, by their primaries`)
  t.ok(sorted.at(-1)! < BOUND_MS, 'no write waited for longer than a hold lasts at most')
  await Promise.all(groups.map(({ name }) => api('n3').deleteGroup({ name, id: '' })))
})

t.test('while the node that decides, and leads one of them, is killed', async (t) => {
  const elected = await cluster.elected()
  const [user, other] = NODES.filter((name) => name !== elected) as [string, string]
  const connections = await Promise.all(VOLUMES.map((volume) => connect(user, volume)))
  const chains = new Chains(connections)
  await until(async () => chains.writes, (writes) => writes > 500)
  const made: string[] = []
  const unknown: string[] = []
  const refused: string[] = []
  for (let number = 1; number <= 6; number++) {
    const name = `kill-${number}`
    const asked = create(number % 2 === 0 ? user : other, name)
    if (number === 3) await cluster.node(elected).killNode()
    try {
      await asked
      made.push(name)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      t.comment(error.message)
      if (error.code === 'change-outcome') unknown.push(name)
      else refused.push(name)
    }
  }
  await chains.stop()
  t.same(chains.errors, [])
  t.ok(made.length >= 4, `made: ${made.join(' ')}; not known: ${unknown.join(' ')}; refused: ${refused.join(' ')}`)
  await cluster.node(elected).start()
  for (const { id } of specs) await cluster.whole(id)
  const list = await until(async () => (await api(user).listGroups({ limit: 0, after: '' })).groups,
    (groups) => groups.every(({ state }) => state === 'made'))
  const names = list.map(({ name }) => name)
  t.same(names.filter((name) => !unknown.includes(name)), made, 'what was answered is there, what was refused is not')
  for (const name of names) t.ok(inOrder(await shown(user, name)), name)
  for (const volume of VOLUMES) {
    const { snapshots } = await api(user).listSnapshots({ volume, limit: 0, after: '' })
    t.same(snapshots.map(({ name }) => name).sort(), names, `of ${volume}: nothing is left of others`)
  }
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})
