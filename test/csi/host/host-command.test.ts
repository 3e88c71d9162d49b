/** Programs of the host: what a failure says, and that a deadline ends a program and all that it started. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { findProgram, hostCommand, neededProgram, programVersion } from '../../../csi/host/host-command.ts'
import { isAlive } from '../../dataplane/node-process.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const dir = temporaryFolder(t)
const before = process.env.PATH ?? ''
t.teardown(() => (process.env.PATH = before))
process.env.PATH = `${dir}:${before}`

/** A program of that name for this test alone. */
function plant(program: string, script: string): void {
  writeFileSync(path.join(dir, program), `#!/bin/sh\n${script}\n`)
  chmodSync(path.join(dir, program), 0o755)
}
const run = { what: 'do a thing', deadlineMs: 30_000 }

t.test('what it answers', async (t) => {
  plant('blkid', 'echo out; echo err >&2; exit $1')
  t.equal(findProgram('blkid'), path.join(dir, 'blkid'))
  t.match(await hostCommand('blkid', ['0'], run), { status: 0, stdout: 'out\n', stderr: 'err\n' })
  t.match(await hostCommand('blkid', ['2'], { ...run, allow: [2] }), { status: 2 })
  await t.rejects(hostCommand('blkid', ['3'], { ...run, allow: [2] }), {
    code: 'host-command', message: /^blkid was to do a thing, and ended with status 3: err;/,
  })
})

t.test('no shell reads its words', async (t) => {
  plant('blkid', 'printf "%s|" "$@"')
  t.match(await hostCommand('blkid', ['a b', '$(id)', ';', ''], run), { stdout: 'a b|$(id)|;||' })
})

t.test('in the words of the program, in one line and no more than so many', async (t) => {
  plant('mount', 'i=0; while [ $i -lt 5000 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 32')
  const error = await hostCommand('mount', [], run).catch((failure: Error) => failure) as Error
  t.match(error.message, /line 4998; line 4999; see to/)
  t.match(error.message, /status 32: line 0; line 1; .* \.\.\. /, 'what is wrong comes before how it is used')
  t.ok(error.message.length < 1000, `${error.message.length} characters`)
  t.notMatch(error.message, '\n')
})

t.test('a deadline ends it, and what it started', async (t) => {
  plant('mkfs.xfs', `sleep 600 & echo $! > ${dir}/child; echo half done >&2; echo $$ > ${dir}/parent; wait`)
  const late = hostCommand('mkfs.xfs', [], { ...run, deadlineMs: 1500 })
  await t.rejects(late, { message: /to do a thing, and did not end within 1.5 s and was ended, having said: half d/ })
  for (const who of ['child', 'parent']) {
    const pid = Number(readFileSync(path.join(dir, who), 'utf8'))
    t.ok(pid > 0)
    t.notOk(isAlive(pid), `${who} is gone when it is told`)
  }
})

t.test('one that may not be cut off is asked to end, and killed only when it does not', async (t) => {
  plant('e2fsck', `trap 'echo whole > ${dir}/end; exit 32' TERM; sleep 600 & wait`)
  await t.rejects(hostCommand('e2fsck', [], { ...run, deadlineMs: 1500, endsMs: 60_000 }), { message: /was ended/ })
  t.equal(readFileSync(path.join(dir, 'end'), 'utf8'), 'whole\n')
  plant('e2fsck', `trap '' TERM; while :; do sleep 0.1; done`)
  await t.rejects(hostCommand('e2fsck', [], { ...run, deadlineMs: 500, endsMs: 500 }), { message: /was ended/ })
})

t.test('killed by somebody else', async (t) => {
  plant('umount', 'kill -9 $$')
  await t.rejects(hostCommand('umount', [], run), { message: /ended with status -1: it was ended by SIGKILL/ })
})

t.test('one that is not there', async (t) => {
  process.env.PATH = '/nonexistent'
  t.teardown(() => (process.env.PATH = `${dir}:${before}`))
  const missing = 'nbdfuse'
  if (findProgram(missing) !== undefined) return t.comment('it is in a system folder here: refused by name below')
  t.throws(() => neededProgram(missing, 'a try'), { code: 'tool-missing', message: /apt-get install libnbd-bin/ })
})

t.test('versions are asked once', async (t) => {
  plant('losetup', `echo x >> ${dir}/asked; echo "losetup from here 1.2"`)
  t.equal(await programVersion('losetup'), 'losetup from here 1.2')
  t.equal(await programVersion('losetup'), 'losetup from here 1.2')
  t.equal(readFileSync(path.join(dir, 'asked'), 'utf8'), 'x\n')
})
