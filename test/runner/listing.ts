/** What `npm test -- --list` prints: each file with its last times and how it runs, then the areas. */
import { AREAS, areaOf } from './areas.ts'
import type { LastRun } from './costs.ts'
import type { TestFile } from './test-file.ts'

export const inSeconds = (seconds?: number): string =>
  `${seconds === undefined ? '?' : seconds.toFixed(1)} s`.padStart(8)

export const fileLine = (file: TestFile, lastRun: LastRun | undefined, cores: number): string => {
  const company = file.serial ? 'runs alone' : `takes ${cores.toFixed(1)} of a processor`
  return `${inSeconds(lastRun?.seconds)}  ${file.path}  (deadline ${file.timeoutSeconds} s, ${company})`
}

/** One line an area: its files, how long they took, and how much of the run that was. */
export function areaLines(paths: readonly string[], lastRuns: Record<string, LastRun>): string[] {
  const lines = ['area                     files    file seconds    minutes of the run']
  for (const area of AREAS) {
    const own = paths.filter((path) => areaOf(path) === area)
    const sum = (pick: (run: LastRun) => number): number =>
      own.reduce((total, path) => total + (lastRuns[path] === undefined ? 0 : pick(lastRuns[path])), 0)
    const minutes = (sum(({ partSeconds }) => partSeconds) / 60).toFixed(1)
    const allowed = area.minutesAllowed === undefined ? '' : ` of ${area.minutesAllowed}`
    const seconds = sum(({ seconds }) => seconds).toFixed(0)
    lines.push(`${area.name.padEnd(24)} ${`${own.length}`.padStart(5)} ${seconds.padStart(15)}    ${minutes}${allowed}`)
  }
  return lines
}
