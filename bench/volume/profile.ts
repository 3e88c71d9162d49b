/**
 * Suite `profile`: which functions the daemon spends its time in, case by case: V8's sampling profiler (`--cpu-prof`)
 * over a daemon that does one case and stops. Sampling costs a tenth of the speed; only shares mean anything.
 */
import fs from 'node:fs'
import path from 'node:path'
import { CASES, caseWords, isWrite } from './cases.ts'
import { prefill, runFio } from './fio.ts'
import { HoldfastNode } from './holdfast-node.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SIZE_BYTES = 2 ** 30
const TOP = 18

export interface CpuProfile {
  nodes: Array<{ id: number; callFrame: { functionName: string; url: string; lineNumber: number } }>
  samples: number[]
  timeDeltas: number[]
}

export interface SelfTime {
  name: string
  ms: number
}

/** Time in each function itself, callees not counted, longest first. */
export function selfTimes(profile: CpuProfile): SelfTime[] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame }) => {
      const file = callFrame.url.replace(/^.*\/(?=(?:engine|dataplane|cluster|node_modules)\/)/, '')
      const place = callFrame.url === '' ? '' : ` ${file}:${callFrame.lineNumber + 1}`
      return [id, `${callFrame.functionName || '(anonymous)'}${place}`]
    }),
  )
  const times = new Map<string, number>()
  profile.samples.forEach((id, i) => {
    const name = names.get(id) ?? '?'
    times.set(name, (times.get(name) ?? 0) + (profile.timeDeltas[i] ?? 0) / 1000)
  })
  return [...times].map(([name, ms]) => ({ name, ms })).sort((a, b) => b.ms - a.ms)
}

const isIdle = ({ name }: SelfTime): boolean => name === '(idle)'
export const busyMs = (times: readonly SelfTime[]): number =>
  times.reduce((sum, time) => sum + (isIdle(time) ? 0 : time.ms), 0)

export async function measureProfile({ scratch, print, seconds }: SuiteContext): Promise<SuiteOutcome> {
  const diskBytes = 5 * SIZE_BYTES
  scratch.needRoom(2 * diskBytes)
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes })
  await node.start()
  for (const durability of ['durable', 'writeback'] as const) {
    await node.createVolume(durability, SIZE_BYTES, durability)
    await prefill(scratch, { uri: node.uri(durability) }, SIZE_BYTES)
  }
  await node.stop()
  const parts: string[] = []
  for (const one of CASES.filter(({ volumes }) => volumes === undefined)) {
    for (const volume of isWrite(one) ? ['durable', 'writeback'] : ['durable']) {
      const folder = scratch.path(`profile-${parts.length}`)
      const nodeOptions = `--cpu-prof --cpu-prof-dir=${folder}`
      const profiled = new HoldfastNode({ scratch, name: 'hf', diskBytes, nodeOptions })
      await profiled.start()
      const report = await runFio(scratch, { uri: profiled.uri(volume) }, caseWords(one, SIZE_BYTES, seconds))
      await profiled.stop()
      const times = busiest(folder)
      const busy = busyMs(times)
      const lines = times
        .filter((time) => !isIdle(time))
        .slice(0, TOP)
        .map(({ name, ms }) => `${((ms / busy) * 100).toFixed(1).padStart(5)} %  ${name}`)
      const title = `${one.name}, ${volume}: ${Math.round(report.iops)} IOPS, busy ${(busy / 1000).toFixed(1)} s`
      print(title)
      parts.push(`${title}\n${lines.join('\n')}`)
    }
  }
  return { goals: [], text: parts.join('\n\n') }
}

/** Of the threads that left a profile, the one that worked most: the data worker. */
function busiest(folder: string): SelfTime[] {
  const all = fs
    .readdirSync(folder)
    .map((file) => selfTimes(JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')) as CpuProfile))
  return all.sort((a, b) => busyMs(b) - busyMs(a))[0] ?? []
}
