/**
 * How two volumes share the worker of a node: one with a single request of 4 KiB under way, alone and beside one of
 * which fio keeps many under way, in turns. Told are what its requests take, and what fio gets.
 *
 *   bin/node24 --dev bench/micro/volume-fairness.ts [--rounds 7] [--seconds 2] [--depth 128] [--case TEXT] [--dir DIR]
 */
import os from 'node:os'
import { parseArgs } from 'node:util'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { caseWords, type FioCase } from '../volume/cases.ts'
import { prefill, runFio } from '../volume/fio.ts'
import { makeVolume, withOneNode } from '../volume/one-node.ts'
import { ratios, spread } from '../volume/ratio.ts'
import { pause, Scratch } from '../volume/scratch.ts'
import { quantile } from '../volume/steady-writer.ts'

const SIZE_BYTES = 128 * MIB
const BLOCK_BYTES = 4096
const WARM_MS = 700

interface Case {
  name: string
  type: typeof READ | typeof WRITE
  beside: Pick<FioCase, 'rw' | 'blockBytes'>
}

const CASES: Case[] = [4, 128].flatMap((kib) =>
  (['randwrite', 'randread'] as const).flatMap((rw) =>
    ([WRITE, READ] as const).map((type): Case => ({
      name: `${type === WRITE ? 'writes' : 'reads'} beside ${rw} of ${kib} KiB`,
      type,
      beside: { rw, blockBytes: kib * 1024 },
    }))))

/** @returns what each request took that was sent within so long, in ascending order */
async function ask(connection: NbdConnection, type: Case['type'], ms: number): Promise<number[]> {
  const latenciesMs: number[] = []
  const data = Buffer.alloc(BLOCK_BYTES, 9)
  const endMs = performance.now() + ms
  for (let sentMs = performance.now(); sentMs < endMs; sentMs = performance.now()) {
    const offset = Math.floor(Math.random() * (SIZE_BYTES / BLOCK_BYTES)) * BLOCK_BYTES
    const answer = await connection.ask(type === WRITE ? { type, offset, data } : { type, offset, length: BLOCK_BYTES })
    if (answer === 'closed' || answer.errno !== 0) throw new Error('a request was not served')
    latenciesMs.push(performance.now() - sentMs)
  }
  return latenciesMs.sort((a, b) => a - b)
}

const option = (text: string) => ({ type: 'string', default: text }) as const
const { values } = parseArgs({
  options: {
    rounds: option('7'), seconds: option('2'), depth: option('128'), case: option(''), dir: option(os.tmpdir()),
  },
})
const ms = Number(values.seconds) * 1000
const scratch = new Scratch(values.dir)
const uriOf = (name: string, socketPath: string): string => `nbd+unix:///${name}?socket=${socketPath}`
try {
  await withOneNode(scratch, { diskBytes: 16 * SIZE_BYTES }, async ({ node, api }) => {
    const socketPath = node.paths.nbd
    for (const name of ['deep', 'shallow']) {
      await makeVolume(api, name, SIZE_BYTES)
      await prefill(scratch, { uri: uriOf(name, socketPath) }, SIZE_BYTES)
    }
    const connection = await NbdConnection.open(socketPath, 'shallow', true)
    if (connection === undefined) throw new Error('the volume is not served')
    for (const { name, type, beside } of CASES.filter((one) => one.name.includes(values.case))) {
      const rounds: Array<{ alone: number[]; busy: number[]; iops: number }> = []
      for (let round = 0; round < Number(values.rounds); round++) {
        const alone = await ask(connection, type, ms)
        const one = { name, ...beside, queueDepth: Number(values.depth) }
        const words = caseWords(one, SIZE_BYTES, (ms + 2 * WARM_MS) / 1000)
        const deep = runFio(scratch, { uri: uriOf('deep', socketPath) }, words)
        await pause(WARM_MS)
        rounds.push({ alone, busy: await ask(connection, type, ms), iops: (await deep).iops })
      }
      const words = ([['p50', 0.5], ['p99', 0.99]] as const).map(([word, share]) => {
        const [alone, busy] = (['alone', 'busy'] as const).map((side) =>
          rounds.map((round) => quantile(round[side], share))) as [number[], number[]]
        const { median, least, most } = spread(ratios(busy, alone))
        return `${word} ${spread(alone).median.toFixed(2)} ms alone, ${spread(busy).median.toFixed(2)} ms beside, ` +
          `${median.toFixed(1)}x (${least.toFixed(1)}x to ${most.toFixed(1)}x)`
      })
      const iops = spread(rounds.map((round) => round.iops)).median.toFixed(0)
      console.log(`${name}: ${words.join('; ')}; the other one ${iops}/s`)
    }
    await connection.disconnect()
  })
} finally {
  scratch.remove()
}
