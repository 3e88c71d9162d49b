/**
 * Risk: a call that is repeated, comes late, or is cut off between two steps makes a second volume, gives a volume to
 * two nodes, or is told OK and is not so. Each planted bug has to be found by a story of few seeds.
 */
// test-timeout-seconds: 600
import t from 'tap'
import type { Test } from 'tap'
import { importMutant, misfit } from '../../sim/mutants.ts'
import { CallStory } from './call-story.ts'

t.setTimeout(590_000)

const SEEDS = Number(process.env['STORIES'] ?? 6)
const FIRST = Number(process.env['STORY'] ?? 1)

t.test(`${SEEDS} stories: what is told is so`, async (t) => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) t.equal(await CallStory.run(t, seed), undefined)
})

const FOLDER = 'csi/controller'

const BUGS = [
  {
    name: 'what is there is not compared', file: `${FOLDER}/create-volume.ts`,
    replace: 'labels[REQUEST_LABEL] !== digest', by: 'labels[REQUEST_LABEL] === undefined',
  },
  {
    name: 'sizes are not compared', file: `${FOLDER}/create-volume.ts`,
    replace: '!isWithin(sizeBytes, capacityRange)', by: 'sizeBytes === 0',
  },
  {
    name: 'the name of a volume is drawn', file: `${FOLDER}/create-volume.ts`,
    replace: 'const name = ourName(request.name)', by: 'const name = `csi-${Math.random().toString(36).slice(2)}`',
  },
  {
    name: 'what cannot be asked is unpublished', file: `${FOLDER}/publish-volume.ts`,
    replace: "await unless('volume-not-found', unless(", by: "await unless('unreachable', unless(",
  },
  {
    name: 'a node takes a volume from another one', file: `${FOLDER}/publish-volume.ts`,
    replace: 'mode, force: false, primary', by: 'mode, force: true, primary',
  },
  {
    name: 'a published volume in another mode is published', file: `${FOLDER}/publish-volume.ts`,
    replace: 'if (isThere && before.mode !== mode)', by: 'if (isThere) return { publishContext: { '
      + "[GENERATION]: String(before.holders[0]!.generation), [MODE]: mode } }\n  if (mode === 'shared')",
  },
  {
    name: 'snapshots go with their volume', file: `${FOLDER}/volume-calls.ts`,
    replace: 'if (kept !== undefined) {', by: "if (kept?.name === '') {",
  },
  {
    name: 'each try asks for another snapshot', file: `${FOLDER}/snapshot-calls.ts`,
    replace: 'const id = snapshotIdOf(volume.id, name)', by: "const id = ''",
  },
  {
    name: 'a late smaller growth is made', file: `${FOLDER}/volume-calls.ts`,
    replace: 'sizeWithin(capacityRange, volume.sizeBytes)', by: 'sizeWithin(capacityRange, 0)',
  },
]

for (const bug of BUGS) {
  t.test(`planted: ${bug.name}`, async (t) => {
    t.equal(misfit(bug), undefined)
    const mutated = await importMutant<typeof import('./call-story.ts')>(bug, 'test/csi/controller/call-story.ts')
    t.match(await firstWrong(t, mutated), /^seed /)
  })
}

const BUG_SEEDS = 20

async function firstWrong(t: Test, { CallStory: Mutated }: typeof import('./call-story.ts')): Promise<string> {
  for (let seed = 1; seed <= BUG_SEEDS; seed++) {
    const wrong = await Mutated.run(t, seed)
    if (wrong !== undefined) return wrong
  }
  return 'not found'
}
