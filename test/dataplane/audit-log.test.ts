/** The audit log: JSON lines, so many predecessors, and a failure that is told, counted and mended. */
import fs, {
  existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
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

function replaceInFs(t: Test, name: 'renameSync' | 'fdatasync', by: (...words: never[]) => void): void {
  const real = fs[name]
  Object.assign(fs, { [name]: by })
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(fs, { [name]: real })
    syncBuiltinESMExports()
  })
}

t.test('a file that somebody moves or removes takes no predecessor with it', async (t) => {
  const file = path.join(temporaryFolder(t), 'audit.log')
  const told: Told = []
  const audit = new AuditLog({ file, node: 'n1', log: logOf(told), rotateBytes: 1000, kept: 3 })
  let i = 0
  const until = (isEnough: () => boolean): void => {
    for (const end = i + 1000; !isEnough() && i < end; i++) audit.write({ i })
  }
  until(() => existsSync(`${file}.3`))
  audit.write({ i: i++ })
  const before = [1, 2, 3].map((number) => readFileSync(`${file}.${number}`, 'utf8'))
  renameSync(file, `${file}-moved`)
  until(() => existsSync(file))
  t.same([1, 2, 3].map((number) => readFileSync(`${file}.${number}`, 'utf8')), before)
  t.ok(statSync(`${file}-moved`).size < 1200, 'what was moved is not written to for ever')
  rmSync(file)
  until(() => existsSync(file))
  t.same([1, 2, 3].map((number) => readFileSync(`${file}.${number}`, 'utf8')), before)
  audit.close()
  t.same([told, audit.failures], [[], 0])
})

t.test('a rotation that fails takes none either, and is told', async (t) => {
  const file = path.join(temporaryFolder(t), 'audit.log')
  const kept = [1, 2, 3].map((number) => `${file}.${number}`)
  for (const one of kept) writeFileSync(one, one)
  // As of a file with the attribute `a`.
  const { renameSync } = fs
  replaceInFs(t, 'renameSync', (from: string, to: string) => {
    if (from === file) throw Object.assign(new Error('not permitted'), { code: 'EPERM' })
    renameSync(from, to)
  })
  const told: Told = []
  const audit = new AuditLog({ file, node: 'n1', log: logOf(told), rotateBytes: 1000, kept: 3 })
  for (let i = 0; i < 25; i++) audit.write({ i })
  t.same(kept.map((one) => readFileSync(one, 'utf8')), kept)
  t.same(linesOf(file).map(({ i }) => i), Array.from({ length: 25 }, (_, at) => at), 'no line is missing')
  t.match(told, [{ reason: 'EPERM' }], 'once for as much as a file has')
  t.equal(audit.failures, told.length)
  audit.close()
})

t.test('a rotation that did not come to its end is ended by the next', async (t) => {
  const file = path.join(temporaryFolder(t), 'audit.log')
  for (const number of [0, 2]) writeFileSync(`${file}.${number}`, String(number))
  const audit = new AuditLog({ file, node: 'n1', log: logOf([]), rotateBytes: 1, kept: 3 })
  audit.write({ i: 1 })
  audit.close()
  t.match(linesOf(`${file}.1`), [{ i: 1 }])
  t.same([2, 3].map((number) => readFileSync(`${file}.${number}`, 'utf8')), ['0', '2'])
  t.notOk(existsSync(`${file}.0`))
})

t.test('the lines that fill a file are synced, and it is closed', async (t) => {
  const file = path.join(temporaryFolder(t), 'audit.log')
  const isOurs = (fd: number | string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(file)
    } catch {
      return false
    }
  }
  const audit = new AuditLog({ file, node: 'n1', log: logOf([]), rotateBytes: 1, kept: 3 })
  const synced: number[] = []
  const { fdatasync } = fs
  replaceInFs(t, 'fdatasync', (fd: number, done: (error: null) => void) => fdatasync(fd, () => {
    if (isOurs(fd)) synced.push(fd)
    done(null)
  }))
  for (let i = 0; i < 3; i++) audit.write({ i })
  while (readdirSync('/proc/self/fd').some(isOurs)) await new Promise(setImmediate)
  t.equal(synced.length, 3)
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
