/**
 * Suite `scrub`: a volume of one copy on one node, written whole. Measured is how fast a deep scrub reads and verifies
 * it while nobody else asks anything of the node, and what a client's writes and reads take during one, beside what
 * they took just before.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { MIB } from '../../engine/units.ts'
import { prefill } from './fio.ts'
import { makeVolume, withOneNode } from './one-node.ts'
import { spread } from './ratio.ts'
import { pause } from './scratch.ts'
import { quantile, SteadyWriter } from './steady-writer.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const NAME = 'data'
const SIZE_BYTES = 2048 * MIB
const QUICK_BYTES = 128 * MIB
const DEPTH = 4
const LOOK_MS = 20
/** Long enough for some checkpoints. */
const HALF_SECONDS = 15
const IDLE_LEAST_MB = 500
const LATENCY_MOST = 1.5

interface Round {
  idleMbPerSecond: number
  calmMs: number[]
  busyMs: number[]
}

export async function measureScrub({ scratch, print, quick, rounds }: SuiteContext): Promise<SuiteOutcome> {
  const sizeBytes = quick ? QUICK_BYTES : SIZE_BYTES
  const diskBytes = 2 * sizeBytes + 256 * MIB
  return withOneNode(scratch, { diskBytes }, async ({ node, api }) => {
    await makeVolume(api, NAME, sizeBytes)
    print(`filling ${sizeBytes / MIB} MiB`)
    await prefill(scratch, { uri: `nbd+unix:///${NAME}?socket=${node.paths.nbd}` }, sizeBytes)
    const all: Round[] = []
    for (let round = 1; round <= (quick ? 1 : rounds); round++) {
      const one = await runRound(api, node.paths.nbd, sizeBytes, quick)
      all.push(one)
      print(`round ${round}: ${words(one)}`)
    }
    return outcomeOf(all, sizeBytes)
  })
}

async function runRound(api: ControlClient, socketPath: string, sizeBytes: number, quick: boolean): Promise<Round> {
  const beganMs = performance.now()
  await startScrub(api)
  while (await isScrubbing(api)) await pause(LOOK_MS)
  const idleMbPerSecond = sizeBytes / 1e3 / (performance.now() - beganMs)
  const writer = await SteadyWriter.start({ socketPath, volume: NAME, sizeBytes, depth: DEPTH })
  await writer.firstAfter(performance.now())
  const halfMs = (quick ? 2 : HALF_SECONDS) * 1000
  const calmFromMs = performance.now()
  await pause(halfMs)
  const busyFromMs = performance.now()
  await startScrub(api)
  // Beside a client it goes on for longer than this.
  await pause(halfMs)
  if (!quick && !(await isScrubbing(api))) throw new Error('the scrub ended before the client did')
  const endMs = performance.now()
  const [calmMs, busyMs] = [writer.latenciesMs(calmFromMs, busyFromMs), writer.latenciesMs(busyFromMs, endMs)]
  await writer.stop()
  while (await isScrubbing(api)) await pause(LOOK_MS)
  return { idleMbPerSecond, calmMs, busyMs }
}

async function startScrub(api: ControlClient): Promise<void> {
  const { refused } = await api.scrubVolume({ name: NAME, isDeep: true })
  if (refused.length > 0) throw new Error(`the scrub was refused: ${JSON.stringify(refused)}`)
  while (!(await isScrubbing(api))) await pause(LOOK_MS)
}

async function isScrubbing(api: ControlClient): Promise<boolean> {
  const { copies } = await api.getVolume({ name: NAME })
  return copies.some((copy) => copy.isScrubbing)
}

function words({ idleMbPerSecond, calmMs, busyMs }: Round): string {
  const p99 = (list: number[]): string => `${quantile(list, 0.99).toFixed(1)} ms (${list.length})`
  return `${Math.round(idleMbPerSecond)} MB/s alone; writes p99 ${p99(calmMs)} before, ${p99(busyMs)} meanwhile`
}

function outcomeOf(all: readonly Round[], sizeBytes: number): SuiteOutcome {
  const rates = spread(all.map(({ idleMbPerSecond }) => idleMbPerSecond))
  const slower = spread(all.map(({ calmMs, busyMs }) => quantile(busyMs, 0.99) / quantile(calmMs, 0.99)))
  const shown = ({ median, least, most }: typeof rates, digits: number): string =>
    `${median.toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)}, ${all.length} rounds)`
  const about = `A volume of ${sizeBytes / MIB} MiB in one copy, written in full; the client has ${DEPTH} writes of ` +
    '4 KiB in flight at random places. No write failed.'
  return {
    goals: [
      {
        name: 'MB read and verified in a second by a deep scrub while nobody else asks', wanted: `>= ${IDLE_LEAST_MB}`,
        measured: shown(rates, 0), met: rates.median >= IDLE_LEAST_MB,
      },
      {
        name: "p99 of a client's writes during a deep scrub : before", wanted: `<= ${LATENCY_MOST}x`,
        measured: shown(slower, 2), met: slower.median <= LATENCY_MOST,
      },
    ],
    text: [about, '', ...all.map((round, i) => `- round ${i + 1}: ${words(round)}`)].join('\n'),
  }
}
