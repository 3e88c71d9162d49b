/** Faults of the network, done by the switchboard; and strangers who connect. */
import { randomBytes } from 'node:crypto'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { askingPreface, encodePreface } from '../../dataplane/peer/preface.ts'
import { hex } from '../dataplane/copy/hosts.ts'
import type { Random } from '../sim/random.ts'
import type { Fault } from './fault.ts'
import { NAMES } from './scene.ts'
import type { Scene } from './scene.ts'
import { STORE } from './switched-nodes.ts'
import type { Way } from './switchboard.ts'

/** Half of the cuts are shorter than a grace. */
const CUT_MS = 6000
/** Another one leads by then: a grace, and the changes behind it. */
const GRACE_OVER_MS = 4000
const ANSWERS_FIRST = 20
const SLOW_MS = 5000
const STRANGER_MS = 2000

type Ways = ReadonlyArray<readonly [from: string, to: string]>

const both = (a: string, b: string): Ways => [[a, b], [b, a]]

async function during(scene: Scene, ways: Ways, change: Partial<Way>, forMs: number): Promise<void> {
  const { switchboard } = scene
  const former = ways.map(([from, to]) => ({ ...switchboard.way(from, to) }))
  for (const [from, to] of ways) switchboard.set(from, to, change)
  await sleep(forMs)
  for (const [i, [from, to]] of ways.entries()) switchboard.set(from, to, former[i]!)
}

const primaryOfAny = async (scene: Scene, random: Random): Promise<string> =>
  (await scene.primaryOf(random.pick(scene.volumes))).name

const othersOf = (name: string): string[] => NAMES.filter((other) => other !== name)

export const PATH_FAULTS: readonly Fault[] = [
  {
    row: 8, name: 'a primary is cut off from all others and the store', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const forMs = random.int(CUT_MS)
      await during(scene, [...othersOf(name), STORE].flatMap((other) => both(name, other)), { cut: true }, forMs)
      return `${name} for ${forMs} ms`
    },
  },
  {
    row: 8, name: 'a primary is cut off with its client', kind: 'path',
    async run(scene, random) {
      // Nobody else could be told what it answers meanwhile.
      const volume = random.pick(scene.volumes)
      const { at } = volume
      await scene.moveHere(volume, at)
      await scene.leadBy(volume, scene.cluster.node(at))
      await scene.progress(ANSWERS_FIRST)
      const ways = [...othersOf(at), STORE].flatMap((other) => both(at, other))
      const forMs = GRACE_OVER_MS + random.int(CUT_MS / 3)
      await during(scene, ways, { cut: true }, forMs)
      return `${at}, which led ${volume.name}, for ${forMs} ms`
    },
  },
  {
    row: 8, name: 'two nodes here, two there', kind: 'path',
    async run(scene, random) {
      const [a, b, c, d] = random.shuffle([...NAMES]) as [string, string, string, string]
      const store = random.chance(0.5) ? [a, b] : [c, d]
      const forMs = random.int(CUT_MS)
      const ways = [[a, c], [a, d], [b, c], [b, d], ...store.map((name) => [name, STORE])]
      await during(scene, ways.flatMap(([one, other]) => both(one!, other!)), { cut: true }, forMs)
      return `${a} ${b} from ${c} ${d}, ${store.join(' ')} without the store, for ${forMs} ms`
    },
  },
  {
    row: 9, name: 'one way is cut', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const other = random.pick(othersOf(name))
      const way: Ways = random.chance(0.5) ? [[name, other]] : [[other, name]]
      const forMs = random.int(CUT_MS)
      await during(scene, way, { cut: true }, forMs)
      return `${way[0]![0]} to ${way[0]![1]} for ${forMs} ms`
    },
  },
  {
    row: 9, name: 'two nodes do not see each other, the others see both', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const other = random.pick(othersOf(name))
      const forMs = random.int(CUT_MS)
      await during(scene, both(name, other), { cut: true }, forMs)
      return `${name} and ${other} for ${forMs} ms`
    },
  },
  {
    row: 10, name: 'a primary does not see the store', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const forMs = random.int(CUT_MS)
      await during(scene, both(name, STORE), { cut: true }, forMs)
      return `${name} for ${forMs} ms`
    },
  },
  {
    row: 11, name: 'a slow way', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const other = random.pick([...othersOf(name), STORE])
      const change: Partial<Way> =
        random.chance(0.5) ? { delayMs: 5 + random.int(300) } : { bytesPerSecond: random.pick([125_000, 1_250_000]) }
      const forMs = random.int(SLOW_MS)
      await during(scene, both(name, other), change, forMs)
      return `${name} and ${other}, ${JSON.stringify(change)}, for ${forMs} ms`
    },
  },
  {
    row: 11, name: 'connections are reset', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const other = random.pick([...othersOf(name), STORE])
      let count = 0
      for (let i = 0; i < 5; i++) {
        count += scene.switchboard.reset(name, other)
        await sleep(random.int(200))
      }
      return count === 0 ? undefined : `${count} between ${name} and ${other}`
    },
  },
  {
    row: 12, name: 'a bit flips on the wire', kind: 'path',
    async run(scene, random) {
      const name = await primaryOfAny(scene, random)
      const other = random.pick(othersOf(name))
      for (let i = 0; i < 4; i++) {
        for (const [from, to] of both(name, other)) scene.switchboard.set(from, to, { damagesNext: true })
        await sleep(random.int(300))
      }
      for (const [from, to] of both(name, other)) scene.switchboard.set(from, to, { damagesNext: false })
      return `${name} and ${other}`
    },
  },
  {
    row: 27, name: 'strangers connect as peers', kind: 'path',
    async run(scene, random) {
      const { name, config } = random.pick(scene.nodes)
      const words = [...strangersWords(name, random), ...scene.switchboard.overheard(name)]
      await Promise.all(words.map((bytes) => say(config.cluster!.listenPeer, bytes)))
      return `${words.length} to ${name}`
    },
  },
]

/** Who speaks something else, who is of another cluster, who says that he is a node of ours and talks nonsense. */
function strangersWords(name: string, random: Random): Buffer[] {
  const self = { clusterId: hex(), node: 'n9', instance: hex(), worker: 0, role: 'worker' as const }
  const to = { node: name, worker: 0, lane: 'data' as const, nonce: hex(), windowBytes: 32 << 20 }
  return [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(224, 'x'),
    randomBytes(1 + random.int(100_000)),
    Buffer.concat([encodePreface(askingPreface(self, to)), randomBytes(5000)]),
  ]
}

/** Until it is thrown out, or long enough. */
async function say(where: { host: string; port: number }, bytes: Buffer): Promise<void> {
  const socket = net.connect(where)
  socket.on('error', () => undefined)
  socket.on('data', () => undefined)
  socket.write(bytes)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  await Promise.race([closed, sleep(STRANGER_MS)])
  socket.destroy()
}
