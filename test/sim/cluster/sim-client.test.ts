/**
 * A client and its frontend against a primary that is never wrong, over a network that is: what it writes down is a
 * history without fault, every request ends, and a primary that is wrong is found out.
 */
import t from 'tap'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import { countNumbered } from '../../../engine/replication/numbered.ts'
import type { BlockVersion, ReplicatedRecord } from '../../../engine/replication/record.ts'
import { SLICE_BLOCKS } from '../../../engine/units.ts'
import { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import { checkAnswered } from './checker/acknowledged-is-durable.ts'
import { requestKey, type ClientOperation, type LoggedRecord } from './checker/history.ts'
import { checkReadsMatchHistory } from './checker/reads-match-history.ts'
import { MemoryStore, newMemoryStore } from './memory-store.ts'
import { Network } from './network.ts'
import { SimClient, type ClientWorld } from './sim-client.ts'
import { NUMBERS, Stamps } from './stamps.ts'
import { drawSwarm } from './swarm.ts'
import { visibleAt } from './version-map.ts'

interface Course {
  bug?: Bug
  endLba?: number
  socketMs?: number
  ioTimeoutMs?: number
}

type Bug = 'forgets-requests' | 'ignores-edges' | 'orders-what-it-refuses'

/**
 * `endLba`: where the volume ends, whatever size the primary told before. `socketMs`: so often a connection of a client
 * is lost.
 */
function run(seed: number, { bug, endLba = Infinity, socketMs = 0, ioTimeoutMs = 0 }: Course = {}) {
  const clock = new SimClock()
  const random = new Random(seed)
  const drawn = drawSwarm(seed, random)
  const weights = { read: 4, write: 4, trim: 1, zero: 1, flush: 0.5, narrow: 4 }
  const sizes = { operations: 100, slices: 2, blocksPerSlice: 2, beyondRate: 0 }
  // All of them within the minute that is run, however slow the seed's clients are.
  const thinkMs = Math.min(drawn.thinkMs, 1000)
  const swarm = { ...drawn, thinkMs, weights, ...sizes, resendMs: 40, inFlightMax: 8, sockets: 2, ioTimeoutMs }
  const options = { delayMs: [0, 20], lossRate: 0.1, duplicateRate: 0.2, lateRate: 0.2, inOrder: false }
  const network = new Network(clock, random.fork(), { ...options, delayMs: [0, 20] })
  const operations: ClientOperation[] = []
  const log: LoggedRecord[] = []
  const stamps = new Stamps()
  let position = 0
  const answers = new Map<string, number>()
  const facts = {
    promise: { epoch: 1, primary: 'n1' },
    attach: { brokenGeneration: 0, incarnations: [] },
    consistency: { state: 'consistent' as const },
  }
  const store = new MemoryStore(
    newMemoryStore({ copyId: 'a', sizeBlocks: 1 << 20, sliceBlocks: 1 << 18, autoSync: true, facts }),
  )
  const epochs = [[1, 1]] as const
  const first = {
    epoch: 1,
    seq: 1,
    request: undefined,
    kind: 'control',
    change: { operation: 'epoch', epochs },
  } as const
  store.append(first)
  log.push({
    epoch: 1,
    seq: 1,
    kind: 'control',
    lba: 0,
    blockCount: 0,
    stamps: [],
    request: '',
    change: first.change,
  })
  store.apply(1, undefined)
  const done = new Set<string>()

  const primary = (message: FrontendMessage): FrontendMessage | undefined => {
    if (message.type === 'open') return { type: 'opened', session: message.session, epoch: 1, sizeBytes: 2 ** 32 }
    if (message.type !== 'request') return undefined
    const { id, operation } = message
    const ok = (versions: BlockVersion[]): FrontendMessage => ({
      type: 'reply',
      id,
      epoch: 1,
      result: { ok: true, versions },
    })
    if (operation.type === 'flush') return ok([])
    const isBeyond = operation.lba + operation.blockCount > endLba
    const refused: FrontendMessage = { type: 'reply', id, epoch: 1, result: { ok: false, code: 'range' } }
    if (isBeyond && (operation.type === 'read' || bug !== 'orders-what-it-refuses')) return refused
    const lbas = Array.from({ length: operation.blockCount }, (_, i) => operation.lba + i)
    const held = (lba: number) => visibleAt(store.view, lba, Infinity)
    if (operation.type === 'read') return ok(lbas.map(held).filter((version) => version !== undefined))
    const key = requestKey(id)
    const reply = isBeyond ? refused : ok([])
    if (done.has(key) && bug !== 'forgets-requests') return reply
    if (operation.type === 'write' && bug !== 'ignores-edges') {
      const hasChanged = operation.edges.some(([lba, seq]) => (held(lba)?.seq ?? 0) !== seq)
      if (hasChanged) return { type: 'reply', id, epoch: 1, result: { ok: false, code: 'edge-changed' } }
    }
    done.add(key)
    const seq = store.view.tail + 1
    const { lba, blockCount, type: kind } = operation
    const run = { epoch: 1, seq, request: id, lba, blockCount }
    const record: ReplicatedRecord =
      kind === 'write' ? { ...run, kind, payload: operation.payload } : { ...run, kind }
    store.append(record)
    store.apply(seq, undefined)
    const written = kind === 'write' ? NUMBERS.stampsOf(operation.payload) : []
    log.push({ epoch: 1, seq, kind, lba, blockCount, stamps: written, request: key, change: undefined })
    return reply
  }

  const clients: SimClient[] = []
  const config = { volumeId: 'v', epoch: 1, primary: 'n1', inSync: ['n1'], members: {}, minInSync: 1, nonce: '' }
  const attach = { generation: 1, mode: 'open' as const, holders: {} }
  const world: ClientWorld = {
    clock,
    swarm,
    isHealed: false,
    asksAnew: false,
    stamps,
    codec: NUMBERS,
    position: () => ++position,
    record: (op) => void operations.push(op),
    sendToCopy: (client, to, message) =>
      network.send(client, to, () => {
        const reply = primary(message)
        const one = clients.find(({ name }) => name === client)!
        if (reply !== undefined) network.send(to, client, () => one.message(to, reply))
      }),
    readConfig: (_user, ended) => void clock.after(1, () => ended({ config: { ...config, attach }, version: 'v1' })),
    clientAnswered: (_client, _kind, result) => void answers.set(result, (answers.get(result) ?? 0) + 1),
    failed: (_who, error) => {
      throw error
    },
  }
  for (const name of ['c1', 'c2']) clients.push(new SimClient(name, world, random.fork(name), 1, 100))
  clients.forEach((client, i) => client.attach({ generation: 1, incarnation: i + 1 }))
  const sockets = new Random(`sockets ${seed}`)
  const loseSocket = (): void => {
    sockets.pick(clients).loseSocket(sockets, 100)
    if (clock.nowMs() < 20_000) clock.after(socketMs * 2 * sockets.float(), loseSocket)
  }
  if (socketMs > 0) loseSocket()
  // What is on its way may still change something.
  let endedEarly = 0
  const look = (): void => {
    for (const { isDone, frontend } of clients) if (isDone && countNumbered(frontend!.requests) > 0) endedEarly++
    clock.after(1, look)
  }
  if (ioTimeoutMs > 0) look()
  clock.advance(60_000)
  const history = { operations, eras: [{ from: 0, cutSeq: 0, log }], bases: stamps.bases }
  const violations = [...checkReadsMatchHistory(history), ...checkAnswered(history)]
  const isDone = clients.every((client) => client.isDone)
  return { answered: answers.get('ok'), failed: answers.get('timeout') ?? 0, isDone, endedEarly, violations }
}

t.test('the history of a primary that is never wrong has no fault', (t) => {
  for (let seed = 0; seed < 8; seed++) {
    const { answered, isDone, violations } = run(seed)
    t.same([answered, isDone, violations], [200, true, []], `seed ${seed}`)
  }
  t.end()
})

t.test('connections are lost: each operation is answered once, by the last request that was sent for it', (t) => {
  for (let seed = 0; seed < 8; seed++) {
    const { answered, isDone, violations } = run(seed, { socketMs: 20 })
    t.same([answered, isDone, violations], [200, true, []], `seed ${seed}`)
  }
  t.end()
})

t.test('requests fail that are held for too long, and may have happened', (t) => {
  let failures = 0
  for (let seed = 0; seed < 8; seed++) {
    const { answered, failed, isDone, endedEarly, violations } = run(seed, { socketMs: 20, ioTimeoutMs: 60 })
    t.same([answered! + failed, isDone, endedEarly, violations], [200, true, 0, []], `seed ${seed}`)
    failures += failed
  }
  t.ok(failures > 8, `${failures} failed`)
  t.end()
})

t.test('of a request that goes beyond the end the parts before it may take effect (seed 13754)', (t) => {
  for (let seed = 0; seed < 8; seed++) {
    const { isDone, violations } = run(seed, { endLba: SLICE_BLOCKS })
    t.same([isDone, violations], [true, []], `seed ${seed}`)
  }
  t.end()
})

for (const [bug, pattern] of [
  ['forgets-requests', /in the log twice/],
  ['ignores-edges', /narrow write of block/],
  ['orders-what-it-refuses', /was answered range and is in the log/],
] as const) {
  t.test(`a primary that ${bug.replaceAll('-', ' ')} is found out`, (t) => {
    const endLba = bug === 'orders-what-it-refuses' ? SLICE_BLOCKS : Infinity
    const runs = [0, 1, 2, 3, 4, 5, 6, 7].map((seed) => run(seed, { bug, endLba }))
    const found = runs.flatMap(({ violations }) => violations.map(({ message }) => message))
    t.match(found.join('\n'), pattern)
    t.end()
  })
}
