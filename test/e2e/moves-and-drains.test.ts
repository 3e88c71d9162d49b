/**
 * Risk: a command that moves copies says yes and nothing comes of it, it leaves a volume with fewer copies than it had,
 * it cannot be taken back, or clients notice. Four nodes as processes and a volume with three copies under load:
 * `volume move`, `node drain` and `disk evict` are typed and taken back, and `status` is asked what it says.
 */
// test-timeout-seconds: 180
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Disk } from '../../cluster/api/node-messages.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { contentOnDisk, differences } from '../nemesis/copies-at-rest.ts'

const NAMES = ['n1', 'n2', 'n3', 'n4']
const COPIES = 3
const LOOK_MS = 50

t.test('copies are moved, a node is drained, a disk is evicted, and each is taken back', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: NAMES })
  await cluster.start()
  const run = (...words: string[]) => holdfast([...words, '--endpoint', cluster.node('n1').paths.api])
  const say = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(...words)
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  const told = async <T>(...words: string[]): Promise<T> => JSON.parse((await run(...words, '-o', 'json')).stdout) as T
  const page = async (isSo: RegExp): Promise<string> => {
    for (;;) {
      const text = await say('status')
      if (isSo.test(text)) return text
      await sleep(LOOK_MS)
    }
  }
  while ((await told<Disk[]>('disk', 'ls')).length < NAMES.length) await sleep(LOOK_MS)
  t.match(await say('volume', 'create', 'data', '--size', '32Mi', '--replicas', '2'), /volume data is ready/)
  const { id } = await told<Volume>('volume', 'inspect', 'data')
  /** All copies are in the set, and these nodes have none. */
  const whole = async (...without: string[]): Promise<VolumeConfig> => {
    for (;; await sleep(LOOK_MS)) {
      const config = await cluster.config(id)
      const members = Object.keys(config.members)
      if (members.length !== COPIES || config.inSync.length !== COPIES) continue
      if (!without.some((node) => members.includes(node))) return config
    }
  }
  const outside = ({ members }: VolumeConfig): string => NAMES.find((name) => members[name] === undefined)!

  const first = await whole()
  const free = outside(first)
  const client = new StampedClient({
    socketPath: cluster.node(free).paths.nbd, exportName: 'data', random: randomNumber, depth: 4,
  })
  t.teardown(() => client.close())
  await client.connected()
  client.start()

  const replica = first.inSync.find((node) => node !== first.primary)!
  const moves = [[replica, free], [free, replica]] as const
  for (const [from, to] of moves) {
    t.match(await say('volume', 'move', 'data', '--to', to, '--from', from), `a copy of volume data goes to ${to}`)
    const { members } = await whole(from)
    t.ok(members[to], `${from} gave its copy to ${to}`)
  }

  // Of whichever node, which the volume's record then says of it.
  const wished = outside(await whole())
  t.match(await say('volume', 'move', 'data', '--to', wished), `a copy of volume data goes to ${wished}`)
  while ((await whole()).members[wished] === undefined) await sleep(LOOK_MS)
  t.equal((await told<Volume>('volume', 'inspect', 'data')).health, 'healthy', 'its record is one still')

  // The one that leads: it hands over first.
  const drained = (await whole()).primary
  t.match(await say('node', 'drain', drained), `node ${drained} is emptied`)
  const empty = await page(new RegExp(`^node ${drained}: drained\n  next: it may be switched off$`, 'm'))
  const safe = `^node ${drained}: draining; safe to reboot: yes, because it has no copy that is needed$`
  t.match(empty, new RegExp(safe, 'm'))
  t.match(empty, /^healthy: 1 of 1 volumes healthy/)
  const { copies, health } = await told<Volume>('volume', 'inspect', 'data')
  t.equal(health, 'healthy')
  t.same(copies.map(({ node }) => node).sort(), NAMES.filter((name) => name !== drained), 'its copies are elsewhere')
  t.same(copies.map(({ state }) => state), ['in-sync', 'in-sync', 'in-sync'])
  t.match(await say('explain', 'data'), new RegExp(`^${drained} +none +is being drained$`, 'm'))
  t.match(await say('node', 'uncordon', drained), `node ${drained} may get new copies again`)
  t.match(await page(new RegExp(`^node ${drained}: up;`, 'm')), /nothing is wrong/)

  const loses = (await whole()).inSync.find((node) => node !== free)!
  const disk = (await told<Disk[]>('disk', 'ls')).find(({ node }) => node === loses)!
  t.match(await say('disk', 'evict', disk.uuid), `disk ${disk.path} of ${loses} is emptied`)
  const evicted = `disk ${disk.path} of node ${loses}: it is being evicted`
  await page(new RegExp(`^${evicted}\n  next: nothing is on it any more, it may be taken out$`, 'm'))
  t.ok((await whole(loses)).members[drained], 'who was drained got the copy')
  t.match(await say('disk', 'evict', disk.uuid, '--undo'), `disk ${disk.path} of ${loses} is used again`)
  await page(/nothing is wrong/)
  t.match(await say('volume', 'move', 'data', '--to', loses, '--from', drained), 'a copy of volume data goes to')
  t.ok((await whole(drained)).members[loses], 'and it is: a copy is there again')

  t.match(await say('node', 'drain', loses), 'is emptied')
  t.match(await say('node', 'uncordon', loses), 'may get new copies again', 'taken back while it is under way')
  t.match(await page(/nothing is wrong/), /^healthy: 1 of 1/)

  await client.pause()
  await client.verify()
  const { members } = await whole()
  t.same(client.problems, [], `${client.counts.writes} writes, held ${Math.round(client.held.longestMs)} ms at most`)
  t.equal(client.counts.errors + client.reconnects, 0)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  t.same(await Promise.all(cluster.nodes.map((node) => node.stop())), [0, 0, 0, 0], 'all stop cleanly')
  const disks = Object.keys(members).map((name) => cluster.node(name).config.disks[0]!.path)
  const [one, ...others] = disks.map((path) => contentOnDisk(path, id))
  for (const other of others) t.same(differences(one!, other), [], `the same ${one!.size} blocks`)
})
