/**
 * Suite `storms`: what a client of a node feels while others come in masses over the network: 200 that begin TLS at
 * once, with certificates, and 10,000 (or as many as the limits of this host allow) that open a connection and say
 * nothing, or a byte a second. fio runs through the unix socket, alone and beside each storm, in turns; p99 is of the
 * whole run. What the node has left afterwards is counted.
 */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { MIB, GIB } from '../../engine/units.ts'
import { initAuthority, issue } from '../../cli/ca-folder.ts'
import { CASES, caseWords } from './cases.ts'
import { prefill, runFio } from './fio.ts'
import type { Goal } from './goal.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { spread } from './ratio.ts'
import { pause } from './scratch.ts'
import { Storm, footprintOf, settled } from './storm.ts'
import type { StormTarget } from './storm.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const VOLUME_BYTES = 256 * MIB
const HANDSHAKES = 200
const STRANGERS = 10_000
const P99_RATIO_MAX = 3
const HANDSHAKES_MS_MAX = 5_000
const GROWTH_MIB_MAX = 32
/** Descriptors that are no clients. */
const SPARE_DESCRIPTORS = 500
const LEFT_MS = 30_000
const ONE = CASES.find(({ name }) => name === '4k randwrite QD32')!

const descriptorsMax = (): number =>
  Number(spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).stdout.trim().replace('unlimited', '1000000'))

export async function measureStorms({ scratch, print, quick, rounds, seconds }: SuiteContext): Promise<SuiteOutcome> {
  scratch.needRoom(3 * GIB)
  const ca = scratch.path('ca')
  initAuthority(ca, { days: 2 })
  const folderOf = (role: 'node' | 'admin', name: string): string => {
    const out = path.join(ca, name)
    issue(ca, { role, name, dns: [], ip: ['127.0.0.1'], days: 1, out })
    return out
  }
  const words = ['--tls', folderOf('node', 'n1'), '--listen-tcp', '127.0.0.1:0', '--workers', '1']
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes: 2 * GIB, words })
  await node.start()
  await node.createVolume('v', VOLUME_BYTES, 'durable')
  const uri = { uri: node.uri('v') }
  await prefill(scratch, uri, VOLUME_BYTES)
  const target: StormTarget = {
    port: node.tcpPort!, folder: folderOf('admin', 'alice'), keep: (child) => scratch.keep(child),
  }
  const runSeconds = quick ? 3 : Math.max(8, seconds)
  const fio = () => runFio(scratch, uri, caseWords(ONE, VOLUME_BYTES, runSeconds))
  const handshakes = quick ? 50 : HANDSHAKES
  const strangers = Math.min(quick ? 1_000 : STRANGERS, descriptorsMax() - SPARE_DESCRIPTORS)
  const ratios = { handshakes: [] as number[], strangers: [] as number[] }
  const rows: string[] = []
  let longestMs = 0
  let growthMib = 0
  let left: number | undefined = 0
  for (let round = 1; round <= (quick ? 1 : rounds); round++) {
    const alone = await fio()
    const first = fio()
    await pause(1_000)
    const shaking = new Storm('handshakes', handshakes, target)
    const { tookMs = NaN, tries = NaN } = await shaking.told()
    await shaking.end()
    const beside = await first
    longestMs = Math.max(longestMs, tookMs)
    const before = footprintOf(node.daemonPid)
    const second = fio()
    const coming = new Storm('strangers', strangers, target)
    const begun = await coming.told()
    await pause(1_000)
    const during = footprintOf(node.daemonPid)
    const held = await second
    const now = await coming.now()
    await coming.end()
    left = await settled(node.daemonPid, before, LEFT_MS)
    const moreMib = (during.rssBytes - before.rssBytes) / MIB
    growthMib = Math.max(growthMib, moreMib)
    ratios.handshakes.push(beside.p99Us / alone.p99Us)
    ratios.strangers.push(held.p99Us / alone.p99Us)
    const row = [
      round, alone.p99Us.toFixed(0), beside.p99Us.toFixed(0), `${(tookMs / 1000).toFixed(2)} s, ${tries} tries`,
      held.p99Us.toFixed(0), `${begun.begun} begun, ${now.closed} closed`,
      `${moreMib.toFixed(1)} MiB`,
      left === undefined ? 'something' : `nothing, after ${(left / 1000).toFixed(1)} s`,
    ]
    rows.push(`| ${row.join(' | ')} |`)
    print(`round ${row.join(', ')}`)
  }
  await node.stop()
  const goals: Goal[] = [
    ratioGoal(`fio p99 beside ${handshakes} TLS handshakes, to alone`, spread(ratios.handshakes).median),
    {
      name: `${handshakes} clients with certificates are shaken hands with`, wanted: `< ${HANDSHAKES_MS_MAX / 1000} s`,
      measured: `${(longestMs / 1000).toFixed(2)} s`, met: longestMs < HANDSHAKES_MS_MAX,
    },
    ratioGoal(`fio p99 beside ${strangers} strangers, to alone`, spread(ratios.strangers).median),
    {
      name: `memory of the daemon beside ${strangers} strangers`, wanted: `<= ${GROWTH_MIB_MAX} MiB more`,
      measured: `${growthMib.toFixed(1)} MiB`, met: growthMib <= GROWTH_MIB_MAX,
    },
    {
      name: 'descriptors of the daemon when they have gone', wanted: 'as before', met: left !== undefined,
      measured: left === undefined ? 'more' : 'as before',
    },
  ]
  const head = '| round | p99 alone, us | beside handshakes | these took | beside strangers | these | memory | left |'
  const text = [head, '|---|---|---|---|---|---|---|---|', ...rows].join('\n')
  return { goals, text }
}

const ratioGoal = (name: string, ratio: number): Goal =>
  ({ name, wanted: `<= ${P99_RATIO_MAX}x`, measured: `${ratio.toFixed(2)}x`, met: ratio <= P99_RATIO_MAX })
