/**
 * What one seed is like: how many copies, how large, how busy, which timeouts, which faults and how often. Drawn wide
 * and uneven, so that most seeds are unlike each other: a fault that only shows when another one is absent is found.
 */
import type { AttachMode } from '../../../engine/replication/configuration.ts'
import { Random } from '../random.ts'
import type { Sign } from './aims.ts'
import type { ClusterStoreOptions } from './cluster-store.ts'
import { setClones } from './clone-focus.ts'
import { focusedCloser } from './closer-focus.ts'
import { setDurability } from './durability-focus.ts'
import { focused } from './focus.ts'
import { setHost, setHostFaults } from './host-focus.ts'
import type { NetworkOptions } from './network.ts'
import { setPlot } from './plot-focus.ts'
import { setRare } from './rare-focus.ts'
import { setScene } from './scene-focus.ts'
import { setScrubs } from './scrub-focus.ts'
import { setStale } from './stale-focus.ts'
import { setShrinks } from './shrink-focus.ts'
import { setSnapshotReaders } from './snapshot-users.ts'
import { setVolumes } from './volume-focus.ts'

export const FAULTS = [
  'crash',
  'power-loss',
  'power-loss-of-all',
  'pause',
  'cut-way',
  'partition',
  'lonely-primary',
  'bad-network',
  'store-outage',
  'cut-store',
  'slow-disk',
  'disk-failure',
  'wall-jump',
  'client-restart',
  'client-cut',
  'slow-way',
  'relapse',
  'frontend-ghost',
  'silence',
] as const

/** Of disks, with the engine's own store; in some seeds. */
export const DISK_FAULTS = [
  'write-error',
  'sync-error',
  'read-errors',
  'block-rot',
  'disk-rot',
  'misdirected-write',
  'pool-full',
  'disk-gone',
] as const

/** Only where a seed looks closer (closer-focus.ts). */
export const CLOSER_FAULTS = ['stuck-way', 'long-silence', 'blink'] as const

/** Only where a seed sets a scene (scene-focus.ts). */
export const SCENE_FAULTS = ['late-end', 'late-release', 'forgotten-tail', 'lost-answers', 'late-spare'] as const
export type SceneFault = (typeof SCENE_FAULTS)[number]

/** Only where a seed has a plot (plot-focus.ts). */
export const PLOT_FAULTS = [
  'left-behind',
  'touched',
  'lone-witness',
  'lost-tail',
  'lost-epoch',
  'lost-fence',
  'full-fill',
] as const
export type PlotFault = (typeof PLOT_FAULTS)[number]

/** Only where a seed is about what is told too late (stale-focus.ts). */
export const STALE_FAULTS = ['late-fill', 'outsider', 'late-loss'] as const
export type StaleFault = (typeof STALE_FAULTS)[number]

/** Where a seed is about the hosts of a volume, and in some of those above 10,000 (host-focus.ts). */
export const HOST_FAULTS = ['socket-lost', 'kill-of-all'] as const
export type HostFault = (typeof HOST_FAULTS)[number]

export type FaultKind =
  | (typeof FAULTS)[number]
  | (typeof DISK_FAULTS)[number]
  | (typeof CLOSER_FAULTS)[number]
  | SceneFault
  | PlotFault
  | StaleFault
  | HostFault

export const ACTIONS = [
  'snapshot',
  'snapshot-delete',
  'rollback',
  'resize',
  'hand-over',
  'evict',
  'add-copy',
  'replace-disk',
  'move-attach',
  'force-promote',
] as const

/** Only where a seed has volumes side by side (volume-focus.ts). */
export const VOLUME_ACTIONS = ['renew-copy', 'delete'] as const

/** Only where a seed has volumes that become smaller (shrink-focus.ts). */
export const SIZE_ACTIONS = ['shrink'] as const

/** Only where a seed has a volume whose durability changes (durability-focus.ts). */
export const DURABILITY_ACTIONS = ['set-durability'] as const

