/** Risk: the server satisfies our reading of the text and no real client. Each tool skips where it is missing. */
import fs from 'node:fs'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { missing, run, scratch, startServer, uri } from './nbd-process.ts'

const MIB = 1024 * 1024
/** nbdsh is this module behind a prompt, started by whatever python3 comes first. */
const python = ['python3', '/usr/bin/python3'].find((one) => missing(`${one} && ${one} -c 'import nbd'`) === false)

/** Data, holes and odd sizes: 40 MiB of which a third is random. */
function makeImage(file: string, bytes: number): void {
  fs.writeFileSync(file, '')
  fs.truncateSync(file, bytes)
  const fd = fs.openSync(file, 'r+')
  for (let at = 12_345; at + MIB <= bytes; at += 3 * MIB) fs.writeSync(fd, randomBytes(MIB), 0, MIB, at)
  fs.closeSync(fd)
}

t.test('nbdinfo: facts, list and map', { skip: missing('nbdinfo') }, async (t) => {
  const dir = scratch(t)
  const socket = await startServer(t, dir, 64 * MIB)
  const { stdout, status } = await run('nbdinfo', '--json', uri(socket))
  t.equal(status, 0)
  const facts = JSON.parse(stdout)
  t.equal(facts.protocol, 'newstyle-fixed')
  t.match(facts.exports[0], {
    'export-name': 'disk', 'export-size': 64 * MIB, is_read_only: false, can_cache: true, can_df: true,
    can_fast_zero: true, can_flush: true, can_fua: true, can_multi_conn: true, can_trim: true, can_zero: true,
    block_size_minimum: 1, block_size_preferred: 4096, block_size_maximum: 32 * MIB, contexts: ['base:allocation'],
  })
  const list = await run('nbdinfo', '--list', '--json', `nbd+unix:///?socket=${socket}`)
  t.same(JSON.parse(list.stdout).exports.map((one: { 'export-name': string }) => one['export-name']), ['disk'])
  const map = await run('nbdinfo', '--map', '--json', uri(socket))
  t.same(JSON.parse(map.stdout), [{ offset: 0, length: 64 * MIB, type: 3, description: 'hole,zero' }])
})

t.test('nbdcopy: an image with holes there and back, holes stay holes', { skip: missing('nbdcopy') }, async (t) => {
  const dir = scratch(t)
  const bytes = 40 * MIB + 512
  const socket = await startServer(t, dir, bytes)
  const [source, target] = [path.join(dir, 'source'), path.join(dir, 'target')]
  makeImage(source, bytes)
  t.match(await run('nbdcopy', '--flush', source, uri(socket)), { status: 0, stderr: '' })
  t.match(await run('nbdcopy', '--connections=4', uri(socket), target), { status: 0 })
  t.ok(fs.readFileSync(source).equals(fs.readFileSync(target)))
  t.ok(fs.statSync(target).blocks * 512 < bytes * 0.7, 'zeroes were not sent as data')
})

t.test('qemu-img: convert, compare, map; qemu-io: patterns and zeroes', { skip: missing('qemu-img', 'qemu-io') },
  async (t) => {
    const dir = scratch(t)
    const socket = await startServer(t, dir, 32 * MIB)
    const [source, back] = [path.join(dir, 'source'), path.join(dir, 'back')]
    makeImage(source, 32 * MIB)
    t.match(await run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source, uri(socket)), { status: 0 })
    t.match(await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, uri(socket)), { status: 0 })
    t.match(await run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri(socket), back), { status: 0 })
    t.ok(fs.readFileSync(source).equals(fs.readFileSync(back)))
    const map = await run('qemu-img', 'map', '-f', 'raw', '--output=json', uri(socket))
    t.ok(JSON.parse(map.stdout).some((extent: { data: boolean }) => !extent.data), 'holes are seen')
    const commands = [
      'write -P 0xab 12345 54321', 'read -P 0xab 12345 54321', 'write -f -P 0xcd 1M 1M', 'flush',
      'write -z -u 1M 64k', 'read -P 0 1M 64k', 'read -P 0xcd 1114112 900k', 'discard 2M 1M', 'read 31M 1M',
    ]
    const io = await run('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri(socket))
    t.equal(io.status, 0)
    t.notMatch(io.stdout, /failed|error/i)
  })

