/**
 * `npm run e2e:kernel`: the stories of this folder, with their times. Needs root and user-mode-linux.
 *
 *   bin/node24 --dev test/kernel/run.ts [--story NAME] [--runs N]
 *
 * With `--runs`, `fenced` loses a machine so often in each of its two ways (default 2).
 */
import '../csi/node/own-mounts.ts'
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { GIB } from '../../engine/units.ts'
import { whyNoGuests } from '../power/guests-missing.ts'
import { tellFenced } from './fenced-story.ts'
import { tellAll, tellUpgrade } from './kill-stories.ts'
import { LITTLE_MEMORY, tellLittleMemory } from './little-memory-story.ts'
import { tellOver } from './over-story.ts'
import { tellStaging } from './staging-story.ts'
import { Story } from './story.ts'
import type { StoryOptions } from './story.ts'

interface Told {
  options?: Partial<StoryOptions>
  tell(story: Story, runs: number): Promise<void>
}

const STORIES: Record<string, Told> = {
  kills: { tell: tellAll },
  upgrade: { tell: tellUpgrade },
  // Twice as much may be promised.
  staging: { tell: tellStaging, options: { diskBytes: 6 * GIB } },
  memory: { tell: tellLittleMemory, options: { memory: LITTLE_MEMORY } },
  fenced: { tell: tellFenced },
  over: { tell: tellOver },
}
const say = (line: string): void => void process.stdout.write(`${line}\n`)

const missing = whyNoGuests()
// Of this process's own mounts: guests, which have copies of them, hear of what is unmounted.
spawnSync('mount', ['--make-rshared', '/'])
if (missing !== undefined) {
  say(`skipped: ${missing}`)
  process.exit(process.env.CI === 'true' ? 1 : 0)
}
const { values } = parseArgs({
  options: { story: { type: 'string' }, runs: { type: 'string', default: '2' } },
})
const told = values.story === undefined ? undefined : STORIES[values.story]
if (values.story !== undefined && told === undefined) {
  say(`there is no story ${values.story}: ${Object.keys(STORIES).join(', ')}`)
  process.exit(2)
}
if (told === undefined) {
  // Each has a network of its own, which a process enters for good.
  for (const name of Object.keys(STORIES)) {
    say(`--- ${name}`)
    const words = [...process.execArgv, import.meta.filename, '--story', name, '--runs', values.runs]
    const { status } = spawnSync(process.execPath, words, { stdio: 'inherit' })
    if (status !== 0) process.exit(1)
  }
} else {
  await Story.tell({ say, ...told.options }, (story) => told.tell(story, Number(values.runs)))
}