/** Only where a seed has clones (clone-focus.ts). */
export const CLONE_ACTIONS = ['clone', 'hydrate'] as const
export type ActionKind =
  | (typeof ACTIONS)[number]
  | (typeof VOLUME_ACTIONS)[number]
  | (typeof SIZE_ACTIONS)[number]
  | (typeof DURABILITY_ACTIONS)[number]
  | (typeof CLONE_ACTIONS)[number]

export interface Swarm {
  seed: number
  /** What it looks closely at; `wide`: at nothing, `busy`: at nothing, with many requests. */
  focus: string
  copies: number
  spares: number
  minInSync: number
  clients: number
  /** Of a client, to its frontend. */
  sockets: number
  /** So long a request is held before it fails; 0: for ever. */
  ioTimeoutMs: number
  attachMode: AttachMode
  slices: number
  /** Of a node, with the engine's own store. */
  disks: number
  /** Of a disk. */
  segments: number
  /** On the same nodes, with the engine's own store; each has a swarm of its own. */
  volumes: number
  /** Made of them while all goes on, at the most; each has a swarm of its own, too. */
  clones: number
  /** Copies are erased and made anew on the same disks, as the control plane orders. */
  isErasing: boolean
  /** The volume is; Infinity: it stays. */
  deletedAtMs: number
  /** Blocks in use in each slice: few, so that operations meet. */
  blocksPerSlice: number
  /** Of a slice: those in use begin here, but for the first of several, of which they are the last ones. */
  firstBlock: number
  mode: 'durable' | 'writeback'
  readCheck: 'lease' | 'confirm'
  beaconMs: number
  /** A beacon that comes shortly before a node's own has them leave with it. */
  beatsTogether: boolean
  leaseMs: number
  graceMs: number
  evictAfterMs: number
  retryMs: number
  candidateStepMs: number
  windowBytesMax: number
  windowRecordsMax: number
  fillBytesMax: number
  marksMost: number
  /** How far each node's clock is off, by node index. */
  clockRates: number[]
  network: NetworkOptions
  badNetwork: NetworkOptions
  store: ClusterStoreOptions
  disk: { writeMs: [number, number]; syncMs: [number, number]; readMs: [number, number]; readFailRate: number }
  supervisorReports: boolean
  /** How often a supervisor says again, much later, that a process ended. */
  lateReportRate: number
  /** Disks that failed stay so when everything else is well again, if the set can do without them. */
  keepsFailed: boolean
  operations: number
  inFlightMax: number
  thinkMs: number
  blocksMax: number
  weights: { read: number; write: number; trim: number; zero: number; flush: number; narrow: number }
  fuaRate: number
  /** How often a request lies beyond the end of the volume as it was created. */
  beyondRate: number
  resendMs: number
  partBlocksMax: number
  /** Faults stop here. */
  faultsUntilMs: number
  faultEveryMs: number
  /** Half of what a fault lasts on average, one of these. */
  durationsMs: number[]
  /** How many of the faults and actions wait for a sign, and for which above all. */
  aimedShare: number
  aimsAt: Sign[]
  faults: FaultKind[]
  actionEveryMs: number
  actions: ActionKind[]
  /** Between one scrub of some copy and the next, on average; Infinity: none before the end. */
  scrubEveryMs: number
  /** When all is well again some blocks are damaged on every copy (last-loss.ts). */
  losesAtEnd: boolean
  /** Of snapshots, beside the clients. */
  readers: number
}

/**
 * Every other seed looks at one mechanism (focus.ts), one of eight at rare meetings of several (closer-focus.ts); half
 * of the others are busy. One of twelve sets the scene for a rare meeting instead (scene-focus.ts), one of twelve has a
 * plot (plot-focus.ts), one of twenty is about what is told too late (stale-focus.ts), one of the twenty left about the
 * hosts (host-focus.ts), and one of five of those that are left looks at what is rare even there (rare-focus.ts).
 */
