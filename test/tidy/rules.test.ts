/**
 * Each tidy rule finds what it forbids, and leaves alone what only looks like it.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RULES } from './all-rules.ts'
import { codeOnly, withoutComments } from './code-text.ts'
import { isAccepted, unacceptableLicences, unpinned } from './licences.ts'
import type { Tree } from './rule.ts'
import { copyProblems, frontendProblems, type Decisions } from './transition-rules.ts'

/** As much of a tree as the rules look at. */
const FILES = { 'engine/errors.ts': '', 'engine/log/FORMAT.md': '', 'engine/log/record.ts': '' }

function treeOf(files: Record<string, string>): Tree {
  const paths = Object.keys(files)
  return {
    exists: (path) => paths.some((one) => one === path || one.startsWith(`${path}/`)),
    files: (folder) => paths.filter((one) => one.startsWith(`${folder}/`)),
    read: (path) => files[path]!,
  }
}

/** So much of a planted text is told. */
const PLANT_CHARS_MAX = 400

interface Plant {
  path: string
  text: string
  /** What else is in the tree. */
  files?: Record<string, string>
}

/** A spec with one invariant and one rule on leases, as it should be, but for what is changed. */
function spec(change: { text?: string; code?: string; checker?: string; files?: Record<string, string> }): Plant {
  const { text = '| I1 | a | a.ts | one |\nL1. b' } = change
  const { code = `assert(x, 'I1: a') // L1`, checker = '/** I1: a. */' } = change
  const files = { 'engine/replication/a.ts': code, 'test/sim/cluster/checker/one.ts': checker, ...change.files }
  return { path: 'engine/replication/SPEC.md', text, files }
}

/** The spec and the frontend as they are, but for what is changed. */
function events(change: (spec: string) => string, changeCode = (code: string): string => code): Plant {
  const [path, frontend] = ['engine/replication/SPEC.md', 'engine/replication/frontend.ts']
  const read = (name: string): string => readFileSync(join(import.meta.dirname, '../..', name), 'utf8')
  return { path, text: change(read(path)), files: { [frontend]: changeCode(read(frontend)) } }
}

/** A word that may not stand in this file itself. */
const word = (...pieces: string[]): string => pieces.join('')

