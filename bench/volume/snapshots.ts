/**
 * Suite `snapshots`: one node of a cluster with two volumes of one copy. Between any two snapshots of the first one 100
 * blocks at random places are overwritten, and as many of the other; then both are read and written, in turn. Measured
 * is the time of each creation as a user of the API sees it, what the daemon's memory grew by, and how both volumes
 * compare. Then a pass of the cleaner over such a disk, and over one without snapshots (`cleaner-pass.ts`).
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { NbdConnection, WRITE } from '../../cli/load/nbd-connection.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { caseWords, type FioCase } from './cases.ts'
import { measurePass } from './cleaner-pass.ts'
import { runFio } from './fio.ts'
import type { Goal } from './goal.ts'
import { memoryOf } from './process-figures.ts'
import { makeVolume, withOneNode } from './one-node.ts'
import { ratios, spread } from './ratio.ts'
import { quantile, WRITE_BYTES } from './steady-writer.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SNAPSHOTS = 10_000
const QUICK_SNAPSHOTS = 200
const WRITES_BETWEEN = 100
const IN_FLIGHT = 16
const VOLUME_BYTES = 256 * MIB
/** Of one snapshot: its versions, the writes of the other volume, bodies, and what the cleaner needs. */
const DISK_BYTES_PER_SNAPSHOT = 1.5 * MIB
const CREATE_MOST_MS = 20
const GROWTH_MOST_BYTES = 200 * MIB
const RATIO_LEAST = 0.9
const PASS_MOST = 2
/** With so many snapshots a pass takes seconds, and what one costs does not depend on it. */
const PASS_SNAPSHOTS = 2_000
const QUICK_PASS_SNAPSHOTS = 100

const CASES: readonly FioCase[] = [
  { name: '4k randwrite QD32', rw: 'randwrite', blockBytes: 4096, queueDepth: 32 },
  { name: '4k randread QD32', rw: 'randread', blockBytes: 4096, queueDepth: 32 },
]

interface Written {
  name: string
  connection: NbdConnection
}

export async function measureSnapshots(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, quick } = context
  const count = quick ? QUICK_SNAPSHOTS : SNAPSHOTS
  const diskBytes = 2 * GIB + Math.ceil((count * DISK_BYTES_PER_SNAPSHOT) / MIB) * MIB
  return withOneNode(scratch, { diskBytes }, async ({ node, api }) => {
    const many = await connected(api, node.paths.nbd, 'many')
    const plain = await connected(api, node.paths.nbd, 'plain')
    for (const volume of [many, plain]) await fill(volume)
    const before = memoryOf(node.pid).rssBytes
    const { tookMs, mostBytes } = await takeAll({ api, many, plain, count, pid: node.pid, print })
    for (const { connection } of [many, plain]) await connection.disconnect()
    const compared = await compare(context, node.paths.nbd)
    const goals = goalsOf(count, tookMs, mostBytes - before, compared)
    return { goals: [...goals, await comparePasses(context)], text: textOf(count, tookMs) }
  })
}

async function connected(api: ControlClient, nbd: string, name: string): Promise<Written> {
  await makeVolume(api, name, VOLUME_BYTES)
  const connection = await NbdConnection.open(nbd, name, true)
  if (connection === undefined) throw new Error(`${name} is not served`)
  return { name, connection }
}