export function drawSwarm(seed: number, random: Random): Swarm {
  const wide = drawWide(seed, random)
  const focus = random.fork('focus')
  // Drawn apart: what the other seeds are like does not change.
  const closer = new Random(`closer focus ${seed}`)
  const isCloser = closer.chance(0.125)
  const swarm = isCloser
    ? focusedCloser(wide, closer)
    : focus.chance(0.5)
      ? focused(wide, focus)
      : new Random(`busy ${seed}`).chance(0.5)
        ? busy(wide)
        : wide
  const disks = new Random(`disks ${seed}`).pick([1, 1, 2, 3])
  const scene = setStale(wide) ?? setPlot(wide) ?? setScene(wide) ?? setHost(wide) ?? setRare(wide) ?? swarm
  const faults = scene.isErasing ? scene.faults : [...scene.faults, ...drawDiskFaults(seed)]
  const hosted = setHostFaults({ ...scene, disks: Math.max(scene.disks, disks), faults })
  return setDurability(setShrinks(setScrubs(setClones(setVolumes(setSnapshotReaders(hosted))))))
}

/** Many requests in the same time: they share batches, fill windows, and wait for each other. */
function busy(swarm: Swarm): Swarm {
  const { operations, thinkMs } = swarm
  return { ...swarm, focus: 'busy', operations: operations * 8, thinkMs: thinkMs / 8 }
}

/** Drawn apart: what seeds without any are like does not change. */
function drawDiskFaults(seed: number): FaultKind[] {
  const random = new Random(`disk faults ${seed}`)
  return random.chance(0.4) ? DISK_FAULTS.filter(() => random.chance(0.5)) : []
}

