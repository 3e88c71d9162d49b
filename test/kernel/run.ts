/** `npm run e2e:kernel`: the story of test/kernel/story.ts, with its times. Needs root and user-mode-linux. */
import { guestsMissing } from '../power/guests-missing.ts'
import { Story, tellAll } from './story.ts'

process.env.POWER_CUTS ??= '0'
const missing = guestsMissing()
if (missing !== undefined) {
  process.stdout.write(`skipped: ${missing}\n`)
  process.exit(process.env.CI === 'true' ? 1 : 0)
}
await Story.tell({ say: (line) => process.stdout.write(`${line}\n`) }, tellAll)
