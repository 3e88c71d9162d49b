/**
 * The control plane at one size, as JSON on stdout: what the elected node and the store have to do when nothing
 * changes, for one change, for one more volume, and when the node dies that leads a thousand volumes.
 *
 *   node --expose-gc bench/scale/control-cell.ts NODES VOLUMES
 */
import { StoreConfigs } from '../../dataplane/copy/store-configs.ts'
import { VolumeOffers } from '../../dataplane/volume-offers.ts'
import type { LocalNode } from '../../cluster/local-node.ts'
import { GIB } from '../../engine/units.ts'
import { failoverStorm, touch } from './failover-storm.ts'
import { PaperClock, settled } from './paper-clock.ts'
import { PaperCluster } from './paper-cluster.ts'
import { paperId } from './paper-records.ts'
import { PaperStore } from './paper-store.ts'
import type { StoreCounts } from './paper-store.ts'
import type { CellFigures } from './cell-figures.ts'
import { cpuMs } from './thread-time.ts'

/** Led by the node that dies. */
const LEADS = 1000
/** For all to be known and found well, and until nobody asks whether he knows all others. */
const BEGIN_MS = 120_000
const SETTLE_MS = 6_000
const IDLE_SECONDS = 4
/** The first one does not count. */
const ACTIVE_SECONDS = 4
const CHANGES = 20
const CREATIONS = 5
/** As a store of three members answers on a quick network, with this many in one group of its log. */
const STORE = { callMs: 2, atOnce: 20 }

const [nodes = 3, volumes = 100] = process.argv.slice(2).map(Number)
const clock = new PaperClock(1_000_000)
const store = new PaperStore(clock, STORE)
const cluster = new PaperCluster({ clock, store, nodes, volumes, leads: Math.min(LEADS, volumes) })

function heapBytes(): number {
  globalThis.gc!()
  return process.memoryUsage().heapUsed
}

/** Everything of it, divided. */
function each(counts: StoreCounts, by: number): StoreCounts {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count / by])) as unknown as StoreCounts
}

function takeElected(): { reportMs: number; passMs: number; passes: number } {
  const { ms: passMs, count: passes } = cluster.passes.take()
  return { reportMs: cluster.reports.take().ms, passMs, passes }
}

const later = (ms: number): Promise<void> => clock.runUntil(clock.nowMs() + ms)

async function run(): Promise<CellFigures> {
  const loaded = store.size
  const fromMs = clock.nowMs()
  await cluster.start()
  while (healthyCount() < volumes && clock.nowMs() - fromMs < BEGIN_MS) await later(500)
  const healthy = healthyCount()
  if (healthy !== volumes) throw new Error(`${healthy} of ${volumes} volumes are healthy`)
  const beginning = { ...takeElected(), waitedMs: clock.nowMs() - fromMs, store: store.takeCounts() }
  await later(SETTLE_MS)
  takeElected()
  store.takeCounts()

  cluster.reportBytes = 0
  cluster.agents.take()
  const beganMs = cpuMs()
  await later(IDLE_SECONDS * 1000)
  const allMs = (cpuMs() - beganMs) / IDLE_SECONDS
  const spent = takeElected()
  const idle = {
    reportMs: spent.reportMs / IDLE_SECONDS, passMs: spent.passMs / IDLE_SECONDS, passes: spent.passes / IDLE_SECONDS,
    allMs, reportBytes: cluster.reportBytes / IDLE_SECONDS, store: each(store.takeCounts(), IDLE_SECONDS),
  }

  const active = await written()
  const change = await changes()
  const creation = await creations()
  const sample = await plainNode()
  const storm = nodes < 4 ? undefined : await failoverStorm(cluster, cluster.names[1]!)
  cluster.stop()
  await later(2_000)
  const withTerm = heapBytes()
  await cluster.controller.close()
  await settled()
  const electedBytes = withTerm - heapBytes()
  return { nodes, volumes, loaded, beginning, idle, active, change, creation, sample, storm, electedBytes }
}

/** A second in which every volume is written. */
async function written(): Promise<CellFigures['active']> {
  for (let second = 0; second < ACTIVE_SECONDS; second++) {
    for (const { copies, local } of cluster.nodes.values()) {
      local.writtenBytes += copies.size * 4096
      for (const [id, copy] of copies) {
        const seq = copy.seq + 100
        copies.set(id, { ...copy, seq, commitSeq: seq, usedBytes: copy.usedBytes + 4096 })
      }
    }
    if (second === 1) {
      takeElected()
      cluster.reportBytes = 0
    }
    await later(1000)
  }
  const { reportMs, passMs, passes } = takeElected()
  const [by, reportBytes] = [ACTIVE_SECONDS - 1, cluster.reportBytes]
  return { reportMs: reportMs / by, passMs: passMs / by, passes: passes / by, reportBytes: reportBytes / by }
}

function healthyCount(): number {
  const views = cluster.controller.term()?.cluster.volumes.values() ?? []
  return [...views].filter(({ verdict }) => verdict?.health === 'healthy').length
}

/** Somebody else attaches a volume, each time another one. */
async function changes(): Promise<CellFigures['change']> {
  takeElected()
  let [passMs, passes] = [0, 0]
  store.takeCounts()
  for (let i = 0; i < Math.min(CHANGES, volumes); i++) {
    touch(store, paperId(volumes - 1 - i))
    await later(50)
    const spent = takeElected()
    passMs += spent.passMs
    passes += spent.passes
  }
  const count = Math.min(CHANGES, volumes)
  return { passMs: passMs / count, passes: passes / count, store: each(store.takeCounts(), count) }
}

async function creations(): Promise<CellFigures['creation']> {
  takeElected()
  store.takeCounts()
  const beganMs = clock.nowMs()
  let [electedMs, waitedMs] = [0, 0]
  for (let i = 0; i < CREATIONS; i++) {
    const fromMs = clock.nowMs()
    let isDone = false
    const made = cluster.control.createVolume({ name: `new-${i}`, sizeBytes: GIB, parameters: {} })
    void made.finally(() => (isDone = true)).catch(() => undefined)
    while (!isDone) await later(1)
    await made
    waitedMs += clock.nowMs() - fromMs
    const { passMs, reportMs } = takeElected()
    electedMs += passMs + reportMs
  }
  const seconds = (clock.nowMs() - beganMs) / 1000
  const counts = each(store.takeCounts(), CREATIONS)
  return { waitedMs: waitedMs / CREATIONS, electedMs: electedMs / CREATIONS, seconds, store: counts }
}

/** What a node that has no part in it keeps of all volumes, and how long it takes to read that. */
async function plainNode(): Promise<CellFigures['sample']> {
  store.takeCounts()
  const before = heapBytes()
  const local = { offer: async () => undefined, hide: async () => undefined, withdraw: async () => undefined }
  const log = { event: () => undefined }
  const readMs = cpuMs()
  const configs = new StoreConfigs({ store, log })
  const offers = new VolumeOffers({
    node: 'stranger', store, configs, local: local as unknown as LocalNode, log, onSeen: () => undefined,
    onGone: () => undefined,
    onBug: (error) => {
      throw error
    },
  })
  let hints = 0
  const unwatch = configs.watch(() => hints++)
  while (hints < volumes) await later(20)
  await settled()
  const spentMs = cpuMs() - readMs
  const bytes = heapBytes() - before
  const counts = store.takeCounts()
  offers.close()
  unwatch()
  return { bytes, cpuMs: spentMs, pages: counts.pages, listedBytes: counts.bytesOut }
}

process.stdout.write(`${JSON.stringify(await run())}\n`)
process.exit()
