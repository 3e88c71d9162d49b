/**
 * Suite `compression`: one node with a plain volume and one with `lz4`, both of one copy and `durable`. Each is written
 * with data that compresses to about a half, then with data that does not compress at all; round by round, one behind
 * the other, each time beginning with the other one. Measured are the 4k IOPS of the two side by side, and what the
 * disk stores of each after it was written whole.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { caseWords, type FioCase } from './cases.ts'
import { runFio } from './fio.ts'
import type { Goal } from './goal.ts'
import { makeVolume, withOneNode } from './one-node.ts'
import { ratios, spread } from './ratio.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SIZE_BYTES = 512 * MIB
const QUICK_BYTES = 64 * MIB
const VOLUMES = ['plain', 'lz4'] as const
const COMPRESSIBLE_LEAST = 0.8
const RANDOM_LEAST = 0.98
const SAVED_MOST = 0.6

interface Data {
  name: string
  /** Of fio. Every buffer is filled anew, in both, so that the client's share of the processor is the same. */
  words: readonly string[]
}

const COMPRESSIBLE: Data = {
  name: 'half compresses away',
  words: ['--refill_buffers', '--buffer_compress_percentage=50', `--buffer_compress_chunk=${BLOCK_BYTES}`],
}
const RANDOM: Data = { name: 'random', words: ['--refill_buffers'] }

const WRITE: FioCase = { name: '4k randwrite QD32', rw: 'randwrite', blockBytes: 4096, queueDepth: 32 }
const READ: FioCase = { name: '4k randread QD32', rw: 'randread', blockBytes: 4096, queueDepth: 32 }

interface Measured {
  name: string
  wanted: string
  least: number | undefined
  iops: Record<(typeof VOLUMES)[number], number[]>
}

export async function measureCompression(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, quick, rounds, seconds } = context
  const sizeBytes = quick ? QUICK_BYTES : SIZE_BYTES
  const diskBytes = 6 * sizeBytes
  return withOneNode(scratch, { diskBytes }, async ({ node, api }) => {
    await makeVolume(api, 'plain', sizeBytes)
    await makeVolume(api, 'lz4', sizeBytes, { compression: 'lz4' })
    const uri = (volume: string): string => `nbd+unix:///${volume}?socket=${node.paths.nbd}`
    const fill = async (data: Data): Promise<number> => {
      for (const volume of VOLUMES) {
        const words = ['--rw=write', '--bs=1M', '--iodepth=4', `--size=${sizeBytes}`, '--end_fsync=1', ...data.words]
        await runFio(scratch, { uri: uri(volume) }, words)
      }
      const stored = await Promise.all(VOLUMES.map((name) => storedBytes(api, name)))
      const shown = VOLUMES.map((name, i) => `${name} stores ${Math.round(stored[i]! / MIB)} MiB`)
      print(`${data.name}: ${shown.join(', ')}`)
      return stored[1]! / stored[0]!
    }
    const run = async (one: FioCase, data: Data, goal: Pick<Measured, 'wanted' | 'least'>): Promise<Measured> => {
      const measured: Measured = { name: `${one.name}, ${data.name}`, ...goal, iops: { plain: [], lz4: [] } }
      for (let round = 0; round < (quick ? 1 : rounds); round++) {
        for (const volume of round % 2 === 0 ? VOLUMES : VOLUMES.toReversed()) {
          const words = [...caseWords(one, sizeBytes, quick ? 2 : seconds), ...data.words]
          measured.iops[volume].push((await runFio(scratch, { uri: uri(volume) }, words)).iops)
        }
        const [plain, lz4] = VOLUMES.map((volume) => measured.iops[volume].at(-1)!.toFixed(0))
        print(`${measured.name}: ${plain} plain, ${lz4} with lz4`)
      }
      return measured
    }
    const share = await fill(COMPRESSIBLE)
    const compressible = [
      await run(WRITE, COMPRESSIBLE, { wanted: `>= ${COMPRESSIBLE_LEAST}x`, least: COMPRESSIBLE_LEAST }),
      await run(READ, COMPRESSIBLE, { wanted: 'no goal', least: undefined }),
    ]
    await fill(RANDOM)
    const random = await run(WRITE, RANDOM, { wanted: `>= ${RANDOM_LEAST}x`, least: RANDOM_LEAST })
    return { goals: [...[...compressible, random].map(goalOf), savedGoal(share)], text: textOf(sizeBytes) }
  })
}

/** Of the blocks that the volume shows, once what was written last is counted. */
async function storedBytes(api: ControlClient, name: string): Promise<number> {
  for (let before = -1; ; await pause(1500)) {
    const { usedBytes } = await api.getVolume({ name })
    if (usedBytes === before && usedBytes > 0) return usedBytes
    before = usedBytes
  }
}

function goalOf({ name, wanted, least, iops }: Measured): Goal {
  const { median, least: lowest, most } = spread(ratios(iops.lz4, iops.plain))
  const measured = `${median.toFixed(2)}x (${lowest.toFixed(2)} to ${most.toFixed(2)})`
  return { name: `${name}: lz4 : plain`, wanted, measured, met: least === undefined ? true : median >= least }
}

const savedGoal = (share: number): Goal => ({
  name: `bytes stored, ${COMPRESSIBLE.name}: lz4 : plain`,
  wanted: `<= ${SAVED_MOST}x`,
  measured: `${share.toFixed(2)}x`,
  met: share <= SAVED_MOST,
})

const textOf = (sizeBytes: number): string =>
  `Two volumes of ${sizeBytes / MIB} MiB on one node, one copy, \`durable\`; fio fills every buffer anew, for both.`
