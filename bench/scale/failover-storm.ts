/**
 * The node dies that leads a thousand volumes. Each copy stands for its volume as `engine/replication/candidate.ts`
 * says: the first of the set when the grace is over, the next a moment later unless it has heard of a new primary; each
 * reads the configuration and replaces it. Whoever uses the volume reads it too.
 */
import { configKey, decodeConfig, encodeConfig } from '../../cluster/store/volume-configs.ts'
import { withPrimary } from '../../engine/replication/configuration.ts'
import type { StormFigures } from './cell-figures.ts'
import { Meter } from './paper-cluster.ts'
import type { PaperCluster } from './paper-cluster.ts'
import { paperId } from './paper-records.ts'
import type { PaperStore } from './paper-store.ts'
import { cpuMs } from './thread-time.ts'

/** `dataplane/copy/timing.ts`: silence until others may take over, and between one candidate and the next. */
const GRACE_MS = 2_200
const STEP_MS = 100
const STORM_MS = 5_000
/** The node is down for the controller by then. */
const DOWN_MS = 15_000
const WAITING_SECONDS = 5
/** Elsewhere, in the second behind that. */
const CHANGES = 50

export async function failoverStorm(cluster: PaperCluster, victim: string): Promise<StormFigures> {
  const { clock, store } = cluster
  const later = (ms: number): Promise<void> => clock.runUntil(clock.nowMs() + ms)
  const copies = [...cluster.nodes.get(victim)!.copies.values()]
  const led = copies.filter(({ role }) => role === 'primary')
  cluster.kill(victim)
  await later(GRACE_MS)
  take(cluster)
  store.takeCounts()
  const candidates = new Meter()
  const endedAtMs = new Map<string, number>()
  const beganMs = clock.nowMs()
  const longest = watchLongest(cluster)
  for (const { volumeId } of led) {
    const known = decodeConfig(volumeId, store.peek(configKey(volumeId))!.value)!
    const others = known.inSync.filter((node) => node !== victim).sort()
    void store.get(configKey(volumeId))
    for (const [rank, node] of others.entries()) {
      clock.after(rank * STEP_MS, () => void stand(volumeId, node))
    }
  }
  async function stand(volumeId: string, node: string): Promise<void> {
    if (endedAtMs.has(volumeId)) return
    const read = await store.get(configKey(volumeId))
    const to = candidates.of(() => {
      const config = decodeConfig(volumeId, read.value!.value)!
      return config.primary === victim ? withPrimary(config, node, `${node} ${volumeId}`) : undefined
    })
    if (to === undefined) return
    const value = candidates.of(() => encodeConfig(to))
    const { outcome } = await store.compareAndSwap({ key: configKey(volumeId), version: read.value!.version, value })
    if (outcome === 'won') endedAtMs.set(volumeId, clock.nowMs() - beganMs)
  }
  await later(STORM_MS)
  if (endedAtMs.size < led.length) throw new Error(`${endedAtMs.size} of ${led.length} volumes have a new primary`)
  const figures = {
    led: led.length, copies: copies.length - led.length,
    firstMs: Math.min(...endedAtMs.values()), lastMs: Math.max(...endedAtMs.values()),
    store: store.takeCounts(), elected: take(cluster), candidatesMs: candidates.ms, longestPassMs: longest(),
  }
  await later(DOWN_MS - STORM_MS)
  take(cluster)
  await later(WAITING_SECONDS * 1000)
  const { reportMs, passMs, passes } = take(cluster)
  const waiting = {
    reportMs: reportMs / WAITING_SECONDS, passMs: passMs / WAITING_SECONDS, passes: passes / WAITING_SECONDS,
  }
  for (let i = 0; i < CHANGES; i++) {
    touch(store, paperId(cluster.volumes - 1 - (i % cluster.volumes)))
    await later(1000 / CHANGES)
  }
  return { ...figures, waiting, changing: take(cluster) }
}

/** Somebody else attaches it. */
export function touch(store: PaperStore, volumeId: string): void {
  const { version, value } = store.peek(configKey(volumeId))!
  const config = decodeConfig(volumeId, value)!
  const attach = { ...config.attach, generation: config.attach.generation + 1, holders: {} }
  void store.compareAndSwap({ key: configKey(volumeId), version, value: encodeConfig({ ...config, attach }) })
}

function take(cluster: PaperCluster): { reportMs: number; passMs: number; passes: number } {
  const { ms: passMs, count: passes } = cluster.passes.take()
  return { reportMs: cluster.reports.take().ms, passMs, passes }
}

/** @returns the longest pass since */
function watchLongest({ passes }: PaperCluster): () => number {
  let longestMs = 0
  const of = passes.of.bind(passes)
  passes.of = (run) => {
    const beganMs = cpuMs()
    try {
      return of(run)
    } finally {
      longestMs = Math.max(longestMs, cpuMs() - beganMs)
    }
  }
  return () => longestMs
}
