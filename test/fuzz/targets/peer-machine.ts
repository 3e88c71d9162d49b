/**
 * What a compromised node may say, to a copy: messages of every type, each of a form that the wire takes, of members
 * and of a node that is none, in any order, while time passes, its disk answers and the configuration changes. The
 * machine and its store are those of a data worker (`CopyHost` over a `Store`), on a disk and a clock of the
 * simulator. Promises: no assert breaks, neither of the machine nor of the store; nothing throws; what the copy
 * remembers is bounded, whatever was said.
 */
import { assert } from '../../../engine/assert.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import { CopyHost } from '../../../dataplane/copy/copy-host.ts'
import { CopyPlaces } from '../../../dataplane/copy/copy-places.ts'
import type { ConfigPort } from '../../../dataplane/copy/config-port.ts'
import { DEFAULT_TIMING } from '../../../dataplane/copy/timing.ts'
import { TurnLoop } from '../../../dataplane/copy/turn-loop.ts'
import { WakeTimer } from '../../../dataplane/copy/wake-timer.ts'
import { Delivery } from '../../../dataplane/peer/delivery.ts'
import { epochOf, familyOf, FRAME_TYPE } from '../../../dataplane/peer/message-codec.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { freeze, openStore, thaw } from '../../crash/scripted-work.ts'
import type { Frozen } from '../../crash/scripted-work.ts'
import type { Random } from '../../sim/random.ts'
import type { SimClock } from '../../sim/clock.ts'
import { StoreWorld } from '../../sim/store-world.ts'
import { MessageDraws, overTheWire } from '../drawn-message.ts'
import { DrawnFrom } from '../target.ts'
import type { Target } from '../target.ts'

const SELF = 'n1'
/** The last one is no member. */
const NODES = ['n1', 'n2', 'n3', 'n9'] as const
const INSTANCES = ['a1'.repeat(16), 'b2'.repeat(16)] as const
const STEPS_MAX = 48
const VALUES_MAX = 20_000
/** Once every so many inputs, much is said. */
const FLOOD_EVERY = 512
const FLOOD_STEPS = 300
const TURNS_MAX = 50_000
const ENDING_MS = 5_000
const LIMITS = { windowBytesMax: 64 * 1024, windowRecordsMax: 16, fillBytesMax: 16 * 1024, marksMost: 4 }
/**
 * What a member of the volume can still break: it says more of what is committed, or what lies outside of the volume.
 * A lie cannot be told from a loss there, so the copy stops rather than serve; others of it go on (see
 * docs/security.md, "Not done").
 */
const STOPS = /^(?:I7|I10|I11|I26): /
const ANSWERS: readonly string[] = [
  'opened', 'reply', 'redirect', 'held', 'snapshot-opened', 'snapshot-blocks', 'snapshot-map', 'snapshot-refused',
]

let scene: { frozen: Frozen; volumeId: string } | undefined

/** An empty copy, on a disk. */
function makeScene(): { frozen: Frozen; volumeId: string } {
  const world = new StoreWorld({ seed: 1, segments: 8, segmentBytes: 64 * 1024, pagesMax: 8 })
  const store = openStore(world)
  const spec = world.spec('vol', 1 << 20, { replicas: 3 })
  world.await<unknown>((done) => store.createCopy(spec, `c-${SELF}`, done))
  world.clock.runUntilIdle()
  return { frozen: freeze(world, 'kill'), volumeId: spec.id }
}

/** Answers in a later turn. */
class DrawnConfigs implements ConfigPort {
  readonly #clock: SimClock
  #value: VersionedConfig
  #hint: (value: VersionedConfig) => void = () => undefined
  isAway = false

  constructor(clock: SimClock, config: VolumeConfig) {
    this.#clock = clock
    this.#value = { config, version: '1' }
  }

  get config(): VolumeConfig {
    return this.#value.config
  }

  put(config: VolumeConfig): void {
    this.#value = { config, version: String(Number(this.#value.version) + 1) }
    const value = this.#value
    this.#clock.defer(() => this.#hint(value))
  }

  read(_: string, ended: Parameters<ConfigPort['read']>[1]): void {
    this.#clock.defer(() => ended(this.isAway ? { ok: false } : { ok: true, value: structuredClone(this.#value) }))
  }

