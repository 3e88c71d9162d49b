/**
 * What the runner knows of a test file before it runs it: where it is, which ring it belongs to, how long it may take.
 *
 * A file is `test/<area>/<thing>.test.ts`. Comment lines before its first import may say
 *   // test-timeout-seconds: 300     another deadline than 120 s
 *   // test-serial: why              nothing else may run beside it, mostly because it measures time
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'

export const TIMEOUT_SECONDS_DEFAULT = 120
/**
 * Rings that take minutes or need the machine: `npm run check` leaves them out, as it does a file whose header has
 * `// test-slow: WHY`; `npm test` has them.
 */
const SLOW_FOLDERS = [
  'test/e2e', 'test/crash', 'test/conformance', 'test/scenario', 'test/sim', 'test/model', 'test/control',
  'test/kill', 'test/nemesis', 'test/power',
]
/** Run by a command of their own, and by who names them. */
const NAMED_FOLDERS = ['test/power']

export interface TestFile {
  /** Relative to the root, with slashes. */
  path: string
  timeoutSeconds: number
  serial: boolean
  slow: boolean
}

export function findTestFiles(root: string): TestFile[] {
  const names = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => relative(root, join(root, 'test', name)).split(sep).join('/'))
    .sort()
    .map((path) => describeTestFile(path, readFileSync(join(root, path), 'utf8')))
}

export function describeTestFile(path: string, text: string): TestFile {
  const header = text.split(/^import /m, 1)[0] ?? ''
  const seconds = /^\/\/ test-timeout-seconds: (\d+)$/m.exec(header)?.[1]
  return {
    path,
    timeoutSeconds: seconds === undefined ? TIMEOUT_SECONDS_DEFAULT : Number(seconds),
    serial: /^\/\/ test-serial: \S/m.test(header),
    slow: inFolder(path, SLOW_FOLDERS) || /^\/\/ test-slow: \S/m.test(header),
  }
}

const inFolder = (path: string, folders: readonly string[]): boolean =>
  folders.some((folder) => path.startsWith(`${folder}/`))

/**
 * Every pattern is a piece of the path; a file is selected when one of them matches. No pattern selects all but those
 * that have a command of their own.
 */
export const isSelected = (path: string, patterns: readonly string[]): boolean =>
  patterns.length === 0
    ? !inFolder(path, NAMED_FOLDERS)
    : patterns.some((pattern) => path.includes(pattern.replace(/^\.\//, '')))