function drawWide(seed: number, random: Random): Swarm {
  const copies = random.pick([1, 2, 2, 3, 3, 3, 3, 4, 5, 6])
  const delayMs: [number, number] = random.pick([
    [0.05, 0.2],
    [0.1, 2],
    [1, 10],
    [0.1, 30],
  ])
  const syncMs: [number, number] = random.pick([
    [0.05, 0.2],
    [0.5, 8],
  ])
  const storeDelayMs: [number, number] = random.pick([
    [0.1, 1],
    [1, 10],
    [1, 60],
  ])
  // Shorter than this no answer can be in time, and nothing would ever be served.
  const leastMs = 4 * delayMs[1] + 4 * syncMs[1]
  const beaconMs = random.pick([5, 20, 100, 500])
  // A beacon is acknowledged by the next one of the other side, and the next of ours may just have gone.
  const leaseMs = Math.max(leastMs + 2.5 * beaconMs, beaconMs * random.pick([2, 4, 8]))
  const graceMs = leaseMs * (1 + 2 * 0.01) + beaconMs / 4 + random.pick([1, 1, leaseMs])
  const attachMode = random.pick(['single', 'open'] as const)
  const some = <T>(all: readonly T[]): T[] => all.filter(() => random.chance(0.5))
  const operations = random.pick([40, 100, 200, 400])
  const quiet = random.chance(0.05)
  const faultsUntilMs = graceMs * random.pick([10, 20, 40]) + operations * 2
  const inFlightMax = random.pick([1, 2, 8, 16])
  const clients = random.between(1, 4)
  // So that requests meet faults to the end, and not only the first ones.
  const spreadMs = (2 * faultsUntilMs * inFlightMax * (attachMode === 'open' ? clients : 1)) / operations
  const network: NetworkOptions = {
    delayMs,
    lossRate: random.pick([0, 0, 0.001, 0.01]),
    duplicateRate: random.pick([0, 0, 0.01, 0.1]),
    lateRate: random.pick([0, 0.01, 0.1]),
    inOrder: random.chance(0.5),
  }
  return {
    seed,
    focus: 'wide',
    copies,
    spares: random.pick([0, 0, 1, 2]),
    minInSync: random.chance(0.1) ? copies : random.between(1, Math.max(1, Math.min(2, copies - 1))),
    clients,
    sockets: 1,
    ioTimeoutMs: 0,
    attachMode: attachMode === 'single' ? holdersOf(seed) : attachMode,
    slices: random.between(1, 3),
    disks: 1,
    segments: 96,
    volumes: 1,
    clones: 0,
    isErasing: false,
    deletedAtMs: Infinity,
    blocksPerSlice: random.pick([1, 2, 4, 16, 64]),
    firstBlock: 0,
    mode: random.pick(['durable', 'durable', 'writeback'] as const),
    readCheck: random.pick(['lease', 'lease', 'confirm'] as const),
    beaconMs,
    beatsTogether: new Random(`beats ${seed}`).chance(0.75),
    leaseMs,
    graceMs,
    evictAfterMs: Math.max(2 * leastMs, random.pick([beaconMs, leaseMs, graceMs * 2])),
    retryMs: Math.max(leastMs, random.pick([5, 50, leaseMs / 2])),
    candidateStepMs: random.pick([1, 20, leaseMs / 4]),
    windowBytesMax: random.pick([16_384, 65_536, 1_048_576]),
    windowRecordsMax: random.pick([4, 16, 256, 4096]),
    fillBytesMax: random.pick([4096, 16_384, 131_072]),
    marksMost: 64,
    clockRates: Array.from({ length: 12 }, () => 1 + (random.float() - 0.5) * random.pick([0, 0.0198])),
    network,
    badNetwork: {
      delayMs: [delayMs[0], delayMs[1] * random.pick([2, 10])],
      lossRate: random.pick([0.02, 0.1, 0.3]),
      duplicateRate: random.pick([0, 0.1, 0.3]),
      lateRate: random.pick([0, 0.1, 0.3]),
      inOrder: random.chance(0.3),
    },
    store: {
      delayMs: storeDelayMs,
      timeoutMs: storeDelayMs[1] * 2 + random.pick([5, 100, 300]),
      requestLossRate: random.pick([0, 0.02, 0.2]),
      answerLossRate: random.pick([0, 0.02, 0.2]),
      lateRate: random.pick([0, 0.05, 0.2]),
      hintLossRate: random.pick([0, 0.1, 0.9]),
      hintDelayMs: random.pick([
        [0.1, 2],
        [1, 200],
      ] as Array<[number, number]>),
    },
    disk: {
      writeMs: random.pick([
        [0.01, 0.05],
        [0.1, 3],
      ] as Array<[number, number]>),
      syncMs,
      readMs: [0.02, random.pick([0.1, 5])],
      readFailRate: random.pick([0, 0, 0.002]),
    },
    supervisorReports: random.chance(0.6),
    lateReportRate: random.pick([0, 0.5]),
    keepsFailed: random.chance(0.5),
    operations,
    inFlightMax,
    thinkMs: random.pick([0, 5, spreadMs, spreadMs]),
    blocksMax: random.pick([1, 2, 6]),
    weights: {
      read: random.pick([1, 4, 8]),
      write: random.pick([2, 6]),
      trim: random.pick([0, 1, 3]),
      zero: random.pick([0, 1]),
      flush: random.pick([0, 0.2, 1]),
      narrow: random.pick([0, 0, 1, 3]),
    },
    fuaRate: random.pick([0, 0.1]),
    beyondRate: random.pick([0, 0, 0.05]),
    resendMs: random.pick([leaseMs, graceMs, graceMs * 3]),
    partBlocksMax: random.pick([1, 2, 256]),
    faultsUntilMs,
    faultEveryMs: quiet ? faultsUntilMs * 2 : Math.max(1, faultsUntilMs / random.pick([4, 10, 20])),
    faults: some(FAULTS),
    durationsMs: [beaconMs, leaseMs, graceMs, graceMs * 3],
    aimedShare: random.pick([0, 0.3, 0.8]),
    aimsAt: [],
    actionEveryMs: faultsUntilMs / random.pick([1, 4, 12]),
    actions: some(ACTIONS).filter((kind) => kind !== 'force-promote' || random.chance(0.2)),
    scrubEveryMs: Infinity,
    losesAtEnd: false,
    readers: 0,
  }
}

/** Drawn apart: seeds whose volume has one holder are what they were. */
function holdersOf(seed: number): AttachMode {
  return new Random(`holders ${seed}`).pick(['single', 'single', 'single', 'single', 'shared', 'shared', 'read-only'])
}
