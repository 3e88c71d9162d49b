/**
 * Suite `encryption`: one node with three volumes of one copy, `durable`: plain, `aes-256-xts` and `aes-256-gcm`, which
 * fio uses side by side. With one copy there is nothing else in a write that would hide what encryption costs.
 */
import path from 'node:path'
import { makeKeyFile } from '../../cluster/keys/user-key.ts'
import { MIB } from '../../engine/units.ts'
import { CIPHERS } from '../../engine/volume/volume-encryption.ts'
import { CASES } from './cases.ts'
import { compareServers, judge, type RatioGoal } from './comparison.ts'
import { prefill } from './fio.ts'
import type { Server } from './peers.ts'
import { cpuSeconds } from './process-figures.ts'
import { makeVolume, withOneNode } from './one-node.ts'
import { samplesTable } from './samples-table.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SIZE_BYTES = 256 * MIB
const QUICK_BYTES = 64 * MIB
const PLAIN = 'plain'
/** Of the IOPS of the plain volume. */
const LEAST: Record<string, number> = {
  '4k randwrite QD32': 0.7, '4k randread QD32': 0.7, '128k write QD8': 0.6, '128k read QD8': 0.6,
}

const GOALS: readonly RatioGoal[] = Object.entries(LEAST).flatMap(([one, limit]) =>
  CIPHERS.map((ours): RatioGoal => ({
    name: `${one}: ${ours} : plain`, one, metric: 'iops', ours, theirs: PLAIN, compare: 'least', limit,
  })))

export async function measureEncryption(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, quick, rounds, seconds } = context
  const sizeBytes = quick ? QUICK_BYTES : SIZE_BYTES
  // The log uses each of its segments once before it comes back to the first one.
  const diskBytes = 8 * sizeBytes
  const clusterKey = path.join(scratch.dir, 'cluster.key')
  makeKeyFile(clusterKey)
  const setUp = () => ({ change: { clusterKey } })
  return withOneNode(scratch, { diskBytes, setUp }, async ({ node, api }) => {
    print(`filling volumes of ${sizeBytes / MIB} MiB`)
    const servers: Server[] = []
    for (const name of [PLAIN, ...CIPHERS]) {
      const encryption = name === PLAIN ? {} : { encryption: 'true', cipher: name }
      await makeVolume(api, name, sizeBytes, encryption)
      const target = { uri: `nbd+unix:///${name}?socket=${node.paths.nbd}` }
      await prefill(scratch, target, sizeBytes)
      const used = (): number => cpuSeconds([node.pid])
      servers.push({ name, targets: [target], cpuSeconds: used, takes: ({ name: one }) => one in LEAST })
    }
    const samples = await compareServers(context, servers, CASES.filter(({ name }) => name in LEAST), sizeBytes)
    const goals = GOALS.map((goal) => judge(goal, samples, []))
    const note = `${rounds} rounds of ${seconds} s each, volumes of ${sizeBytes / MIB} MiB, all on one machine.`
    return { goals, text: [note, '', samplesTable(samples, [PLAIN, ...CIPHERS], [PLAIN])].join('\n') }
  })
}
