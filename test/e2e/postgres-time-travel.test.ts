/**
 * The story of `docs/examples/postgres-time-travel.sh`, as a user runs it: PostgreSQL on ext4 on volumes of three
 * nodes, a group snapshot under load, clones, a rollback, `pg_amcheck`, and copies that are the same on all disks. It
 * takes away what it made, also when it is ended in the middle, and says what is missing.
 */
// test-timeout-seconds: 480
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, globSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { missing } from '../conformance/nbd/nbd-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { until } from './until.ts'

const SCRIPT = path.resolve(import.meta.dirname, '../../docs/examples/postgres-time-travel.sh')

/** The user postgres gets through. */
function openFolder(t: Test): string {
  const folder = temporaryFolder(t)
  for (const one of [os.tmpdir(), folder]) chmodSync(one, (statSync(one).mode & 0o7777) | 0o011)
  return folder
}

function storyMissing(): string | false {
  if (process.getuid?.() !== 0) return 'mounting needs root'
  if (!existsSync('/dev/fuse') || !existsSync('/dev/loop-control')) return 'there is no /dev/fuse or no loop device'
  if (globSync('/usr/lib/postgresql/*/bin/pg_amcheck').length === 0) return 'not installed: postgresql'
  const tools = ['nbdfuse', 'mkfs.ext4', 'losetup', 'mountpoint', 'setpriv', 'setsid', 'cmp']
  return missing('bash', 'nsenter', 'unshare', ...tools)
}

interface Ended {
  code: number | null
  output: string
}

/** Less than the deadline of this file, after which nobody would take away mounts. */
const STORY_MS = 200_000

/** Where its mounts are: a mount namespace that another test makes meanwhile would keep those of ours. */
const mountsOf = { pid: 0 }
/** And this one must not keep what other tests have mounted. */
const KEEP = "grep -E '/hft?-' /proc/mounts | cut -d ' ' -f 2 | xargs -r umount --lazy; exec sleep 600"
const namespaceOf = (pid: number | string): string => readlinkSync(`/proc/${pid}/ns/mnt`)

async function ownMounts(t: Test): Promise<void> {
  const keeper = spawn('unshare', ['--mount', 'sh', '-c', KEEP], { stdio: 'ignore' })
  t.teardown(() => keeper.kill())
  await until(async () => namespaceOf(keeper.pid!), (namespace) => namespace !== namespaceOf('self'))
  mountsOf.pid = keeper.pid!
}

/** With `endAt`, SIGTERM as soon as it says that. */
function runStory(env: Record<string, string>, endAt?: string): Promise<Ended> {
  return new Promise((resolve) => {
    const inside = mountsOf.pid === 0 ? [] : ['/usr/bin/nsenter', `--mount=/proc/${mountsOf.pid}/ns/mnt`]
    const [command, ...words] = [...inside, '/bin/bash', SCRIPT]
    const child = spawn(command!, words, { env: { ...process.env, ...env }, timeout: STORY_MS })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
        if (endAt !== undefined && output.includes(endAt)) child.kill('SIGTERM')
      })
    }
    child.once('close', (code) => resolve({ code, output }))
  })
}

function nothingIsLeft(t: Test, folder: string): void {
  t.same(readdirSync(folder), [], 'its folder is gone')
  t.notMatch(readFileSync(`/proc/${mountsOf.pid || 'self'}/mounts`, 'utf8'), folder, 'so are its mounts')
  const backing = globSync('/sys/block/loop*/loop/backing_file').map((file) => readFileSync(file, 'utf8'))
  t.same(backing.filter((file) => file.includes(folder)), [], 'and its loop devices')
  const commands = globSync('/proc/[0-9]*/cmdline').map((file) => {
    try {
      return readFileSync(file, 'utf8').replaceAll('\0', ' ')
    } catch {
      return '' // It has just ended.
    }
  })
  t.same(commands.filter((command) => command.includes(folder)), [], 'and its processes')
}

const skip = storyMissing()
if (skip === false) await ownMounts(t)

// Side by side: each waits for its own cluster most of the time.
const buffered = true
t.jobs = 2

t.test('a table is dropped, read from a clone, and back', { skip, buffered }, async (t) => {
  const folder = openFolder(t)
  const { code, output } = await runStory({ TMPDIR: folder })
  t.equal(code, 0, output)
  for (const words of [
    /^group snapshot monday is made, of 2 volumes at one instant$/m,
    /^dropped: orders$/m,
    /^volume wal-then is ready: 64 MiB, 2 replicas, a clone of wal@monday$/m,
    /^volume data shows snapshot monday again; what it showed before is kept as snapshot mistake-data$/m,
    /^pg_amcheck of data: no complaints\npg_amcheck of data-then: no complaints$/m,
  ]) t.match(output, words)
  t.equal(output.match(/^20000 orders, md5 \w+$/gm)?.length, 3, 'before, in the clone, and after the rollback')
  t.equal(new Set(output.match(/^20000 orders, md5 \w+$/gm)).size, 1)
  t.equal(output.match(/the copies on n1, n2 and n3 are the same/g)?.length, 4)
  nothingIsLeft(t, folder)
})

t.test('ended in the middle it takes away what it made', { skip, buffered }, async (t) => {
  const folder = openFolder(t)
  const { code, output } = await runStory({ TMPDIR: folder }, '== PostgreSQL, with')
  t.equal(code, 143, output)
  t.match(output, /failed at: PostgreSQL, with its data/)
  nothingIsLeft(t, folder)
})

t.test('says in one sentence what is missing', { skip: missing('bash') }, async (t) => {
  const folder = openFolder(t)
  const { code, output } = await runStory({ TMPDIR: folder, PATH: folder })
  t.equal(code, 2)
  t.match(output, /^postgres-time-travel\.sh: not installed: nbdfuse .*; `apt-get install .*` has them\n$/)
  nothingIsLeft(t, folder)
})
