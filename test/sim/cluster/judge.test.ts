/**
 * Risk: the judge forgets what a chosen log may lack (S6) before that is settled, or whose disk lied, and takes for a
 * violation what is none; or it does not forget it when another log is served, and lets a later loss pass.
 *
 * Two copies in `writeback`, both of which lost power: n1 leads epoch 3 and has lost what n2, which led epoch 2, has
 * from seq 2 on. In place of nodes and their stores stand what the judge asks of them.
 */
import t from 'tap'
import { NO_FENCE } from '../../../engine/replication/session-fence.ts'
import { withSuccessor } from '../../../engine/replication/configuration.ts'
import type { CopyState } from '../../../engine/replication/copy-state.ts'
import type { EpochHistory } from '../../../engine/replication/record-id.ts'
import { Random } from '../random.ts'
import { Atlas } from './atlas.ts'
import { initialConfig } from './first-config.ts'
import { Judge } from './judge.ts'
import { NUMBERS } from './stamps.ts'
import { drawSwarm } from './swarm.ts'
import type { World } from './world.ts'

const DRAWN = drawSwarm(1, new Random('judge'))
const SWARM = { ...DRAWN, mode: 'writeback' as const, copies: 2, spares: 0, minInSync: 2, clients: 1 }
const NAMES = ['n1', 'n2'] as const
type Name = (typeof NAMES)[number]

class Scene {
  nowMs = 0
  readonly judge: Judge
  readonly atlas = new Atlas(() => true)
  private readonly nodes = new Map(NAMES.map((name) => [name, newNode(name)]))
  private readonly history = [{ config: initialConfig({ ...SWARM, attachMode: 'open' }, 'v', 0) }]

  constructor() {
    const { nodes, history } = this
    const store = {
      history,
      get current() {
        return history.at(-1)!
      },
    }
    const world = {
      swarm: SWARM,
      clock: { nowMs: () => this.nowMs },
      trace: { note() {} },
      codec: NUMBERS,
      store,
      nodes,
      atlas: this.atlas,
    }
    this.judge = new Judge(world as unknown as World, history[0]!.config)
    for (const name of NAMES) for (const seq of [1, 2, 3]) this.stores(name, 1, seq)
    for (const seq of [1, 2, 3]) this.applies('n1', 1, seq)
  }

  losesPower(name: Name, tail: number): void {
    const node = this.nodes.get(name)!
    node.lastPowerLoss = this.judge.position()
    node.epochs = node.epochs.slice(0, tail)
  }

  /** It has this record durable. */
  stores(name: Name, epoch: number, seq: number): void {
    const node = this.nodes.get(name)!
    node.epochs = [...node.epochs.slice(0, seq - 1), epoch]
    node.storedAt[seq] = this.judge.position()
  }

  leads(name: Name): number {
    const { config } = this.history.at(-1)!
    const next = withSuccessor(config, name, `lead of ${name}`)!
    this.history.push({ config: next })
    this.judge.configured(next, name)
    return next.epoch
  }

  /** It chooses its own log, without the other. */
  choosesAlone(name: Name, epoch: number): void {
    const node = this.nodes.get(name)!
    const epochSeq = node.epochs.length + 1
    this.judge.stepped(name, newCopy(epoch, 'reconciling', { phase: 'syncing', epochSeq }))
    this.stores(name, epoch, epochSeq)
  }

  /** Both have its log, and it serves. */
  begins(name: Name, epoch: number, comesBackShort?: Name): void {
    const node = this.nodes.get(name)!
    for (const other of this.nodes.values()) if (other !== node) other.epochs = [...node.epochs]
    if (comesBackShort !== undefined) {
      this.losesPower(comesBackShort, 1)
      this.atlas.cameBackShort(comesBackShort)
    }
    node.epochs.forEach((of, i) => this.applies(name, of, i + 1, epoch))
    node.lastRole = 'reconciling'
    const history: EpochHistory = [[epoch, node.epochs.length]]
    this.judge.stepped(name, newCopy(epoch, 'primary', undefined, history))
  }