/** So that each later write is an overwrite. */
async function fill({ name, connection }: Written): Promise<void> {
  const data = Buffer.alloc(MIB, 1)
  for (let offset = 0; offset < VOLUME_BYTES; offset += MIB) {
    const answer = await connection.ask({ type: WRITE, offset, data })
    if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write to ${name} failed`)
  }
}

async function overwrite({ name, connection }: Written): Promise<void> {
  let left = WRITES_BETWEEN
  const data = Buffer.alloc(WRITE_BYTES, 2)
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const offset = Math.floor((Math.random() * VOLUME_BYTES) / WRITE_BYTES) * WRITE_BYTES
      const answer = await connection.ask({ type: WRITE, offset, data })
      if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write to ${name} failed`)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

/** @returns milliseconds of each creation, in order, and the most memory that the daemon had */
async function takeAll(of: {
  api: ControlClient
  many: Written
  plain: Written
  count: number
  pid: number
  print(line: string): void
}): Promise<{ tookMs: number[]; mostBytes: number }> {
  const { api, many, plain, count, pid, print } = of
  const tookMs: number[] = []
  let mostBytes = 0
  for (let i = 1; i <= count; i++) {
    await overwrite(many)
    await overwrite(plain)
    const beganMs = performance.now()
    await api.createSnapshot({ volume: many.name, name: `s${i}`, labels: {}, id: '' })
    tookMs.push(performance.now() - beganMs)
    mostBytes = Math.max(mostBytes, memoryOf(pid).rssBytes)
    if (i % Math.ceil(count / 10) === 0) print(`${i} snapshots: ${shownMs(tookMs.slice(-Math.ceil(count / 10)))}`)
  }
  return { tookMs, mostBytes }
}

/** IOPS of the volume with snapshots for each of the one without, case by case, round by round. */
async function compare(
  { scratch, print, quick, rounds, seconds }: SuiteContext,
  nbd: string,
): Promise<Array<{ one: FioCase; values: number[] }>> {
  const words = (one: FioCase): string[] => caseWords(one, VOLUME_BYTES, quick ? 2 : seconds)
  const iopsOf = async (volume: string, one: FioCase): Promise<number> =>
    (await runFio(scratch, { uri: `nbd+unix:///${volume}?socket=${nbd}` }, words(one))).iops
  const found = CASES.map((one) => ({ one, many: [] as number[], plain: [] as number[] }))
  for (let round = 0; round < (quick ? 1 : rounds); round++)
    for (const { one, many, plain } of found) {
      // Another one first each time.
      const order = [many, plain].map((into, i) => ({ into, volume: i === 0 ? 'many' : 'plain' }))
      for (const { into, volume } of round % 2 === 0 ? order : order.reverse()) into.push(await iopsOf(volume, one))
      print(`${one.name}: ${many.at(-1)!.toFixed(0)} with snapshots, ${plain.at(-1)!.toFixed(0)} without`)
    }
  return found.map(({ one, many, plain }) => ({ one, values: ratios(many, plain) }))
}

async function comparePasses({ scratch, print, quick, rounds }: SuiteContext): Promise<Goal> {
  const count = quick ? QUICK_PASS_SNAPSHOTS : PASS_SNAPSHOTS
  const took: Record<'many' | 'plain', number[]> = { many: [], plain: [] }
  for (let round = 0; round < (quick ? 1 : rounds); round++) {
    for (const name of round % 2 === 0 ? (['many', 'plain'] as const) : (['plain', 'many'] as const)) {
      const options = { rounds: count, writes: WRITES_BETWEEN, withSnapshots: name === 'many' }
      took[name].push((await measurePass({ dir: scratch.path(`pass-${name}`), ...options })).elapsed)
      scratch.drop(`pass-${name}`)
    }
    const [many, plain] = [took.many.at(-1)!, took.plain.at(-1)!]
    print(`cleaner: ${many.toFixed(1)} us a live block with snapshots, ${plain.toFixed(1)} us without`)
  }
  const { median, least, most } = spread(ratios(took.many, took.plain))
  return {
    name: `a pass of the cleaner, for each live block, with ${count} snapshots : without`,
    wanted: `<= ${PASS_MOST}x`,
    measured: `${median.toFixed(2)}x (${least.toFixed(2)} to ${most.toFixed(2)})`,
    met: median <= PASS_MOST,
  }
}

function goalsOf(
  count: number,
  tookMs: readonly number[],
  growthBytes: number,
  compared: ReadonlyArray<{ one: FioCase; values: number[] }>,
): Goal[] {
  const sorted = tookMs.toSorted((a, b) => a - b)
  const p99 = quantile(sorted, 0.99)
  return [
    {
      name: `snapshot of a volume, ${count} of them, through the API`,
      wanted: `p99 <= ${CREATE_MOST_MS} ms`,
      measured: shownMs(tookMs),
      met: p99 <= CREATE_MOST_MS,
    },
    ...compared.map(({ one, values }): Goal => {
      const { median, least, most } = spread(values)
      return {
        name: `${one.name}, with ${count} snapshots : without`,
        wanted: `>= ${RATIO_LEAST}x`,
        measured: `${median.toFixed(2)}x (${least.toFixed(2)} to ${most.toFixed(2)})`,
        met: median >= RATIO_LEAST,
      }
    }),
    {
      name: 'resident memory of the daemon, most while they were made, more than before',
      wanted: `<= ${GROWTH_MOST_BYTES / MIB} MiB`,
      measured: `${(growthBytes / MIB).toFixed(0)} MiB`,
      met: growthBytes <= GROWTH_MOST_BYTES,
    },
  ]
}

function textOf(count: number, tookMs: readonly number[]): string {
  const tenth = Math.ceil(count / 10)
  const rows = Array.from({ length: 10 }, (_, i) => {
    const part = tookMs.slice(i * tenth, (i + 1) * tenth)
    return `| ${i * tenth + 1} to ${Math.min(count, (i + 1) * tenth)} | ${shownMs(part)} |`
  })
  return [
    `${WRITES_BETWEEN} overwritten blocks of ${VOLUME_BYTES / MIB} MiB between any two, ${IN_FLIGHT} in flight, on ` +
      'one node with the store beside it.',
    '',
    '| snapshots | one took |',
    '|---|---|',
    ...rows,
  ].join('\n')
}

function shownMs(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b)
  return `p50 ${quantile(sorted, 0.5).toFixed(1)} ms, p99 ${quantile(sorted, 0.99).toFixed(1)} ms`
}