  compareAndSwap(...[, version, config, ended]: Parameters<ConfigPort['compareAndSwap']>): void {
    this.#clock.defer(() => {
      if (this.isAway) return ended({ outcome: 'unknown' })
      if (this.#value.version !== version) return ended({ outcome: 'lost' })
      this.put(structuredClone(config))
      ended({ outcome: 'won', version: this.#value.version })
    })
  }

  watch(hint: (value: VersionedConfig) => void): () => void {
    this.#hint = hint
    return () => undefined
  }
}

function configOf(random: Random, volumeId: string): VolumeConfig {
  const inSync = random.pick([['n1'], ['n1', 'n2'], ['n1', 'n2', 'n3'], ['n2', 'n3'], ['n2', 'n1']])
  return {
    volumeId, epoch: 1 + random.int(2), primary: inSync[0]!, inSync,
    members: Object.fromEntries(NODES.slice(0, 3).map((node) =>
      [node, { copyId: `c-${node}`, state: inSync.includes(node) ? 'in-sync' as const : 'catching-up' as const }])),
    minInSync: 1, attach: { generation: 1, mode: random.pick(['open', 'single', 'shared']), holders: {} }, nonce: 'n',
  }
}

/** How many values there are in it, as far as that may be. */
function valuesIn(value: unknown, most: number): number {
  let count = 0
  const waiting: unknown[] = [value]
  while (waiting.length > 0 && count <= most) {
    const one = waiting.pop()
    count++
    if (typeof one !== 'object' || one === null || ArrayBuffer.isView(one)) continue
    if (one instanceof Map) for (const entry of one) waiting.push(...entry)
    else waiting.push(...(one instanceof Set ? one : Object.values(one)))
  }
  return count
}

const pool = new SlabPool()

export const target: Target = {
  parsers: [
    'dataplane/copy/copy-host.ts', 'dataplane/copy/hosted-copy.ts', 'dataplane/copy/worker-links.ts',
    'engine/replication/copy.ts', 'engine/replication/replica.ts', 'engine/replication/peer-reports.ts',
    'engine/replication/primary.ts', 'engine/replication/promotion.ts', 'engine/replication/reconcile.ts',
    'engine/replication/log-choice.ts', 'engine/replication/fill-source.ts', 'engine/replication/fill-target.ts',
    'engine/replication/configuration-change.ts', 'engine/replication/repair.ts', 'engine/replication/sessions.ts',
    'engine/replication/snapshot-reads.ts', 'engine/replication/snapshot-uses.ts', 'engine/replication/grace.ts',
  ],
  seeds: () => [new Uint8Array(16), new Uint8Array(256).fill(7), Uint8Array.from({ length: 512 }, (_, i) => i * 37)],
  bytesMax: 1024,
  execute(input) {
    scene ??= makeScene()
    const { frozen, volumeId } = scene
    const random = new DrawnFrom(input)
    const world = thaw(frozen, { seed: 1 })
    const loop = new TurnLoop(world.clock)
    let nonces = 0
    const configs = new DrawnConfigs(world.clock, configOf(random, volumeId))
    const places = new CopyPlaces()
    const host = new CopyHost({
      self: { node: SELF, worker: 0, instance: 'e0'.repeat(16) }, loop, timer: new WakeTimer(loop),
      store: openStore(world), pool, configs, places, limits: LIMITS, timing: DEFAULT_TIMING,
      log: { event: () => undefined }, evidenceDir: '/nonexistent', send: () => undefined,
      beaconsSent: () => undefined, tellFrontend: () => undefined, nonce: () => String(nonces++),
    })
    host.broken = (_, error) => {
      if (!(error instanceof Error && STOPS.test(error.message))) throw error
    }
    host.recover()
    world.clock.advance(1)
    const copy = host.copy(volumeId)
    assert(copy !== undefined, 'the disk has it')
    const { state } = copy
    const steps = random.int(FLOOD_EVERY) === 0 ? FLOOD_STEPS : random.between(1, STEPS_MAX)
    for (let i = steps; i > 0; i--) {
      const what = random.int(16)
      if (what === 0) world.clock.advance(random.pick([1, 30, 120, 1000, 4000]))
      else if (what === 1) world.clock.runUntilIdle(TURNS_MAX)
      else if (what === 2) {
        const config = random.int(4) === 0 ? configOf(random, volumeId) : configs.config
        configs.isAway = random.int(4) === 0
        configs.put({ ...config, epoch: configs.config.epoch + random.int(2) })
      } else say(random, host, new MessageDraws(random, { state, descriptor: copy.store?.descriptor(), nodes: NODES }))
    }
    world.clock.advance(ENDING_MS)
    world.clock.runUntilIdle(TURNS_MAX)
    assert(valuesIn(state, VALUES_MAX) <= VALUES_MAX, 'what a copy remembers is bounded')
  },
}

function say(random: Random, host: CopyHost, draws: MessageDraws): void {
  const wired = overTheWire(draws.message(), pool)
  if (wired === undefined) return
  const { message, slabs } = wired
  const family = familyOf(FRAME_TYPE[message.type])
  const from = {
    node: random.pick(NODES.slice(1)), instance: random.pick(INSTANCES), worker: random.int(8) === 0 ? 1 : 0,
    role: 'worker' as const, address: 'a',
  }
  const [copy] = [...host.copies()]
  const delivery = new Delivery({
    from, family, volumeId: copy?.volumeId ?? '', message, pool, slabs, onDone: () => undefined,
  })
  const { volumeId } = delivery
  const isFor = family === 'link'
    || host.mayReceive(from, { family, type: message.type, volumeId, epoch: epochOf(message) }) === undefined
  if (isFor && !ANSWERS.includes(message.type)) host.deliver(delivery)
  else delivery.release()
}
