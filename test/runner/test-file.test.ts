/**
 * What the header of a test file may ask for, and which files a pattern selects.
 */
import t from 'tap'
import { pathWithSystemFolders } from './debian-packages.ts'
import { describeTestFile, findTestFiles, isSelected, TIMEOUT_SECONDS_DEFAULT } from './test-file.ts'

t.test('defaults', (t) => {
  const file = describeTestFile('test/engine/a.test.ts', 'import t from "tap"\n// test-timeout-seconds: 9\n')
  t.same(file, { path: 'test/engine/a.test.ts', timeoutSeconds: TIMEOUT_SECONDS_DEFAULT, serial: false, slow: false })
  t.end()
})

t.test('a header may give another deadline and ask to run alone', (t) => {
  const text = '/** What. */\n// test-timeout-seconds: 300\n// test-serial: measures time\nimport t from "tap"\n'
  t.match(describeTestFile('test/a.test.ts', text), { timeoutSeconds: 300, serial: true })
  t.match(describeTestFile('test/e2e/a.test.ts', ''), { serial: false, slow: true })
  t.match(describeTestFile('test/a.test.ts', '// test-slow: starts nodes\nimport t from "tap"\n'), { slow: true })
  t.end()
})

t.test('patterns are pieces of the path', (t) => {
  t.ok(isSelected('test/engine/log/a.test.ts', []))
  t.ok(isSelected('test/engine/log/a.test.ts', ['nbd', 'engine/log']))
  t.ok(isSelected('test/engine/log/a.test.ts', ['./test/engine/log/a.test.ts']))
  t.notOk(isSelected('test/engine/log/a.test.ts', ['nbd']))
  t.notOk(isSelected('test/power/a.test.ts', []), 'it has a command of its own')
  t.ok(isSelected('test/power/a.test.ts', ['test/power']))
  t.end()
})

t.test('this file is found', (t) => {
  const paths = findTestFiles(new URL('../..', import.meta.url).pathname).map(({ path }) => path)
  t.ok(paths.includes('test/runner/test-file.test.ts'))
  t.same(paths, [...paths].sort())
  t.end()
})

t.test('folders of administrators are added to the path once', (t) => {
  t.equal(pathWithSystemFolders('/bin:/usr/sbin'), '/bin:/usr/sbin:/usr/local/sbin:/sbin')
  t.equal(pathWithSystemFolders(pathWithSystemFolders('/bin')), pathWithSystemFolders('/bin'))
  t.end()
})
