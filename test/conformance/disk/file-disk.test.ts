/** The disk suite on a real file, inline and through the thread pool, and system call errors that strace injects. */
import { execFileSync, spawnSync } from 'node:child_process'
import path from 'node:path'
import t from 'tap'
import { fileDiskUnderTest } from './real-disk.ts'
import { diskSuite } from './suite.ts'

const dir = t.testdir()
let count = 0
const newPath = () => path.join(dir, `disk-${count++}`)

diskSuite(t, 'file', (sizeBytes) => fileDiskUnderTest(newPath(), sizeBytes))
diskSuite(t, 'file, all writes in the thread pool, one call at a time', (sizeBytes) =>
  fileDiskUnderTest(newPath(), sizeBytes, { inlineBytesMax: 0, operationsMax: 1 }),
)

const straceMissing = spawnSync('strace', ['--version']).error !== undefined
const skip = straceMissing ? 'strace is not installed' : false
const child = path.join(import.meta.dirname, 'real-disk.ts')
const before = ['write true', 'sync true', 'read true']
const gone = ['write false', 'sync false', 'read false', 'readMedium false', 'tryRead false']

/** Outcomes of `outcomesAround` in a child whose system calls answer as `injections` say. */
function outcomesUnder(injections: string[], mode: 'inline' | 'pool'): { said: string[]; bytes: number[] } {
  const calls = [...new Set(injections.map((injection) => injection.split(':')[0]!))].join()
  const out = execFileSync(
    'strace',
    [
      '-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, '-P', path.join(dir, `disk-${count}`),
      ...injections.flatMap((injection) => ['-e', `inject=${injection}`]),
      process.execPath, child, newPath(), mode,
    ],
    // strace counts calls by thread: one pool thread makes the n-th call the n-th of all.
    { encoding: 'utf8', timeout: 60_000, env: { ...process.env, UV_THREADPOOL_SIZE: '1' } },
  )
  return JSON.parse(out) as { said: string[]; bytes: number[] }
}

t.test('EIO from fdatasync fails the disk for good, though a retry would succeed', { skip }, (t) => {
  const { said } = outcomesUnder(['fdatasync:error=EIO:when=2'], 'inline')
  t.same(said.slice(0, -1), [...before, 'write true', 'sync false', 'read false', ...gone])
  t.match(said.at(-1), /^failed once: fdatasync: EIO/)
  t.end()
})

t.test('EIO and ENOSPC from a write fail the disk for good', { skip }, (t) => {
  const inline = outcomesUnder(['pwritev:error=EIO:when=2'], 'inline').said
  t.same(inline.slice(0, -1), [...before, 'write false', 'sync false', 'read false', ...gone])
  t.match(inline.at(-1), /^failed once: write: EIO/)
  const pool = outcomesUnder(['pwritev:error=ENOSPC:when=2'], 'pool').said
  t.same(pool.slice(0, -1), [...before, 'write false', 'sync false', 'read false', ...gone])
  t.match(pool.at(-1), /^failed once: write: ENOSPC/)
  t.end()
})

t.test('EIO from a read fails that read alone', { skip }, (t) => {
  const { said } = outcomesUnder(['pread64:error=EIO:when=2'], 'inline')
  t.same(said.slice(0, -3), [...before, 'write true', 'sync true', 'read false', ...before])
  t.equal(said.at(-1), 'not failed')
  t.end()
})

t.test('an interrupted or short write goes on where it stopped', { skip }, (t) => {
  for (const mode of ['inline', 'pool'] as const) {
    const interrupted = outcomesUnder(['pwritev:error=EINTR:when=1'], mode)
    t.same(interrupted.said.slice(0, 3), before, mode)
    t.same(interrupted.bytes, [1, 2, 2, 3], mode)
    // The kernel does not run an injected call, so what it "wrote" (one block and a sector) stays zero.
    const short = outcomesUnder(['pwritev:retval=4608:when=1'], mode)
    t.same(short.said.slice(0, 3), before, mode)
    t.same(short.bytes, [0, 0, 2, 3], mode)
  }
  t.end()
})
