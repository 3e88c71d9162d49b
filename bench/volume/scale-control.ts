/**
 * Suite `scale-control`: the control plane of clusters of 3 to 1,000 nodes and 100 to 100,000 volumes in three copies,
 * each size in a process of its own (bench/scale/control-cell.ts).
 */
import { spawn } from 'node:child_process'
import path from 'node:path'
import type { CellFigures, ElectedTime } from '../scale/cell-figures.ts'
import type { StoreCounts } from '../scale/paper-store.ts'
import { MIB } from '../../engine/units.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const NODES = [3, 10, 100, 1000]
const VOLUMES = [100, 1000, 10_000, 100_000]
const CELL = path.join(import.meta.dirname, '../scale/control-cell.ts')

export async function measureScaleControl({ scratch, print, quick }: SuiteContext): Promise<SuiteOutcome> {
  const cells: CellFigures[] = []
  for (const volumes of quick ? VOLUMES.slice(0, 2) : VOLUMES) {
    for (const nodes of quick ? NODES.slice(0, 3) : NODES) {
      const cell = await run(scratch, nodes, volumes)
      cells.push(cell)
      print(`${nodes} nodes, ${volumes} volumes: ${idleWords(cell)}`)
    }
  }
  return { goals: [], text: textOf(cells) }
}

function run(scratch: SuiteContext['scratch'], nodes: number, volumes: number): Promise<CellFigures> {
  const words = ['--expose-gc', '--max-old-space-size=12000', CELL, `${nodes}`, `${volumes}`]
  const child = scratch.keep(spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] }))
  let output = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (output += text))
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(output) as CellFigures)
      else reject(new Error(`${nodes} nodes with ${volumes} volumes ended with ${code}`))
    })
  })
}

const ms = (value: number): string => value.toFixed(value < 10 ? 1 : 0)
const count = (value: number): string => Math.round(value).toLocaleString('en')
const kb = (value: number): string => `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} kB`
const mib = (value: number): string => (value / MIB).toFixed(0)
const electedMs = ({ reportMs, passMs }: ElectedTime): number => reportMs + passMs
const ops = ({ reads, pages, swaps }: StoreCounts): number => reads + pages + swaps

const idleWords = ({ idle }: CellFigures): string =>
  `a second takes the elected node ${ms(electedMs(idle))} ms, and the store ${count(ops(idle.store))} calls`

type Column = [head: string, of: (cell: CellFigures) => string]

const QUIET: Column[] = [
  ['calls/s of the store', ({ idle }) => count(ops(idle.store))],
  ['of these beats', ({ idle }) => count(idle.store.swaps)],
  ['to and from it', ({ idle: { store } }) => `${kb(store.bytesIn + store.bytesOut)}/s`],
  ['elected: reports, pass', ({ idle }) => `${ms(idle.reportMs)}, ${ms(idle.passMs)} ms/s`],
  ['while all is written', ({ active }) => `${ms(electedMs(active))} ms/s`],
  ['reports then', ({ active }) => `${kb(active.reportBytes)}/s`],
]
const CHANGE: Column[] = [
  ['a changed volume: elected', ({ change }) => `${ms(change.passMs)} ms`],
  ['a new one: on the clock', ({ creation }) => `${ms(creation.waitedMs)} ms`],
  ['elected', ({ creation }) => `${ms(creation.electedMs)} ms`],
  ['reads, swaps', ({ creation: { store, seconds }, idle }) => {
    const beats = (idle.store.swaps * seconds) / CREATIONS
    return `${ms(store.reads)}, ${ms(Math.max(0, store.swaps - beats))}`
  }],
]
const KNOWN: Column[] = [
  ['in the store', ({ loaded }) => `${count(loaded.keys)} keys, ${mib(loaded.bytes)} MiB`],
  ['elected: knows all after', ({ beginning }) => `${(beginning.waitedMs / 1000).toFixed(1)} s`],
  ['busy for', ({ beginning }) => `${ms(electedMs(beginning))} ms`],
  ['elected: memory', ({ electedBytes }) => `${mib(electedBytes)} MiB`],
  ['any node: memory', ({ sample }) => `${mib(Math.max(0, sample.bytes))} MiB`],
  ['any node: begins in', ({ sample }) => `${ms(sample.cpuMs)} ms`],
  ['by reading', ({ sample }) => `${mib(sample.listedBytes)} MiB`],
]
const CREATIONS = 5
const STORM: Column[] = [
  ['primaries lost', ({ storm }) => count(storm!.led)],
  ['first, last has another', ({ storm }) => `${ms(storm!.firstMs)}, ${ms(storm!.lastMs)} ms`],
  ['reads, swaps (lost)', ({ storm }) =>
    `${count(storm!.store.reads)}, ${count(storm!.store.swaps)} (${count(storm!.store.lost)})`],
  ['elected: reports, passes', ({ storm }) => `${ms(storm!.elected.reportMs)}, ${ms(storm!.elected.passMs)} ms`],
  ['longest pass', ({ storm }) => `${ms(storm!.longestPassMs)} ms`],
  ['each second behind it', ({ storm }) => `${ms(electedMs(storm!.waiting))} ms`],
  ['with 50 changes', ({ storm }) => `${ms(electedMs(storm!.changing))} ms`],
]

function textOf(cells: readonly CellFigures[]): string {
  const storms = cells.filter(({ storm }) => storm !== undefined && storm.led >= 1000)
  return [
    'Processor time is that of one thread, without connections: the code of each node\'s control plane runs in one '
      + 'process, over a store on paper that answers after 2 ms and serves 20 at once (10,000 calls/s).',
    '', '**Nothing changes**, and the same while every volume is written.', '', table(cells, QUIET),
    '', '**One change.** Reads and swaps without beats.', '', table(cells, CHANGE),
    '', '**What is known**, and how long whoever begins to know it is busy.', '', table(cells, KNOWN),
    '', '**A node dies that leads a thousand volumes.** On the clock, from the end of the grace (2.2 s behind the '
      + 'death). Then its copies are waited for, and something else changes 50 times in a second.', '',
    table(storms, STORM),
  ].join('\n')
}

function table(cells: readonly CellFigures[], columns: readonly Column[]): string {
  const head = ['nodes', 'volumes', ...columns.map(([name]) => name)]
  const rows = cells.map((cell) => [count(cell.nodes), count(cell.volumes), ...columns.map(([, of]) => of(cell))])
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
