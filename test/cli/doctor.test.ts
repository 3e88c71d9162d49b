/** The host checks: each verdict from a host that has it and one that lacks it, and that looking changes nothing. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  checkHostPrograms, checkIoFlusher, checkNbdModule, checkNodeVersion, checkOpenFiles,
} from '../../cli/doctor.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { holdfast } from './run-holdfast.ts'

t.test('verdicts', async (t) => {
  t.match(checkNodeVersion('v24.1.0'), { state: 'ok' })
  t.match(checkNodeVersion('v20.19.0'), { state: 'fail', next: /Node 24/ })
  const limits = (soft: string) => `Limit  Soft  Hard  Units\nMax open files            ${soft}     524288   files\n`
  t.match(['1024', '4096', 'unlimited'].map((soft) => checkOpenFiles(limits(soft)).state), ['warn', 'ok', 'ok'])
  t.match(checkOpenFiles(''), { state: 'warn', detail: /unknown/ })
  t.match(checkIoFlusher(undefined, 'CapEff:\t000001ffffffffff\n'), { state: 'ok' })
  t.match(checkIoFlusher(undefined, 'CapEff:\t00000000feffffff\n'), { state: 'warn', next: /CAP_SYS_RESOURCE/ })
  t.match(checkIoFlusher(undefined, ''), { state: 'warn' })
})

t.test('programs of the host', async (t) => {
  t.match(checkHostPrograms(() => '/sbin/x'), { state: 'ok' })
  const lacking = checkHostPrograms((program) => (program.includes('xfs') ? undefined : '/sbin/x'))
  t.match(lacking, { state: 'warn', detail: /not found: mkfs\.xfs, xfs_growfs;/, next: 'apt-get install xfsprogs' })
  t.match(checkHostPrograms((program) => (program === 'nbdfuse' ? undefined : '/x')), { state: 'ok' })
})

t.test('the nbd module: loaded, loadable, built in, absent', async (t) => {
  const root = temporaryFolder(t)
  t.match(checkNbdModule('6.1', root), { state: 'warn', detail: /no nbd module/ })
  mkdirSync(path.join(root, 'lib/modules/6.1'), { recursive: true })
  writeFileSync(path.join(root, 'lib/modules/6.1/modules.builtin'), 'kernel/drivers/block/loop.ko\n')
  t.match(checkNbdModule('6.1', root), { state: 'warn' })
  writeFileSync(path.join(root, 'lib/modules/6.1/modules.dep'), 'kernel/drivers/block/nbd.ko.xz:\n')
  t.match(checkNbdModule('6.1', root), { state: 'ok', detail: /can be loaded/ })
  mkdirSync(path.join(root, 'sys/module/nbd'), { recursive: true })
  t.match(checkNbdModule('6.1', root), { state: 'ok', detail: /is loaded/ })
})

t.test('on this host', async (t) => {
  const cwd = temporaryFolder(t)
  const { code, stdout } = await holdfast(['doctor', '-o', 'json'], { cwd })
  t.equal(code, 0)
  const { checks } = JSON.parse(stdout) as { checks: Array<{ name: string; state: string }> }
  t.match(checks.find(({ name }) => name === 'checksum'), { state: 'ok' })
  t.same(readdirSync(cwd), [])
  const text = await holdfast(['doctor', '--endpoint', '/nope'], { cwd })
  t.match(text, { code: 1, stdout: /^fail +daemon +no daemon answers at \/nope \(from --endpoint\)/m })
})
