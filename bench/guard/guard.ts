/**
 * The regression guard, `npm run bench -- --guard`: processor time of the daemons for an operation, against what was
 * accepted last (accepted.json). Processor time, since virtual machines give no instruction counts, and since it moves
 * less than speed does; as a ratio to a fixed piece of work done just before and just after, since processors are
 * shared and change their clock. Every round starts everything anew: where code and memory come to lie is noise too.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { MIB } from '../../engine/units.ts'
import { CASES, caseWords, type FioCase } from '../volume/cases.ts'
import { runFio } from '../volume/fio.ts'
import { machineFacts } from '../volume/machine-facts.ts'
import { startOurs } from '../volume/our-volumes.ts'
import type { Server, Servers } from '../volume/peers.ts'
import { Scratch } from '../volume/scratch.ts'
import { FixedWork } from './fixed-work.ts'
import {
  ROUNDS_LEAST, ROUNDS_MOST, sentence, verdicts, whyNotCompared, type Accepted, type Costs, type Place,
} from './verdict.ts'

const ACCEPTED = path.join(import.meta.dirname, 'accepted.json')
const SIZE_BYTES = 64 * MIB
const WARM_SECONDS = 1
const SECONDS = 2

/** Server -> cases. */
const PLAN: Record<string, readonly string[]> = {
  durable: ['4k randwrite QD32', '4k randread QD32'],
  writeback: ['4k randwrite QD32', '128k write QD8', '128k read QD8'],
  durable3: ['4k randwrite QD32'],
}

export interface GuardOptions {
  dir: string
  rounds: number
  /** Keep what is measured as the figures to compare with. */
  accept: boolean
  /** One round of each, to see that it works: nothing is judged or kept. */
  quick: boolean
  print(line: string): void
}

/** @returns the exit status: 1 when something got dearer, or nothing can be said */
export async function guard({ dir, rounds, accept, quick, print }: GuardOptions): Promise<number> {
  if (!quick && !(rounds >= ROUNDS_LEAST && rounds <= ROUNDS_MOST)) {
    throw new Error(`the guard takes ${ROUNDS_LEAST} to ${ROUNDS_MOST} rounds, not ${rounds}`)
  }
  const costs: Record<string, number[]> = {}
  for (let round = 1; round <= (quick ? 1 : rounds); round++) {
    const scratch = new Scratch(dir)
    try {
      for (const [name, cost] of await measureRound(scratch, quick)) {
        ;(costs[name] ??= []).push(cost)
        print(`round ${round}  ${name.padEnd(30)}${cost.toFixed(2)} pieces of work an operation`)
      }
    } finally {
      scratch.remove()
    }
  }
  if (quick) return 0
  return accept ? keep(costs, dir, print) : judge(costs, print)
}

async function measureRound(scratch: Scratch, quick: boolean): Promise<Array<[string, number]>> {
  const wanted = Object.keys(PLAN).map((name) => ({ name, sizes: [SIZE_BYTES], takes: () => true }))
  const found: Servers = { servers: [], absent: [] }
  const ends: Array<() => unknown> = []
  const work = new FixedWork(scratch.path('fixed-work'))
  try {
    await startOurs(scratch, wanted, found, ends)
    const costs: Array<[string, number]> = []
    for (const server of found.servers) {
      for (const name of PLAN[server.name]!) {
        const one = CASES.find((known) => known.name === name)!
        costs.push([`${server.name} ${name}`, await costOf(scratch, server, one, work, quick)])
      }
    }
    return costs
  } finally {
    for (const end of ends.reverse()) await end()
    work.close()
  }
}

async function costOf(
  scratch: Scratch, server: Server, one: FioCase, work: FixedWork, quick: boolean,
): Promise<number> {
  const run = (seconds: number) => runFio(scratch, server.targets, caseWords(one, SIZE_BYTES, seconds))
  await run(WARM_SECONDS)
  spawnSync('sync', ['-f', scratch.dir])
  const pieceBefore = work.secondsOfOne()
  const before = server.cpuSeconds!()
  const { operations } = await run(quick ? 1 : SECONDS)
  const after = server.cpuSeconds!()
  const piece = (pieceBefore + work.secondsOfOne()) / 2
  return (after - before) / operations / piece
}

const placeOf = (): Place => ({ processor: os.cpus()[0]?.model.trim() || os.arch(), node: process.versions.node })

function keep(costs: Costs, dir: string, print: (line: string) => void): number {
  const { commit } = machineFacts(dir)
  const rounded = Object.fromEntries(
    Object.entries(costs).map(([name, values]) => [name, values.map((value) => Number(value.toFixed(3)))]),
  )
  const accepted: Accepted = { commit, ...placeOf(), costs: rounded }
  // A line for each case, so that a difference of two versions reads.
  const text = JSON.stringify(accepted, undefined, 1).replace(/\[\s+([^\]]*?)\s+\]/g, (_, list: string) =>
    `[${list.replace(/\s+/g, ' ')}]`)
  writeFileSync(ACCEPTED, `${text}\n`)
  print(`accepted: written to ${path.relative(process.cwd(), ACCEPTED)}`)
  return 0
}

function judge(costs: Costs, print: (line: string) => void): number {
  const accepted = existsSync(ACCEPTED) ? (JSON.parse(readFileSync(ACCEPTED, 'utf8')) as Accepted) : undefined
  const why = whyNotCompared(accepted, placeOf(), costs)
  if (why !== undefined) {
    print(`guard: not compared: ${why}`)
    return 1
  }
  const all = verdicts(accepted!.costs, costs)
  for (const verdict of all) print(`guard: ${sentence(verdict)}`)
  return all.some(({ isWorse }) => isWorse) ? 1 : 0
}
