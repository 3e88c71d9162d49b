/**
 * `npm run e2e:kernel`: the stories of test/kernel/story.ts, with their times. Needs root and user-mode-linux.
 *
 *   bin/node24 --dev test/kernel/run.ts [kills|upgrade]
 */
import { spawnSync } from 'node:child_process'
import { guestsMissing } from '../power/guests-missing.ts'
import { Story, tellAll, tellUpgrade } from './story.ts'

const STORIES = { kills: tellAll, upgrade: tellUpgrade }
const say = (line: string): void => void process.stdout.write(`${line}\n`)

process.env.POWER_CUTS ??= '0'
const missing = guestsMissing()
if (missing !== undefined) {
  say(`skipped: ${missing}`)
  process.exit(process.env.CI === 'true' ? 1 : 0)
}
const asked = process.argv[2]
if (asked === undefined) {
  // Each has a network of its own, which a process enters for good.
  for (const name of Object.keys(STORIES)) {
    say(`--- ${name}`)
    const words = [...process.execArgv, import.meta.filename, name]
    const { status } = spawnSync(process.execPath, words, { stdio: 'inherit' })
    if (status !== 0) process.exit(1)
  }
} else {
  await Story.tell({ say }, STORIES[asked as keyof typeof STORIES])
}
