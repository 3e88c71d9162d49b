/**
 * Every tidy rule. A rule without a planted violation in `rules.test.ts` fails there.
 */
import { importDirections, noBitwisePositions, pureEngine } from './architecture-rules.ts'
import { documentPaths } from './document-rules.ts'
import type { Rule } from './rule.ts'
import { specNumbers } from './spec-rules.ts'
import {
  fileNames,
  headers,
  lineLengths,
  noDrawers,
  noMachineFacts,
  noSecrets,
  noSilentSkips,
  noUnfinishedWork,
} from './text-rules.ts'
import { specTransitions } from './transition-rules.ts'

export const RULES: readonly Rule[] = [
  importDirections,
  pureEngine,
  noBitwisePositions,
  documentPaths,
  specNumbers,
  specTransitions,
  fileNames,
  noDrawers,
  headers,
  lineLengths,
  noMachineFacts,
  noSecrets,
  noUnfinishedWork,
  noSilentSkips,
]
