/**
 * Risk: a network that delays, splits, damages or swallows bytes makes a peer deliver what was not sent, or wait for
 * ever (rows 9, 11 and 12 of the fault matrix).
 */
import t from 'tap'
import type { Test } from 'tap'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import { blocks } from './any-message.ts'
import { FaultProxy } from './fault-proxy.ts'
import type { Way } from './fault-proxy.ts'
import { textOf } from './wire.ts'
import { sync, until, Worker } from './workers.ts'
import type { WorkerOptions } from './workers.ts'

const DATA = 2
const append: WireMessage = {
  type: 'append', epoch: 2, previous: { epoch: 1, seq: 4 }, commitSeq: 3,
  records: [{ epoch: 2, seq: 5, request: undefined, kind: 'write', lba: 9, blockCount: 1, payload: blocks(1, 5) }],
}
const quick = { limits: { keepaliveMs: 20, silenceMs: 200 } }

/** n1 dials n2 through the proxy. */
async function through(t: Test, options: Partial<WorkerOptions> = {}): Promise<[Worker, Worker, FaultProxy]> {
  const b = await Worker.start(t, { node: 'n2', ...options })
  const proxy = await FaultProxy.start(t, b.endpoint)
  const a = await Worker.start(t, { node: 'n1', ...options })
  b.transport.setPeers([{ node: 'n1', worker: 0 }])
  return [a, b, proxy]
}

const dial = (a: Worker, proxy: FaultProxy): void =>
  a.transport.setPeers([{ node: 'n2', worker: 0, endpoint: proxy.endpoint }])

t.test('bytes one by one, and late', async (t) => {
  for (const faults of [{ split: true }, { delayMs: 20 }, { split: true, delayMs: 5 }]) {
    const [a, b, proxy] = await through(t)
    proxy.faultsFor = () => ({ in: faults, out: faults })
    dial(a, proxy)
    await until(() => a.isUp(b) && b.isUp(a))
    const sent = [append, sync(1), append, sync(2)]
    for (const message of sent) a.send(b, message)
    b.send(a, append)
    await until(() => b.got.length === sent.length && a.got.length === 1)
    t.same(b.got.map(({ message }) => textOf(message)), sent.map(textOf))
    t.same([a.events, b.events, a.downs], [[], [], []])
  }
})

/** One conversation with a damaged byte at `place`. @returns how many of three messages arrived before its end */
async function damaged(t: Test, workers: [Worker, FaultProxy], way: Way, place: number, mask: number): Promise<number> {
  const [b, proxy] = workers
  const a = new Worker({ node: 'n1' })
  const count = proxy.connections.length
  let wasDamaged = false
  proxy.faultsFor = (lane) => {
    if (lane !== DATA || wasDamaged) return {}
    wasDamaged = true
    return { [way]: { damageAt: place, damageMask: mask } }
  }
  dial(a, proxy)
  const dialled = () => proxy.connections.slice(count).filter(({ lane }) => lane === DATA)
  const first = () => dialled()[0]
  // A refused preface is followed by another dial at once, which may be up before the end of the first is seen here.
  const isFirst = () => dialled().length === 1 && !first()!.isClosed
  const talk = async (): Promise<void> => {
    await until(() => first()?.isClosed === true || dialled().length > 1 || (isFirst() && a.isUp(b) && b.isUp(a)))
    if (!isFirst()) return
    for (const message of [sync(1), append, sync(2)]) (way === 'in' ? a.send(b, message) : b.send(a, message))
    await until(() => !isFirst())
  }
  await talk()
  const receiver = way === 'in' ? b : a
  const got = receiver.got.filter(({ family }) => family === 'copy').map(({ message }) => textOf(message))
  const sent = [sync(1), append, sync(2)].map(textOf)
  if (got.some((text, i) => text !== sent[i])) t.fail(`damage at ${place} (${way}) was delivered: ${got.join()}`)
  receiver.got.length = 0
  await a.stop()
  await until(() => b.transport.connections === 0)
  return got.length
}

