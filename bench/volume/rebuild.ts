/**
 * Suite `rebuild`: a volume with two copies gets a third one, on three nodes as processes, and loses it again, round
 * by round. Measured is how fast the new copy is filled, from the configuration that names it to the one that has it
 * in the set, beside a plain copy of as many bytes in the same round; and what a client's writes take meanwhile,
 * beside what they took just before.
 *
 *   copy      read -> TCP -> write, and one fdatasync (plain-copy.ts)
 *   quiet     the rebuild, nobody else uses the cluster
 *   calm      a client writes, four writes in flight
 *   busy      the same client, and a rebuild
 */
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { prefill } from './fio.ts'
import { plainCopySeconds } from './plain-copy.ts'
import { cpuSeconds } from './process-figures.ts'
import { pause } from './scratch.ts'
import { quantile, SteadyWriter } from './steady-writer.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const NAME = 'data'
const SIZE_BYTES = 512 * MIB
const QUICK_BYTES = 128 * MIB
const DEPTH = 4
const CALM_SECONDS = 10
const LOOK_MS = 5
const ERASED_MS = 3000
const RATE_LEAST = 0.5
const LATENCY_MOST = 3

interface Round {
  copySeconds: number
  quietSeconds: number
  /** Of all daemons, for the quiet one. */
  cpuSeconds: number
  busySeconds: number
  calmMs: number[]
  busyMs: number[]
}

class RebuiltVolume {
  readonly #cluster: ClusterOfDaemons
  readonly #api: ControlClient
  readonly #id: string

  constructor(cluster: ClusterOfDaemons, api: ControlClient, id: string) {
    this.#cluster = cluster
    this.#api = api
    this.#id = id
  }