const PLANTS: Record<string, { bad: Plant[]; good: Plant[] }> = {
  'imports follow the layout': {
    bad: [
      { path: 'engine/a.ts', text: `import { b } from '../dataplane/b.ts'` },
      { path: 'engine/a.ts', text: `import { readFileSync } from 'node:fs'` },
      { path: 'engine/a.ts', text: `import koffi from 'koffi'` },
      { path: 'engine/log/a.ts', text: `export { b } from '../../test/b.ts'` },
      { path: 'dataplane/nbd/a.ts', text: `import type { B } from '../../csi/b.ts'` },
      { path: 'csi/a.ts', text: `const b = await import('../dataplane/b.ts')` },
      { path: 'cluster/a.ts', text: `import '../cli/main.ts'` },
      { path: 'cli/a.ts', text: `import {\n  b,\n} from '../test/b.ts'` },
    ],
    good: [
      { path: 'engine/log/a.ts', text: `import { b } from '../b.ts' // not from '../../csi/b.ts'` },
      { path: 'dataplane/a.ts', text: `import { readFileSync } from 'node:fs'\nimport { b } from '../engine/b.ts'` },
      { path: 'cli/a.ts', text: `import { b } from '../dataplane/b.ts'` },
      { path: 'test/a.ts', text: `import { b } from '../csi/b.ts'` },
    ],
  },
  'engine/ is pure': {
    bad: [
      { path: 'engine/a.ts', text: 'const now = Date.now()' },
      { path: 'engine/a.ts', text: 'const pick = Math.random()' },
      { path: 'engine/a.ts', text: 'setTimeout(run, 5)' },
      { path: 'engine/a.ts', text: 'setImmediate(run)' },
      { path: 'engine/a.ts', text: 'process.exit(1)' },
      { path: 'engine/a.ts', text: 'console.log(1)' },
      { path: 'engine/a.ts', text: 'export async function f() {}' },
      { path: 'engine/a.ts', text: 'const text = `${await read()}`' },
      { path: 'engine/a.ts', text: 'const p: Promise<void> = q' },
      { path: 'engine/a.ts', text: 'const b = Buffer.alloc(1)' },
    ],
    good: [
      { path: 'engine/a.ts', text: '/** Never awaits; Date.now() is a port. */\nconst s = "process.exit()"' },
      { path: 'engine/a.ts', text: 'const t = `no async here, ${size} Promise`' },
      { path: 'engine/a.ts', text: 'batch.process(1)\nthis.#process(1)\nconst updated = 1' },
      { path: 'dataplane/a.ts', text: 'const now = Date.now()' },
    ],
  },
  'no bitwise operator on an LBA, a seq or a batch number': {
    bad: [
      { path: 'engine/a.ts', text: 'const page = lba >> 8' },
      { path: 'engine/a.ts', text: 'const low = entry.seq & 0xff' },
      { path: 'engine/a.ts', text: 'const x = firstLba | 0' },
      { path: 'engine/a.ts', text: 'const x = 1 << batch' },
      { path: 'engine/a.ts', text: 'const x = mask & record.lba' },
      { path: 'engine/a.ts', text: 'const x = ~~commitSeq' },
      { path: 'engine/a.ts', text: 'const x = lba >>> 0' },
    ],
    good: [
      { path: 'engine/a.ts', text: 'if (lba && seq || batch) x = flags & 1' },
      { path: 'engine/a.ts', text: 'const x = flags | batch.length' },
      { path: 'engine/a.ts', text: 'const x: number | undefined = lba < seq ? lba : seq // lba >> 8' },
    ],
  },
  'files named in documents exist': {
    bad: [
      { path: 'README.md', text: 'see `engine/volume.ts`' },
      { path: 'README.md', text: 'see `missing.md`' },
      { path: 'README.md', text: 'see `engine/nothing`' },
      { path: 'engine/log/FORMAT.md', text: 'see `superblock.ts`' },
      { path: 'README.md', text: 'see [this](docs/gone.md)' },
      { path: 'README.md', text: 'see `engine/{errors,gone}.ts`' },
    ],
    good: [
      { path: 'README.md', text: 'see `engine/errors.ts`, `engine/log/` and `engine/log/*.ts`' },
      { path: 'engine/log/FORMAT.md', text: 'see `record.ts`' },
      { path: 'README.md', text: '```\nsee `engine/gone.ts`\n```\n`KiB/s`, `node_modules/a.ts`, `a b.ts`' },
      { path: 'README.md', text: '[a](engine/errors.ts), [b](https://example.org/x.md), [c](#below)' },
    ],
  },
  'no keys and no tokens of others': {
    bad: [
      { path: 'docs/a.md', text: word('-----BEGIN EC PRIVATE', ` KEY-----\n${'A'.repeat(64)}\n`) },
      { path: 'charts/a.yaml', text: word('key: AKIA', 'ABCDEFGHIJKLMNOP') },
      { path: 'test/a.ts', text: word('gh', 'p_', 'a'.repeat(36)) },
    ],
    good: [
      { path: 'cluster/a.ts', text: word('text.includes("-----BEGIN PRIVATE', ' KEY-----")') },
      { path: 'docs/a.md', text: 'a token of 36 characters, as gh_ or npm_ begin' },
    ],
  },
  'the numbers of the replication spec are kept': {
    bad: [
      spec({ code: '/** I1 is kept, L1. */' }),
      spec({ code: `assert(x, 'I1: a') // L1\nassert(y, 'I2: b')` }),
      spec({ checker: '/** Nothing. */\n// I1' }),
      spec({ checker: '/** I1-I2: a. */' }),
      spec({ text: '| I1 | a | a.ts | one, two |\nL1. b' }),
      spec({ text: '| I1 | a | a.ts, b.ts | one |\nL1. b' }),
      spec({ text: '| I1 | a | a.ts | - |\nL1. b' }),
      spec({ text: '| I1 | a | a.ts | one |\nL1. b\nL2. c' }),
      spec({ code: `assert(x, 'I1: a') // L1, L7` }),
      spec({ files: { 'engine/replication/b.ts': `assert(x, 'I1: a')` } }),
      spec({ files: { 'engine/control/b.ts': `assert(x, 'I1: a')` } }),
      spec({ text: '| I1 | a | - (why) | one |\nL1. b' }),
      spec({ text: '| I1 | a | - | one |\nL1. b', code: '// L1' }),
      spec({ text: '| I1 | a | a.ts | (test/a.test.ts) |\nL1. b', checker: '/** */' }),
      spec({ text: '| I1 | a | a.ts | (test/a.ts) |\nL1. b', checker: '/** */', files: { 'test/a.ts': '/** I11 */' } }),
      spec({ text: '| I1 | a | a.ts, control/b.ts | one |\nL1. b', files: { 'engine/control/b.ts': '// I1: a' } }),
    ],
    good: [
      spec({}),
      spec({ text: '| I1 | a | - (why) | one |\nL1. b', code: '// L1', checker: '/**\n * a (I1): b\n */\n// I9' }),
      spec({ text: '| I1 | a | a.ts | (test/a.ts) |\nL1. b', checker: '/** */', files: { 'test/a.ts': '/** I1 */' } }),
      spec({
        text: '| I1 | a | a.ts, control/b.ts | one |\nL1. b',
        files: { 'engine/control/b.ts': `assert(x, 'I1: a')` },
      }),
    ],
  },
  'the tables of events in the replication spec are those of the code': {
    bad: [
      events((text) => text.replace('| event | who', '| happening | who')),
      events((text) => text.replace(/^\| tick \| node.*\n/m, '')),
      events((text) => text.replace(/^(\| tick \| node.*\n)/m, '$1$1')),
      events((text) => text.replace(/^\| tick \| node/m, '| tock | node')),
      events((text) => text.replace(/^(\| append .*) refused \|$/m, '$1 ignored |')),
      events((text) => text.replace(/^(\| stored-by-peer .*) ignored \| handled \|/m, '$1 handled | handled |')),
      events((text) => text.replace('| starting, out, ', '| starting, ')),
      events((text) => text.replace('| starting, out, ', '| starting, away, out, ')),
      events((text) => text.replace(/^\| resized .*\n/m, '')),
      events((text) => text.replace(/^\| resized /m, '| shrunk ')),
      events((text) => text, (code) => code.replace("case 'tick':", "case 'tick':\n    case 'tock':")),
    ],
    good: [events((text) => text)],
  },
  'file names are kebab-case': {
    bad: [{ path: 'engine/extentMap.ts', text: '' }, { path: 'engine/Log/record.ts', text: '' }],
    good: [{ path: 'test/engine/extent-map.test.ts', text: '' }, { path: 'README.md', text: '' }],
  },
  'no drawers and no barrels': {
    bad: [
      { path: 'engine/utils.ts', text: '' },
      { path: 'engine/helpers/a.ts', text: '' },
      { path: 'csi/types.ts', text: '' },
      { path: 'engine/index.ts', text: `/** All. */\nexport * from './a.ts'\nexport { b } from './b.ts'\n` },
    ],
    good: [{ path: 'test/sim/index.ts', text: `import { a } from './a.ts'\nexport class Index {}` }],
  },
  'every file says first what it is': {
    bad: [{ path: 'engine/a.ts', text: `import a from 'a'` }, { path: 'engine/a.ts', text: '' }],
    good: [
      { path: 'engine/a.ts', text: '/**\n * What it is.\n */' },
      { path: 'engine/a.ts', text: '/** What it is. */' },
      { path: 'bin/a.mjs', text: '#!/usr/bin/env node\n// What it is.' },
    ],
  },
  'lines of code have at most 120 columns': {
    bad: [{ path: 'engine/a.ts', text: `\n${'x'.repeat(121)}` }],
    good: [{ path: 'engine/a.ts', text: 'x'.repeat(120) }, { path: 'README.md', text: 'x'.repeat(300) }],
  },
  'nothing of the machine it was written on': {
    bad: [
      { path: 'README.md', text: word('see /wo', 'rk/main') },
      { path: 'cli/a.ts', text: word(`'/ro`, `ot/x'`) },
      { path: 'cli/a.ts', text: word(`"/ho`, `me/me/x"`) },
      { path: 'package-lock.json', text: word('https://registry', '.npm', 'js.org/tap') },
      { path: '.npmrc', text: word('py', 'pi.org') },
    ],
    good: [
      { path: 'engine/a.ts', text: word(`import '../ro`, `ot/x.ts'`) },
      { path: 'package-lock.json', text: '"url": "https://example.org/sponsors"' },
      { path: 'README.md', text: word('engine/wo', 'rk/x') },
    ],
  },
  'no unfinished work': {
    bad: [
      { path: 'engine/a.ts', text: word('// TO', 'DO: later') },
      { path: 'README.md', text: word('FIX', 'ME') },
      { path: 'ARCHITECTURE.md', text: word('a\n<<<', '<<<< HEAD\nb') },
      { path: 'ARCHITECTURE.md', text: word('b\n>>>', '>>>> main') },
    ],
    good: [{ path: 'engine/a.ts', text: '// to do: nothing' }, { path: 'README.md', text: 'Title\n=======\n' }],
  },
  'no test is switched off without a printed reason': {
    bad: [
      { path: 'test/a.test.ts', text: `t.test('x', { skip: true }, run)` },
      { path: 'test/a.test.ts', text: `t.only('x', run)` },
      { path: 'test/a.test.ts', text: `t.test('x', { only: true }, run)` },
      { path: 'test/a.test.ts', text: `t.skip('x')` },
      { path: 'test/a.test.ts', text: `t.test('x', { todo: 'later' }, run)` },
    ],
    good: [
      { path: 'test/a.test.ts', text: `t.test('x', { skip: 'no fio here' }, run)` },
      { path: 'test/a.test.ts', text: `t.test('x', { skip: reason ?? false }, run) // never { skip: true }` },
    ],
  },
}