t.test('one damaged byte anywhere ends the connection, and nothing of it or behind it is delivered', async (t) => {
  // Preface, alive, sync, append with a block, sync.
  const [preface, header] = [224, 56]
  const appendAt = preface + header + (header + 6)
  const controlEnd = appendAt + header + 28 + 72 + 4
  const end = controlEnd + 4096 + header + 6
  const places: number[] = []
  for (let place = 0; place < end; place++) {
    const inBlock = place > controlEnd + 3 && place < controlEnd + 4090
    const inNames = place > 100 && place < 216
    const every = inBlock ? 331 : inNames ? 13 : 1
    if (place % every === 0) places.push(place)
  }
  const arrived = [0, 0, 0, 0]
  // Several conversations at once, each with a peer and a proxy of its own: most of the time is waiting.
  const lane = async (): Promise<void> => {
    const [unused, b, proxy] = await through(t)
    await unused.stop()
    for (let next = places.pop(); next !== undefined; next = places.pop()) {
      const place = next
      for (const way of ['in', 'out'] as const) {
        // The answering side says no `alive` of its own accord so early.
        if (way === 'out' && place >= preface && place < preface + header) continue
        const at = way === 'out' && place >= preface ? place - header : place
        const count = await damaged(t, [b, proxy], way, at, 1 << (place % 8))
        arrived[count]!++
        if (place < preface) t.equal(count, 0)
      }
    }
    t.ok(b.events.length > 0)
  }
  await Promise.all(Array.from({ length: 8 }, lane))
  t.equal(arrived[3], 0, 'never all of it')
  t.ok(arrived[1]! > 200, `${arrived.join()}: up to the damage it was delivered`)
})

t.test('a half-closed connection is given up by both, and made anew', async (t) => {
  const [a, b, proxy] = await through(t)
  dial(a, proxy)
  for (const way of ['in', 'out'] as const) {
    await until(() => a.isUp(b) && b.isUp(a))
    const half = proxy.live(DATA)!
    half.halfClose(way)
    await until(() => half.isClosed && proxy.live(DATA) !== undefined && a.isUp(b) && b.isUp(a))
  }
  a.send(b, sync(1))
  await until(() => b.got.length === 1)
})

t.test('a reset connection is made anew', async (t) => {
  const [a, b, proxy] = await through(t, { tcp: true })
  dial(a, proxy)
  for (let i = 0; i < 5; i++) {
    await until(() => a.isUp(b) && b.isUp(a))
    const one = proxy.live(DATA)!
    one.reset()
    await until(() => one.isClosed && proxy.live(DATA) !== undefined && a.isUp(b) && b.isUp(a))
  }
  a.send(b, sync(1))
  await until(() => b.got.length === 1)
  t.equal(a.transport.connections, 2)
})

t.test('a way that swallows everything is noticed by silence, in either direction', async (t) => {
  for (const way of ['in', 'out'] as const) {
    const [a, b, proxy] = await through(t, quick)
    dial(a, proxy)
    await until(() => a.isUp(b) && b.isUp(a))
    const one = proxy.live(DATA)!
    one.faults[way] = { cut: true }
    const deaf = way === 'in' ? b : a
    await until(() => deaf.downs.length > 0)
    t.match(deaf.downs[0], /data silent/)
    await until(() => one.isClosed && a.isUp(b) && b.isUp(a))
    await a.stop()
    await b.stop()
  }
})

t.test('while nobody says anything nothing is taken for dead', async (t) => {
  const [a, b, proxy] = await through(t, quick)
  dial(a, proxy)
  await until(() => a.isUp(b) && b.isUp(a))
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.same([a.downs, b.downs], [[], []])
})

t.test('a loop that stood still does not take its peers for dead', async (t) => {
  const [a, b, proxy] = await through(t, quick)
  dial(a, proxy)
  await until(() => a.isUp(b) && b.isUp(a))
  // Both workers live in this process, so neither could speak.
  const endMs = performance.now() + 400
  while (performance.now() < endMs);
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.same([a.downs, b.downs], [[], []])
})