  async primary(): Promise<string> {
    return (await this.#cluster.config(this.#id)).primary
  }

  /** Of all daemons. */
  cpuSeconds(): number {
    return cpuSeconds(this.#cluster.nodes.map(({ pid }) => pid))
  }

  /** A third copy. @returns when it was named, and when it was in the set */
  async grow(): Promise<{ namedMs: number; inSetMs: number }> {
    await this.#api.modifyVolume({ name: NAME, parameters: { replicas: '2' } })
    await this.#members((members) => members === 3)
    const namedMs = performance.now()
    await this.#members((_, inSync) => inSync === 3)
    return { namedMs, inSetMs: performance.now() }
  }

  async shrink(): Promise<void> {
    await this.#api.modifyVolume({ name: NAME, parameters: { replicas: '1' } })
    await this.#members((members, inSync) => members === 2 && inSync === 2)
    // Its node erases it. One that is wished for again before that is named, erased, found to be absent and made anew.
    await pause(ERASED_MS)
  }

  async #members(isSo: (members: number, inSync: number) => boolean): Promise<void> {
    for (;;) {
      const { members, inSync } = await this.#cluster.config(this.#id)
      if (isSo(Object.keys(members).length, inSync.length)) return
      await pause(LOOK_MS)
    }
  }
}

export async function measureRebuild({ scratch, print, quick, rounds }: SuiteContext): Promise<SuiteOutcome> {
  const sizeBytes = quick ? QUICK_BYTES : SIZE_BYTES
  const diskBytes = 3 * sizeBytes
  scratch.needRoom(3 * diskBytes + 2 * sizeBytes)
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const cluster = await ClusterOfDaemons.make(t, { dir: scratch.dir, diskBytes })
  try {
    await cluster.start()
    for (const { pid } of cluster.nodes) scratch.watchOver(pid)
    const api = connectControlApi({ socketPath: cluster.nodes[0]!.paths.api, source: 'the benchmark' })
    ends.push(() => api.close())
    const { id } = await api.createVolume({ name: NAME, sizeBytes, parameters: { replicas: '1' } })
    const volume = new RebuiltVolume(cluster, api, id)
    await volume.shrink()
    const { nbd } = cluster.node(await volume.primary()).paths
    print(`filling ${sizeBytes / MIB} MiB`)
    await prefill(scratch, { uri: `nbd+unix:///${NAME}?socket=${nbd}` }, sizeBytes)
    await prefill(scratch, { file: scratch.path('plain'), sync: 'none' }, sizeBytes)
    // Segments of the third node's log are used once before anything counts.
    await volume.grow()
    await volume.shrink()
    const all: Round[] = []
    for (let round = 1; round <= rounds; round++) {
      const one = await runRound(scratch, volume, sizeBytes, nbd, quick)
      all.push(one)
      print(`round ${round}: ${words(one, sizeBytes)}`)
    }
    return outcomeOf(all, sizeBytes)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

async function runRound(
  scratch: SuiteContext['scratch'],
  volume: RebuiltVolume,
  sizeBytes: number,
  socketPath: string,
  quick: boolean,
): Promise<Round> {
  const copySeconds = await plainCopySeconds(scratch, scratch.path('plain'), scratch.path('copied'))
  scratch.drop('copied')
  const usedBefore = volume.cpuSeconds()
  const quiet = await volume.grow()
  const cpuSeconds = volume.cpuSeconds() - usedBefore
  await volume.shrink()
  const writer = await SteadyWriter.start({ socketPath, volume: NAME, sizeBytes, depth: DEPTH })
  await writer.firstAfter(performance.now())
  const beganMs = performance.now()
  await pause((quick ? 2 : CALM_SECONDS) * 1000)
  const calmMs = writer.latenciesMs(beganMs, performance.now())
  const busy = await volume.grow()
  await writer.stop()
  const busyMs = writer.latenciesMs(busy.namedMs, busy.inSetMs)
  await volume.shrink()
  return {
    copySeconds,
    quietSeconds: (quiet.inSetMs - quiet.namedMs) / 1000,
    cpuSeconds,
    busySeconds: (busy.inSetMs - busy.namedMs) / 1000,
    calmMs,
    busyMs,
  }
}

const shareOf = ({ copySeconds, quietSeconds }: Round): number => copySeconds / quietSeconds
const slowdownOf = ({ calmMs, busyMs }: Round): number => quantile(busyMs, 0.99) / quantile(calmMs, 0.99)

function words(round: Round, sizeBytes: number): string {
  const { copySeconds, quietSeconds, cpuSeconds, busySeconds, calmMs, busyMs } = round
  const rate = (seconds: number): string => `${Math.round(sizeBytes / MIB / seconds)} MiB/s`
  const cpuMs = (cpuSeconds * 1000) / (sizeBytes / MIB)
  return [
    `plain copy ${rate(copySeconds)}`,
    `rebuild ${rate(quietSeconds)} (${cpuMs.toFixed(1)} ms of CPU a MiB), with a client ${rate(busySeconds)}`,
    `writes p99 ${quantile(calmMs, 0.99).toFixed(1)} ms (${calmMs.length}) before, ` +
      `${quantile(busyMs, 0.99).toFixed(1)} ms (${busyMs.length}) meanwhile`,
  ].join('; ')
}

function outcomeOf(all: readonly Round[], sizeBytes: number): SuiteOutcome {
  const sorted = (figure: (round: Round) => number): number[] => all.map(figure).sort((a, b) => a - b)
  const spread = (of: number[], unit: (value: number) => string): string =>
    `${unit(quantile(of, 0.5))} (${unit(of[0]!)} to ${unit(of.at(-1)!)}, ${of.length} rounds)`
  const shares = sorted(shareOf)
  const slowdowns = sorted(slowdownOf)
  const lines = all.map((round, i) => `- round ${i + 1}: ${words(round, sizeBytes)}`)
  const text = `A volume of ${sizeBytes / MIB} MiB, written in full, three nodes and the client on one machine; ` +
    `the client has ${DEPTH} writes of 4 KiB in flight at random places. No write failed.`
  return {
    goals: [
      {
        name: 'rate of a rebuild : plain read -> TCP -> write + fdatasync', wanted: '>= 50 %',
        measured: spread(shares, (share) => `${Math.round(share * 100)} %`), met: quantile(shares, 0.5) >= RATE_LEAST,
      },
      {
        name: "p99 of a client's writes during a rebuild : before", wanted: '<= 3x',
        measured: spread(slowdowns, (ratio) => `${ratio.toFixed(1)}x`), met: quantile(slowdowns, 0.5) <= LATENCY_MOST,
      },
    ],
    text: [text, '', ...lines].join('\n'),
  }
}
