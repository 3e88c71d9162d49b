/**
 * Part of the suite `full`: devices of the kernel's NBD client, in a user-mode-linux guest (test/kernel): one of a
 * volume in three copies, one of them in the guest, and one of qemu-nbd in the guest over a file there. System calls of
 * such a guest cost a multiple of a real kernel's, so this says how the two compare, and nothing of how fast either is.
 */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { whyNoGuests } from '../../test/power/guests-missing.ts'
import type { Samples } from './comparison.ts'
import { hasTool } from './fio.ts'
import type { FioReport } from './fio-report.ts'
import { samplesTable } from './samples-table.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const STORY = path.join(import.meta.dirname, 'guest-story.ts')

/** What a line of the story begins with that has a sample; the others are what it tells, logs of the guest included. */
export const SAMPLE = 'sample '

export interface GuestSample {
  one: string
  server: 'device3' | 'qemu-wt'
  round: number
  report: FioReport
}

export async function measureGuest({ scratch, print, rounds, quick }: SuiteContext): Promise<SuiteOutcome> {
  const not = (why: string): SuiteOutcome => ({ goals: [], text: `Devices in a guest were not measured: ${why}.` })
  const why = whyNoGuests() ?? (hasTool('qemu-nbd') ? undefined : 'qemu-nbd is not installed')
  if (why !== undefined) return not(why)
  const words = [...process.execArgv, STORY, String(quick ? 1 : rounds), quick ? '1' : '4']
  const child = scratch.keep(spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] }))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const samples: Samples = new Map()
  for await (const line of createInterface({ input: child.stdout! })) {
    if (!line.startsWith(SAMPLE)) {
      print(`guest ${line.trim()}`)
      continue
    }
    const { one, server, round, report } = JSON.parse(line.slice(SAMPLE.length)) as GuestSample
    const byServer = samples.get(one) ?? new Map()
    samples.set(one, byServer)
    const perRound = byServer.get(server) ?? []
    byServer.set(server, perRound)
    perRound[round] = { ...report, cpuPerMillion: undefined, bytesPerByte: undefined }
    print(`round ${round + 1}  ${one.padEnd(26)}${server.padEnd(13)}${Math.round(report.iops)} IOPS in the guest`)
  }
  const code = await ended
  if (code !== 0) return not(`the guest's part ended with ${code}`)
  const about = 'Devices of the kernel in a user-mode-linux guest: `device3` of a volume in three copies (durable), ' +
    'one of them in the guest, `qemu-wt` over a file in it; direct I/O. Processor time is not told apart.'
  return { goals: [], text: [about, samplesTable(samples, ['device3'], ['qemu-wt'])].join('\n\n') }
}