  applies(name: Name, epoch: number, seq: number, promise = epoch): void {
    const node = this.nodes.get(name)!
    node.process = { copy: newCopy(promise, 'primary') }
    const record = { epoch, seq, request: undefined, kind: 'control' as const }
    this.judge.applied(name, { ...record, change: { operation: 'snapshot', id: `${epoch}.${seq}` } })
  }

  get violations(): string[] {
    return this.judge.violations.map(({ message }) => message)
  }
}

const newNode = (name: Name) => ({
  name,
  lastPowerLoss: 0,
  lastRole: '',
  openCopy: undefined,
  process: undefined as { copy: CopyState } | undefined,
  /** Of the record of each seq. */
  epochs: [] as number[],
  storedAt: [] as number[],
  get witness() {
    const { epochs, storedAt } = this
    return {
      node: name,
      isConsistent: true,
      durableSeq: epochs.length,
      has: (epoch: number, seq: number) => epochs[seq - 1] === epoch,
      hadDurable: () => false,
      storedAt: (seq: number) => storedAt[seq],
    }
  },
})

/** A copy that leads and has heard nobody. */
function newCopy(epoch: number, role: string, reconciling?: object, epochs: EpochHistory = []): CopyState {
  const peers = new Map(NAMES.map((name) => [name, { report: undefined }]))
  const { graceMs, evictAfterMs } = SWARM
  const copy = { role, options: { graceMs, evictAfterMs, mode: 'writeback' }, promise: { epoch }, log: { epochs } }
  return { ...copy, attach: NO_FENCE, primary: { epoch, peers, reconciling } } as unknown as CopyState
}

/** Both lost power, n2 has everything; n1 leads above it, and has waited for n2 as long as S6 says. */
function newScene(): { scene: Scene; older: number; newer: number } {
  const scene = new Scene()
  scene.losesPower('n2', 3)
  scene.losesPower('n1', 1)
  const older = scene.leads('n2')
  const newer = scene.leads('n1')
  scene.nowMs += 100 * (SWARM.graceMs + SWARM.evictAfterMs)
  return { scene, older, newer }
}

t.test('what n1 may lack is gone when it serves', (t) => {
  const { scene, newer } = newScene()
  scene.choosesAlone('n1', newer)
  scene.begins('n1', newer)
  t.same(scene.violations, [])
  t.end()
})

t.test('who stood still and chooses late for an older epoch changes nothing of that (seed 10827)', (t) => {
  const { scene, older, newer } = newScene()
  scene.choosesAlone('n1', newer)
  scene.choosesAlone('n2', older)
  scene.begins('n1', newer)
  t.same(scene.violations, [])
  t.end()
})

t.test('nor does who chooses for a later one, and loses power before it serves', (t) => {
  const { scene, newer } = newScene()
  scene.choosesAlone('n1', newer)
  scene.choosesAlone('n2', scene.leads('n2'))
  scene.losesPower('n2', 1)
  const last = scene.leads('n1')
  scene.nowMs += 100 * (SWARM.graceMs + SWARM.evictAfterMs)
  scene.choosesAlone('n1', last)
  scene.begins('n1', last)
  t.same(scene.violations, [])
  t.end()
})

t.test('when a log that lacks nothing is served, nothing of it may be lost later', (t) => {
  const { scene, newer } = newScene()
  scene.choosesAlone('n1', newer)
  const last = scene.leads('n2')
  scene.choosesAlone('n2', last)
  scene.begins('n2', last)
  t.same(scene.violations, [])
  scene.applies('n1', scene.leads('n1'), 2)
  t.match(scene.violations.join(), /was applied there before/)
  t.end()
})

t.test('who stored the epoch record, and came back without it before that was heard, stays short (seed 10537)', (t) => {
  const { scene } = newScene()
  scene.atlas.cameBackShort('n1')
  const epoch = scene.leads('n2')
  scene.choosesAlone('n2', epoch)
  scene.begins('n2', epoch, 'n1')
  t.ok(scene.atlas.isShort('n1'))
  const next = scene.leads('n2')
  scene.choosesAlone('n2', next)
  scene.begins('n2', next)
  t.notOk(scene.atlas.isShort('n1'), 'now it has what the others have')
  t.end()
})