for (const rule of RULES) {
  t.test(rule.name, (t) => {
    const plants = PLANTS[rule.name] ?? { bad: [], good: [] }
    t.not(plants.bad.length, 0, 'a violation is planted for this rule')
    const check = (plant: Plant) => rule.check(plant, treeOf({ ...FILES, ...plant.files }))
    const told = ({ path, text }: Plant): string => `${path}: ${text.slice(0, PLANT_CHARS_MAX)}`
    for (const plant of plants.bad) t.not(check(plant).length, 0, `found: ${told(plant)}`)
    for (const plant of plants.good) t.same(check(plant), [], `left alone: ${told(plant)}`)
    t.end()
  })
}

t.test('a table of events is told from what the code decides', (t) => {
  const head = '| event | who says what | before it is recovered | a, b |\n|---|---|---|---|\n'
  const text = `${head}| x | - | ignored | handled |\n| y | - | ignored | refused |\n`
  const both = { x: 'handled', y: 'refused' }
  const ofCode: Decisions = { 'before it is recovered': { x: 'ignored', y: 'ignored' }, a: both, b: both }
  t.same(copyProblems(text, ofCode), [])
  const found = copyProblems(text, { ...ofCode, b: { ...both, y: 'ignored' } })
  t.same(found, [{ line: 4, problem: 'y is refused here, and ignored in the code (b)' }])
  t.match(copyProblems(text, { ...ofCode, c: both }), [{ problem: 'c is in 0 columns' }])
  const more = { 'before it is recovered': { x: 'ignored', y: 'ignored', z: 'ignored' } }
  t.match(copyProblems(text, { ...ofCode, ...more }), [{ problem: 'z has 0 rows' }])
  t.match(frontendProblems('nothing', ''), [{ line: 1 }])
  t.end()
})

