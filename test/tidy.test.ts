/**
 * The tree keeps its promises: each tidy rule over every file, and licences of what is shipped. That each rule finds a
 * violation is tested in `tidy/rules.test.ts`.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { LICENCES_FILE, licencesPage } from '../bin/licences.ts'
import { lockedPackages } from '../bin/lock-file.ts'
import { RULES } from './tidy/all-rules.ts'
import { unacceptableLicences, unpinned } from './tidy/licences.ts'
import type { LockEntry } from './tidy/licences.ts'
import type { Source, Tree } from './tidy/rule.ts'

const root = dirname(import.meta.dirname)
const tree: Tree = {
  exists: (path) => existsSync(join(root, path)),
  files: (folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`),
  read: (path) => readFileSync(join(root, path), 'utf8'),
}

/** What git has, and what it would take: a violation is seen before it is committed. */
const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root })
const sources: Source[] = listed.toString().split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)) && statSync(join(root, path)).isFile())
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))

t.ok(sources.some(({ path }) => path === 'test/tidy.test.ts'), 'the list of files holds this one')

for (const rule of RULES) {
  t.test(rule.name, (t) => {
    for (const source of sources) {
      for (const { line, problem } of rule.check(source, tree)) {
        t.fail(`${source.path}:${line}: ${problem}`, { at: null, stack: '' })
      }
    }
    t.pass(`${sources.length} files looked at`)
    t.end()
  })
}

t.test('licences of production dependencies', (t) => {
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const lock = JSON.parse(text) as { packages: Record<string, LockEntry> }
  const licenceOf = (path: string): string | undefined => {
    const file = join(root, path, 'package.json')
    if (!existsSync(file)) return undefined
    const { license } = JSON.parse(readFileSync(file, 'utf8')) as { license?: string | { type?: string } }
    return typeof license === 'object' ? license.type : license
  }
  t.same(unacceptableLicences(lock.packages, licenceOf), [])
  t.end()
})

t.test('every dependency is pinned, has a checksum, and stands in the list of licences', (t) => {
  const read = (file: string): Record<string, Record<string, string>> =>
    JSON.parse(readFileSync(join(root, file), 'utf8')) as Record<string, Record<string, string>>
  const { dependencies, devDependencies, overrides } = read('package.json')
  t.same(unpinned({ ...dependencies, ...devDependencies, ...overrides }), [])
  const packages = lockedPackages()
  t.same(packages.filter(({ integrity }) => !integrity.startsWith('sha512-')).map(({ name }) => name), [])
  const isCurrent = readFileSync(LICENCES_FILE, 'utf8') === licencesPage(packages)
  t.ok(isCurrent, 'docs/licences.md is current: `npm run licences` makes it anew')
  t.end()
})

t.test('the lock file names no host to fetch from', (t) => {
  t.notMatch(readFileSync(join(root, 'package-lock.json'), 'utf8'), /"resolved"/)
  t.end()
})
