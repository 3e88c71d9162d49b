/** The audit log: JSON lines, so many predecessors, and a failure that is told, counted and mended. */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { AuditLog } from '../../dataplane/audit-log.ts'
import { temporaryFolder } from '../temporary-folder.ts'

type Told = Array<Record<string, unknown>>

function logOf(told: Told) {
  return { event: (level: string, message: string, fields: object) => void told.push({ level, message, ...fields }) }
}

const linesOf = (file: string): Told =>
  readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)

t.test('lines, and predecessors', async (t) => {
  const file = path.join(temporaryFolder(t), 'audit.log')
  const told: Told = []
  const audit = new AuditLog({ file, node: 'n1', log: logOf(told), rotateBytes: 1000, kept: 3 })
  for (let i = 0; i < 100; i++) audit.write({ i })
  await new Promise((resolve) => setTimeout(resolve, 50))
  audit.close()
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.notOk(existsSync(`${file}.4`))
  const kept = [`${file}.3`, `${file}.2`, `${file}.1`, file].flatMap((one) => existsSync(one) ? linesOf(one) : [])
  const last = Array.from({ length: kept.length }, (_, at) => 100 - kept.length + at)
  t.same(kept.map(({ i }) => i), last, 'the last ones, in order')
  t.match(kept[0], { time: /^\d{4}-.*Z$/, node: 'n1' })
  t.same([told, audit.failures], [[], 0])
})

t.test('what cannot be written is told, and later said to be missing', async (t) => {
  const folder = path.join(temporaryFolder(t), 'folder')
  const told: Told = []
  const audit = new AuditLog({ file: path.join(folder, 'audit.log'), node: 'n1', log: logOf(told) })
  audit.write({ rpc: 'VolumeService/Delete', stage: 'asked' })
  audit.write({ rpc: 'VolumeService/Delete', stage: 'ended' })
  t.equal(audit.failures, 2)
  const message = 'the audit log cannot be written'
  t.match(told[0], { level: 'error', message, reason: 'ENOENT', entry: /"stage":"asked"/ })
  mkdirSync(folder)
  audit.write({ rpc: 'VolumeService/Purge' })
  t.match(linesOf(path.join(folder, 'audit.log')), [{ stage: 'missing', entries: 2 }, { rpc: 'VolumeService/Purge' }])
  audit.close()
})

t.test('a full file system', { skip: !existsSync('/dev/full') && 'there is no /dev/full' }, async (t) => {
  const told: Told = []
  const audit = new AuditLog({ file: '/dev/full', node: 'n1', log: logOf(told) })
  audit.write({ rpc: 'VolumeService/Delete' })
  t.match(told, [{ reason: 'ENOSPC' }])
  audit.close()
})
