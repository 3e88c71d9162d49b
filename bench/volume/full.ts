/**
 * Suite `full`: everything that tells how fast we are beside others, part by part. `--only` takes names of parts too;
 * its other words choose from the first one.
 */
import { measureBackground } from './background.ts'
import { measureGuest } from './guest-devices.ts'
import { measureSideBySide } from './side-by-side.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const FURTHER: Record<string, (context: SuiteContext) => Promise<SuiteOutcome>> = {
  background: measureBackground,
  guest: measureGuest,
}

export async function measureFull(context: SuiteContext): Promise<SuiteOutcome> {
  const parts = context.only.filter((word) => word in FURTHER)
  const words = context.only.filter((word) => !(word in FURTHER))
  const isAll = context.only.length === 0
  const outcomes: SuiteOutcome[] = []
  if (isAll || words.length > 0) outcomes.push(await measureSideBySide({ ...context, only: words }))
  for (const [name, measure] of Object.entries(FURTHER)) {
    if (isAll || parts.includes(name)) outcomes.push(await measure(context))
  }
  return {
    goals: outcomes.flatMap(({ goals }) => goals),
    text: outcomes.map(({ text }) => text).join('\n\n'),
    files: outcomes.flatMap(({ files = [] }) => files),
  }
}
