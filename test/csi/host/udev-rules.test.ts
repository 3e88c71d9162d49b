/** Risk: udev of a host probes our devices, or is told so where there is none, or anew with each start. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { tellUdev, UDEV_RULES } from '../../../csi/host/udev-rules.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

t.test('a host without udevd is left as it is', (t) => {
  const folder = temporaryFolder(t)
  t.equal(tellUdev(folder), 'absent')
  t.throws(() => statSync(path.join(folder, 'rules.d')), { code: 'ENOENT' })
  t.end()
})

t.test('udevd is told once, and again when somebody changed it', (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(path.join(folder, 'control'), '')
  const file = path.join(folder, 'rules.d', '59-holdfast.rules')
  t.equal(tellUdev(folder), 'told')
  t.equal(readFileSync(file, 'utf8'), UDEV_RULES)
  t.equal(statSync(file).mode & 0o777, 0o644)
  const { ino } = statSync(file)
  t.equal(tellUdev(folder), 'told')
  t.equal(statSync(file).ino, ino, 'what says it already is not written again')
  writeFileSync(file, '# of before\n')
  t.equal(tellUdev(folder), 'told')
  t.equal(readFileSync(file, 'utf8'), UDEV_RULES)
  t.end()
})

t.test('each line is a comment, or a rule with nothing but matches and assignments', (t) => {
  for (const line of UDEV_RULES.trimEnd().split('\n')) {
    const isRule = line.split(', ').every((part) => /^[A-Z]+(\{\w+\})?(==|=|:=)"[^"]*"$/.test(part))
    t.ok(line.startsWith('#') || isRule, line)
  }
  t.match(UDEV_RULES, /ATTR\{backend\}=="holdfast-\*"/, 'devices of others are not meant')
  t.end()
})

t.test('a folder that takes nothing is told, and ends nobody', (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(path.join(folder, 'control'), '')
  writeFileSync(path.join(folder, 'rules.d'), 'a file')
  t.match(tellUdev(folder), { reason: /^E/ })
  t.end()
})
