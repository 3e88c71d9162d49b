/**
 * `npm run model`: every state that the replication core can reach within a bound, and what is wrong with one, if any
 * is. A violation is printed with one of the shortest ways to it.
 *
 *   npm run model                              the default bound
 *   npm run model -- --epochs 3 --crashes 2 --losses 0 --minutes 20 ...    another one (see test/model/bounds.ts)
 *   --from start                               from empty disks on, not from a volume that serves
 *   --states N                                 no more than so many
 */
import { parseArgs } from 'node:util'
import { DEFAULT_BOUNDS, sayBounds, type Bounds } from './bounds.ts'
import { ReplicationModel } from './replication-model.ts'
import { search } from './search.ts'

const print = (line: string): void => void process.stdout.write(`${line}\n`)

const { bounds, minutes, from, statesMax } = readOptions()
const startedAtMs = Date.now()
const seconds = (): number => (Date.now() - startedAtMs) / 1000
print(`bound: ${sayBounds(bounds)}; from ${from}`)
const model = new ReplicationModel(bounds, from)
let saidAt = 0
const result = search(model, {
  statesMax,
  isOver: () => seconds() > minutes * 60,
  progress({ states, transitions, depth, waiting }) {
    if (seconds() - saidAt < 10) return
    saidAt = seconds()
    const parts = `${model.parts.copies.parts.length} different copies, ${model.outcomes.worked} steps worked out`
    print(
      `${saidAt.toFixed(0)} s: ${states} states, ${transitions} transitions, depth ${depth}, ${waiting} wait; ${parts}`,
    )
  },
})
const { states, transitions, depth, violation, isComplete, waiting } = result
if (violation !== undefined) {
  violation.trace.forEach((line, i) => print(`${String(i + 1).padStart(5)}  ${line}`))
  print(`violation: ${violation.why}`)
}
const counted = `${states} states, ${transitions} transitions, depth ${depth}`
const cost = `${model.outcomes.worked} different steps, ${seconds().toFixed(1)} s`
const end = isComplete ? 'complete: 0 violations' : violation ? 'violated' : `not complete: ${waiting} states wait`
print(`${counted}, ${cost}; ${end}`)
process.exitCode = violation !== undefined ? 1 : 0

function readOptions() {
  const text = { type: 'string' } as const
  const names = Object.keys(DEFAULT_BOUNDS) as Array<keyof Bounds>
  const dashed = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  try {
    const { values } = parseArgs({
      options: {
        ...Object.fromEntries(names.map((name) => [dashed(name), text])),
        minutes: { ...text, default: '20' },
        states: { ...text, default: '60000000' },
        from: { ...text, default: 'serving' },
      },
    })
    const given = values as Record<string, string | undefined>
    const bounds: Record<string, unknown> = { ...DEFAULT_BOUNDS }
    for (const name of names) {
      const value = given[dashed(name)]
      if (value !== undefined) bounds[name] = name === 'mode' ? value : Number(value)
    }
    const from: 'start' | 'serving' = given.from === 'start' ? 'start' : 'serving'
    return {
      bounds: bounds as unknown as Bounds,
      minutes: Number(given.minutes),
      from,
      statesMax: Number(given.states),
    }
  } catch (error) {
    print(
      `${(error as Error).message}\nusage: npm run model -- [--copies 2] [--epochs 2] [--writes 2] [--minutes 20] ...`,
    )
    process.exit(2)
  }
}
