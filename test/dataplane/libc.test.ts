/** Each binding against the real kernel: results are numbers, failures are negative errnos with a name. */
import fs from 'node:fs'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import * as shared from '../../cluster/libc.ts'
import * as own from '../../dataplane/libc.ts'

const libc = { ...own, ...shared }

const root = new URL('../..', import.meta.url).href.replace(/\/$/, '')
const dir = t.testdir({ file: '' })
const file = path.join(dir, 'file')

t.test('dup gives a second descriptor of the same file, which outlives the first', (t) => {
  const first = fs.openSync(file, 'r+')
  fs.writeSync(first, 'abc')
  const second = libc.dup(first)
  t.ok(second > 2 && second !== first)
  libc.closeFd(first)
  t.equal(fs.fstatSync(second).size, 3)
  const flags = fs.readFileSync(`/proc/self/fdinfo/${second}`, 'utf8').match(/flags:\s+(\d+)/)
  t.equal(parseInt(flags![1]!, 8) & 0o2000000, 0o2000000, 'children do not inherit it')
  libc.closeFd(second)
  t.equal(libc.errnoName(-libc.dup(second)), 'EBADF')
  t.throws(() => libc.closeFd(second), /not open/)
  t.end()
})

t.test('code that was used stays in memory', async (t) => {
  const bytes = libc.lockCode()
  if (bytes < 0) return void t.match(libc.errnoName(-bytes), /^(EPERM|ENOMEM)$/, 'not allowed here')
  t.ok(bytes > 16 * 2 ** 20, `${bytes}: the program is more than that`)
  const program = fs.readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .filter((one) => / r-xp .*\/node$/m.test(one))
  t.ok(program.length > 0 && program.every((one) => /^VmFlags:.* lo /m.test(one)))
  const locked = Number(/^VmLck:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]) * 1024
  t.ok(locked > 0 && locked <= bytes, 'and nothing else')
})

t.test('the lock belongs to the open file description', (t) => {
  const a = fs.openSync(file, 'r+')
  const b = fs.openSync(file, 'r+')
  t.equal(libc.lockExclusive(a), 0)
  t.equal(libc.errnoName(-libc.lockExclusive(b)), 'EAGAIN')
  const sharer = libc.dup(a)
  libc.closeFd(a)
  t.equal(libc.lockExclusive(b), -libc.EAGAIN, 'the duplicate still holds it')
  libc.closeFd(sharer)
  t.equal(libc.lockExclusive(b), 0)
  libc.closeFd(b)
  t.end()
})

t.test('preallocate grows the file with space behind it', (t) => {
  const fd = fs.openSync(path.join(dir, 'grown'), 'wx+')
  t.equal(libc.preallocate(fd, 1 << 20), 0)
  const stat = fs.fstatSync(fd)
  t.equal(stat.size, 1 << 20)
  t.ok(stat.blocks * 512 >= 1 << 20)
  t.ok(libc.preallocate(fd, -1) < 0)
  t.equal(libc.errnoName(-libc.blockDeviceBytes(fd)), 'ENOTTY')
  fs.closeSync(fd)
  t.end()
})

t.test('pwritev writes the rest of the buffers, and readCached finds it in memory', (t) => {
  const fd = fs.openSync(path.join(dir, 'vector'), 'w+')
  const slab = new Uint8Array(16384).map((_, i) => i * 7)
  const buffers = [slab.subarray(0, 4096), slab.subarray(8192, 12288), slab.subarray(4096, 8192)]
  t.equal(libc.pwritev(fd, 4096, buffers, 1, 100), 4096 - 100 + 4096)
  const into = new Uint8Array(4096 - 100)
  t.equal(libc.readCached(fd, 4096, into), into.length)
  t.same(into, slab.subarray(8292, 12288))
  t.equal(libc.readCached(fd, 1 << 20, into), 0, 'beyond the end: a short read')
  const many = Array.from({ length: libc.IOVEC_MAX + 5 }, (_, i) => slab.subarray(i, i + 1))
  t.equal(libc.pwritev(fd, 0, many, 0, 0), libc.IOVEC_MAX, 'the rest is for the next call')
  t.equal(libc.errnoName(-libc.pwritev(-1, 0, buffers, 0, 0)), 'EBADF')
  fs.closeSync(fd)
  t.end()
})

t.test('a send buffer that was made larger takes more', (t) => {
  /** Bytes that fit before somebody reads. */
  const taken = (bufferBytes: number | undefined): number => {
    const [fd, other] = libc.socketPair()!
    if (bufferBytes !== undefined) t.ok(libc.setSendBuffer(fd, bufferBytes) >= 0)
    const piece = new Uint8Array(16 * 1024)
    let bytes = 0
    try {
      for (;;) bytes += fs.writeSync(fd, piece)
    } catch (error) {
      t.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
    }
    libc.closeFd(fd)
    libc.closeFd(other)
    return bytes
  }
  t.ok(taken(1024 * 1024) > taken(undefined))
  t.equal(libc.errnoName(-libc.setSendBuffer(-1, 4096)), 'EBADF')
  t.end()
})

t.test('boot time moves on and is that of the kernel', (t) => {
  const before = libc.bootTimeMs()
  const kernel = Number(fs.readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000
  const after = libc.bootTimeMs()
  t.ok(after >= before)
  t.ok(kernel >= before - 20 && kernel <= after + 20)
  t.end()
})

t.test('prctl answers, allowed or not', (t) => {
  t.ok([0, -1].includes(libc.setIoFlusher()), '0 or EPERM')
  t.equal(libc.setParentDeathSignal(0), 0)
  t.equal(libc.errnoName(-libc.setParentDeathSignal(4711)), 'EINVAL')
  t.equal(libc.errnoName(4711), 'errno 4711')
  t.end()
})

t.test('the bindings load in a worker thread too', (t) => {
  const [own, shared] = ['dataplane', 'cluster'].map((folder) => `import('${root}/${folder}/libc.ts')`)
  const worker = new Worker(
    `Promise.all([${own}, ${shared}]).then(([own, shared]) => {
      const fd = own.dup(1)
      shared.closeFd(fd)
      require('node:worker_threads').parentPort.postMessage(fd)
    })`,
    { eval: true },
  )
  worker.once('message', (fd) => {
    t.ok(fd > 2)
    worker.once('exit', () => t.end())
  })
})