const noPython = python === undefined && 'no python3 with the module nbd'
t.test('libnbd: flags, errors and several connections', { skip: noPython }, async (t) => {
  const dir = scratch(t)
  const socket = await startServer(t, dir, 16 * MIB)
  const script = path.join(dir, 'script.py')
  fs.writeFileSync(script, `
import errno, nbd
u = "${uri(socket)}"
a = nbd.NBD(); a.add_meta_context("base:allocation"); a.connect_uri(u)
b = nbd.NBD(); b.set_request_structured_replies(False); b.connect_uri(u)
assert a.get_structured_replies_negotiated() and not b.get_structured_replies_negotiated()
a.pwrite(b"x" * 4096, 512, nbd.CMD_FLAG_FUA)
assert b.pread(4096, 512) == b"x" * 4096
assert a.pread(1, 4607) == b"x" and a.pread(1, 4608) == b"\\0"
a.zero(100, 600, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
assert b.pread(120, 590) == b"x" * 10 + b"\\0" * 100 + b"x" * 10
a.trim(1 << 20, 1 << 20); a.cache(4096, 0); b.flush()
pieces = []
a.pread_structured(131072, 0, lambda buf, offset, status, error: pieces.append(status), nbd.CMD_FLAG_DF)
assert pieces == [nbd.READ_DATA], pieces
holes = []
a.pread_structured(131072, 0, lambda buf, offset, status, error: holes.append(status))
assert nbd.READ_HOLE in holes, holes
extents = []
a.block_status(1 << 20, 0, lambda ctx, offset, entries, error: extents.extend(entries))
assert sum(extents[0::2]) == 1 << 20, extents
one = []
a.block_status(1 << 20, 0, lambda ctx, offset, entries, error: one.extend(entries), nbd.CMD_FLAG_REQ_ONE)
assert len(one) == 2
a.set_strict_mode(0); b.set_strict_mode(0)
def fails(code, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errno == code, (error.errno, code)
    else:
        raise AssertionError("did not fail")
end = 16 << 20
for h in (a, b):
    fails("EINVAL", lambda: h.pread(2, end - 1))
    fails("ENOSPC", lambda: h.pwrite(b"ab", end - 1))
    fails("ENOSPC", lambda: h.zero(2, end - 1))
    fails("EINVAL", lambda: h.trim(2, end - 1))
    fails("EINVAL", lambda: h.cache(2, end - 1))
    fails("EINVAL", lambda: h.flush(nbd.CMD_FLAG_DF))
assert a.aio_is_ready() and b.aio_is_ready()
a.shutdown(); b.shutdown()
print("fine")
`)
  const ran = await run(python!, script)
  t.equal(ran.stderr, '')
  t.equal(ran.stdout, 'fine\n')
})

t.test('fio verifies what it wrote', { skip: missing('fio') }, async (t) => {
  const dir = scratch(t)
  const socket = await startServer(t, dir, 64 * MIB)
  for (const [rw, bs, depth] of [['randwrite', '4k', 32], ['write', '128k', 8], ['randrw', '512-64k', 16]] as const) {
    const { status, stdout, stderr } = await run('fio', '--name=v', '--ioengine=nbd', `--uri=${uri(socket)}`,
      `--rw=${rw}`, `--bsrange=${bs.includes('-') ? bs : `${bs}-${bs}`}`, `--iodepth=${depth}`, '--size=16m',
      '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--randseed=7', '--fsync=64')
    t.equal(status, 0, `${rw} ${bs}: ${stderr}`)
    t.match(stdout, /err= 0/)
  }
})
