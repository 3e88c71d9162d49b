/**
 * Suite `hydration`: clones of a volume with three copies, on three nodes as processes, get blocks of their own, round
 * by round: one that nobody uses, and one under a client. Measured is what the client's writes take meanwhile beside
 * what they took just before, and how fast each is done, on all three copies at once.
 */
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { prefill } from './fio.ts'
import { spread } from './ratio.ts'
import { pause } from './scratch.ts'
import { quantile, SteadyWriter } from './steady-writer.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const NAME = 'data'
const SIZE_BYTES = 512 * MIB
const QUICK_BYTES = 128 * MIB
const DEPTH = 4
const CALM_SECONDS = 10
const LOOK_MS = 20
const LATENCY_MOST = 3
/** What engine/volume/hydration-pace.ts promises, for a disk that is fast enough. */
const LEAST_MIB_A_SECOND = 4

interface Round {
  quietSeconds: number
  busySeconds: number
  calmMs: number[]
  busyMs: number[]
}

export async function measureHydration({ scratch, print, quick, rounds }: SuiteContext): Promise<SuiteOutcome> {
  const sizeBytes = quick ? QUICK_BYTES : SIZE_BYTES
  const diskBytes = 6 * sizeBytes
  scratch.needRoom(3 * diskBytes)
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const cluster = await ClusterOfDaemons.make(t, { dir: scratch.dir, diskBytes })
  try {
    await cluster.start()
    for (const { pid } of cluster.nodes) scratch.watchOver(pid)
    const { paths } = cluster.nodes[0]!
    const api = connectControlApi({ socketPath: paths.api, source: 'the benchmark' })
    ends.push(() => api.close())
    await api.createVolume({ name: NAME, sizeBytes, parameters: { replicas: '2' } })
    await healthy(api, NAME)
    print(`filling ${sizeBytes / MIB} MiB`)
    await prefill(scratch, { uri: `nbd+unix:///${NAME}?socket=${paths.nbd}` }, sizeBytes)
    await api.createSnapshot({ volume: NAME, name: 'base', labels: {}, id: '' })
    const all: Round[] = []
    for (let round = 1; round <= rounds; round++) {
      const one = await runRound(api, round, sizeBytes, paths.nbd, quick)
      all.push(one)
      print(`round ${round}: ${words(one, sizeBytes)}`)
    }
    return outcomeOf(all, sizeBytes)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

async function healthy(api: ControlClient, name: string): Promise<void> {
  while ((await api.getVolume({ name })).health !== 'healthy') await pause(LOOK_MS)
}

async function makeClone(api: ControlClient, name: string): Promise<void> {
  await api.createVolume({ name, sizeBytes: 0, parameters: { 'clone-of': `${NAME}@base`, replicas: '2' } })
  await healthy(api, name)
}

/** @returns when it was asked for, and when no copy shared anything any more */
async function hydrate(api: ControlClient, name: string): Promise<{ askedMs: number; doneMs: number }> {
  const askedMs = performance.now()
  for (;;) {
    const { copies } = await api.hydrateVolume({ name })
    if (copies.every(({ sharedSlices, why }) => sharedSlices === 0 && why === '')) break
    await pause(LOOK_MS)
  }
  return { askedMs, doneMs: performance.now() }
}

async function runRound(
  api: ControlClient, round: number, sizeBytes: number, socketPath: string, quick: boolean,
): Promise<Round> {
  const purge = (name: string) => api.deleteVolume({ name, force: true, purge: true })
  const [quietName, busyName] = [`quiet-${round}`, `busy-${round}`]
  await makeClone(api, quietName)
  const quiet = await hydrate(api, quietName)
  await purge(quietName)
  await makeClone(api, busyName)
  const writer = await SteadyWriter.start({ socketPath, volume: busyName, sizeBytes, depth: DEPTH })
  await writer.firstAfter(performance.now())
  const beganMs = performance.now()
  await pause((quick ? 2 : CALM_SECONDS) * 1000)
  const calmMs = writer.latenciesMs(beganMs, performance.now())
  const busy = await hydrate(api, busyName)
  await writer.stop()
  const busyMs = writer.latenciesMs(busy.askedMs, busy.doneMs)
  await purge(busyName)
  const seconds = ({ askedMs, doneMs }: typeof busy): number => (doneMs - askedMs) / 1000
  return { quietSeconds: seconds(quiet), busySeconds: seconds(busy), calmMs, busyMs }
}

const slowdownOf = ({ calmMs, busyMs }: Round): number => quantile(busyMs, 0.99) / quantile(calmMs, 0.99)
const rateOf = (seconds: number, sizeBytes: number): number => sizeBytes / MIB / seconds

function words({ quietSeconds, busySeconds, calmMs, busyMs }: Round, sizeBytes: number): string {
  const rate = (seconds: number): string => `${Math.round(rateOf(seconds, sizeBytes))} MiB/s`
  return [
    `hydration ${rate(quietSeconds)}, with a client ${rate(busySeconds)}`,
    `writes p50 ${quantile(calmMs, 0.5).toFixed(1)} and p99 ${quantile(calmMs, 0.99).toFixed(1)} ms ` +
      `(${calmMs.length}) before, ${quantile(busyMs, 0.5).toFixed(1)} and ${quantile(busyMs, 0.99).toFixed(1)} ms ` +
      `(${busyMs.length}) meanwhile`,
  ].join('; ')
}

function outcomeOf(all: readonly Round[], sizeBytes: number): SuiteOutcome {
  const slowdown = spread(all.map(slowdownOf))
  const rate = spread(all.map(({ busySeconds }) => rateOf(busySeconds, sizeBytes)))
  const shown = ({ median, least, most }: typeof rate, unit: (value: number) => string): string =>
    `${unit(median)} (${unit(least)} to ${unit(most)}, ${all.length} rounds)`
  const lines = all.map((round, i) => `- round ${i + 1}: ${words(round, sizeBytes)}`)
  const text = `Clones of a volume of ${sizeBytes / MIB} MiB, written in full, three nodes and the client on one ` +
    `machine; the client has ${DEPTH} writes of 4 KiB in flight at random places of the clone. No write failed.`
  return {
    goals: [
      {
        name: "p99 of a client's writes while its clone is hydrated : before", wanted: `<= ${LATENCY_MOST}x`,
        measured: shown(slowdown, (ratio) => `${ratio.toFixed(1)}x`), met: slowdown.median <= LATENCY_MOST,
      },
      {
        name: 'hydration of each copy meanwhile', wanted: `>= ${LEAST_MIB_A_SECOND} MiB/s`,
        measured: shown(rate, (value) => `${Math.round(value)} MiB/s`), met: rate.median >= LEAST_MIB_A_SECOND,
      },
    ],
    text: [text, '', ...lines].join('\n'),
  }
}
