/**
 * Risk: an event, a message or a role is added and some role silently does nothing about it. Each is planted in a copy
 * of the sources, which must not compile until `transitions.ts` (for a frontend: its step) has decided.
 */
// test-timeout-seconds: 120
import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../../temporary-folder.ts'

t.setTimeout(110_000)

const root = dirname(dirname(dirname(import.meta.dirname)))
const TABLE = 'transitions.ts'

interface Plant {
  what: string
  file: string
  replace: string
  by: string
  /** Where the compiler has to complain. */
  in: string
}

const EVENT = `\n  | { type: 'planted' }`
const PLANTS: Plant[] = [
  { what: 'an event of a copy', file: 'copy-port.ts', replace: 'type CopyEvent =', by: `$&${EVENT}`, in: TABLE },
  { what: 'an event of its store', file: 'copy-store.ts', replace: 'type StoreEvent =', by: `$&${EVENT}`, in: TABLE },
  { what: 'a message of a peer', file: 'messages.ts', replace: 'type PeerMessage =', by: `$&${EVENT}`, in: TABLE },
  {
    what: 'a message of a frontend',
    file: 'messages.ts',
    replace: 'type FrontendMessage =',
    by: `$&${EVENT}`,
    in: TABLE,
  },
  { what: 'a role', file: 'copy-state.ts', replace: 'const ROLES = [', by: `$&'planted', `, in: TABLE },
  { what: 'a cell that is not decided', file: TABLE, replace: `tick: ['ignored', `, by: 'tick: [', in: TABLE },
  {
    what: 'an event of a frontend',
    file: 'frontend-port.ts',
    replace: 'type FrontendEvent =',
    by: `$&${EVENT}`,
    in: 'frontend.ts',
  },
]

const folder = temporaryFolder(t)
const sources = join(folder, 'engine/replication')
cpSync(join(root, 'engine'), join(folder, 'engine'), { recursive: true })
cpSync(join(root, 'package.json'), join(folder, 'package.json'))
writeFileSync(
  join(folder, 'tsconfig.json'),
  JSON.stringify({
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { types: [] },
    include: [],
    files: ['transitions.ts', 'frontend.ts'].map((name) => join(sources, name)),
  }),
)

/** The files of replication that do not compile. */
function complaints(): string[] {
  const compiler = join(root, 'node_modules/.bin/tsc')
  const { stdout } = spawnSync(compiler, ['--noEmit', '--pretty', 'false', '-p', folder], { encoding: 'utf8' })
  return [...stdout.matchAll(/([a-z-]+\.ts)\(\d+,\d+\): error/g)].map(([, name]) => name!)
}

t.test('as they are they compile', (t) => {
  t.same(complaints(), [])
  t.end()
})

for (const plant of PLANTS) {
  t.test(plant.what, (t) => {
    const path = join(sources, plant.file)
    const text = readFileSync(path, 'utf8')
    t.equal(text.split(plant.replace).length, 2, 'its text is there once')
    writeFileSync(path, text.replace(plant.replace, plant.by))
    t.ok(complaints().includes(plant.in), `${plant.in} does not compile`)
    writeFileSync(path, text)
    t.end()
  })
}
