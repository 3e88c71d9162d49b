/**
 * Servers compared with fio. In each round every case runs on every server, one behind the other, beginning with
 * another server each time; before each run everything dirty is written out, so that nobody pays for the one before.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { caseWords, type FioCase } from './cases.ts'
import { runFio } from './fio.ts'
import type { FioReport } from './fio-report.ts'
import type { Goal } from './goal.ts'
import { fileSystemOf } from './machine-facts.ts'
import type { Server } from './peers.ts'
import { ratios, spread } from './ratio.ts'
import { pause } from './scratch.ts'
import type { SuiteContext } from './suite.ts'
import { deviceBytesOf } from './written-bytes.ts'

export interface Sample extends FioReport {
  /** Processor seconds of the server for a million operations. */
  cpuPerMillion: number | undefined
  /** That reached the device, by everybody on it, until nothing was dirty; for each byte that fio wrote. */
  bytesPerByte: number | undefined
}

/** case -> server -> a sample for each round */
export type Samples = Map<string, Map<string, Array<Sample | undefined>>>

export type Metric = 'iops' | 'bytesPerSecond' | 'latencyMeanUs' | 'p999Us'

export interface RatioGoal {
  name: string
  one: string
  metric: Metric
  ours: string
  theirs: string
  compare: 'least' | 'most'
  limit: number
}

const SETTLE_MS = 300

/** @param sizeBytes  of each volume and file, from its beginning */
export async function compareServers(
  context: SuiteContext, servers: readonly Server[], cases: readonly FioCase[], sizeBytes: number,
): Promise<Samples> {
  const { print, rounds } = context
  const samples: Samples = new Map()
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) {
      const takers = servers.filter((server) => server.takes(one))
      for (let i = 0; i < takers.length; i++) {
        const server = takers[(i + round) % takers.length]!
        const sample = await measureOne(context, server, one, sizeBytes)
        const byServer = samples.get(one.name) ?? new Map<string, Array<Sample | undefined>>()
        samples.set(one.name, byServer)
        const perRound = byServer.get(server.name) ?? []
        byServer.set(server.name, perRound)
        perRound[round] = sample
        print(`round ${round + 1}  ${one.name.padEnd(26)}${server.name.padEnd(13)}${shortly(sample)}`)
      }
    }
  }
  return samples
}

async function measureOne(
  { scratch, seconds }: SuiteContext,
  server: Server,
  one: FioCase,
  sizeBytes: number,
): Promise<Sample> {
  const { device } = fileSystemOf(scratch.dir)
  const deviceBytes = (): number | undefined => {
    spawnSync('sync', ['-f', scratch.dir])
    return deviceBytesOf(fs.readFileSync('/proc/diskstats', 'utf8'), device)
  }
  const bytesBefore = deviceBytes()
  await pause(SETTLE_MS)
  await server.prepare?.()
  const before = server.cpuSeconds?.()
  const targets = server.targets.slice(0, one.volumes ?? 1)
  const report = await runFio(scratch, targets, caseWords(one, sizeBytes, seconds))
  const after = server.cpuSeconds?.()
  const bytesAfter = deviceBytes()
  const cpuPerMillion =
    before === undefined || after === undefined ? undefined : ((after - before) / report.operations) * 1e6
  const bytesPerByte =
    bytesBefore === undefined || bytesAfter === undefined || report.writes === 0
      ? undefined
      : (bytesAfter - bytesBefore) / (report.writes * one.blockBytes)
  return { ...report, cpuPerMillion, bytesPerByte }
}

const shortly = (s: Sample): string =>
  `${Math.round(s.iops)} IOPS, mean ${s.latencyMeanUs.toFixed(0)} us, p99.9 ${s.p999Us.toFixed(0)} us` +
  (s.cpuPerMillion === undefined ? '' : `, ${s.cpuPerMillion.toFixed(0)} CPU s per million`)

export function metricOf(samples: Samples, one: string, server: string, metric: Metric): Array<number | undefined> {
  return (samples.get(one)?.get(server) ?? []).map((sample) => sample?.[metric])
}

export function judge(goal: RatioGoal, samples: Samples, absent: readonly string[]): Goal {
  const { name, one, metric, ours, theirs, compare, limit } = goal
  const wanted = `${compare === 'least' ? '>=' : '<='} ${limit}x`
  const found = spread(ratios(metricOf(samples, one, ours, metric), metricOf(samples, one, theirs, metric)))
  if (Number.isNaN(found.median)) {
    const note = absent.find((reason) => reason.startsWith(`${theirs}:`)) ?? 'no round has both'
    return { name, wanted, measured: undefined, met: undefined, note }
  }
  const measured = `${found.median.toFixed(2)}x (${found.least.toFixed(2)} to ${found.most.toFixed(2)})`
  return { name, wanted, measured, met: compare === 'least' ? found.median >= limit : found.median <= limit }
}