t.test('the line of a violation is told', (t) => {
  const [pure] = RULES.filter(({ name }) => name === 'engine/ is pure')
  const found = pure?.check({ path: 'engine/a.ts', text: '/**\n * Date\n */\nlet x = Date' }, treeOf(FILES))
  t.same(found?.map(({ line }) => line), [4])
  t.end()
})

t.test('only code is left, in place', (t) => {
  const cases: Array<[text: string, code: string]> = [
    [`a // b`, 'a     '],
    [`a /* b\nc */ d`, 'a     \n     d'],
    [`f('x\\'y', "z")`, `f('    ', " ")`],
    ['`a${b + `c${d}`}e` + f', '` ${b + ` ${d}`} ` + f'],
    [`x = /'[/"]/g + 1 / 2 / 3`, `x = /     /g + 1 / 2 / 3`],
    ['`${ {a: 1}.a }` // c', '`${ {a: 1}.a }`     '],
  ]
  for (const [text, code] of cases) t.equal(codeOnly(text), code, text)
  t.equal(withoutComments(`f('// x') // y`), `f('// x')     `)
  t.end()
})

t.test('licences', (t) => {
  for (const good of ['MIT', '(MIT OR GPL-3.0)', 'Apache-2.0 AND BSD-3-Clause']) t.ok(isAccepted(good), good)
  for (const bad of ['GPL-3.0', 'MIT AND GPL-2.0', 'none', 'SEE LICENSE IN x']) t.notOk(isAccepted(bad), bad)
  const packages = {
    '': {},
    'node_modules/a': { license: 'MIT' },
    'node_modules/b': { dev: true },
    'node_modules/c': {},
  }
  t.same(unacceptableLicences(packages, () => undefined), ['node_modules/c: none'])
  t.same(unacceptableLicences(packages, () => 'GPL-3.0'), ['node_modules/a: GPL-3.0', 'node_modules/c: GPL-3.0'])
  t.same(unpinned({ a: '1.2.3', b: '^1.2.3', c: 'latest', d: '1.2', e: '>=1.2.3' }), ['b', 'c', 'd', 'e'])
  t.end()
})
