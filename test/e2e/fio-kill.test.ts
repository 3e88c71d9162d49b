/**
 * Risk: a write that fio was told is done is gone after `kill -9`. fio writes until the daemon is killed under it;
 * from the state it saved, a second fio verifies what was acknowledged.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { missing, run, uri } from '../conformance/nbd/nbd-process.ts'
import { NodeProcess, processGone } from '../dataplane/node-process.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const LOAD_BYTES = 64 * 2 ** 20
const KILL_AFTER_SECONDS = 1
const FIO_ENDS_MS = 3000

interface Load {
  words: string[]
  states: string
  daemonPid: number
}

/**
 * fio's own trigger saves what was acknowledged and then kills the daemon, in that order: fio 3.33 now and then spins
 * for ever when its socket closes, and would then save nothing. It is ended when it does.
 */
async function writeUntilKilled(t: Test, { words, states, daemonPid }: Load): Promise<void> {
  // Slow enough that the kill finds it at work. `thread`: one process, so that one kill ends it.
  const more = ['--do_verify=0', '--verify_state_save=1', '--rate=24m', '--thread']
  const trigger = [`--trigger-timeout=${KILL_AFTER_SECONDS}`, `--trigger=kill -KILL ${daemonPid}`]
  const fio = spawn('fio', [...words, ...more, ...trigger], { cwd: states, stdio: 'ignore' })
  const ended = once(fio, 'exit')
  await processGone(daemonPid)
  const spinning = setTimeout(() => fio.kill('SIGKILL'), FIO_ENDS_MS)
  await ended
  clearTimeout(spinning)
  t.ok(fs.readdirSync(states).some((name) => name.endsWith('.state')), 'fio saved what was acknowledged')
}

t.test('fio, killed under, verifies', { skip: missing('fio') }, async (t) => {
  const folder = temporaryFolder(t)
  const node = new NodeProcess(t, folder)
  let ready = await node.ready()
  t.ok(ready, node.stderr)
  for (const [round, [rw, bs]] of ([['randwrite', '4k'], ['write', '64k']] as const).entries()) {
    const volume = `v${round}`
    const make = ['volume', 'create', volume, '--size', '128Mi', '--endpoint', node.paths.folder]
    t.match(await holdfast(make), { code: 0 })
    const states = path.join(folder, `states-${volume}`)
    fs.mkdirSync(states)
    const words = [
      '--name=job', '--ioengine=nbd', `--uri=${uri(node.paths.nbd, volume)}`, `--rw=${rw}`,
      `--bs=${bs}`, '--iodepth=16', `--size=${LOAD_BYTES}`, '--randseed=11',
      '--verify=crc32c', `--aux-path=${states}`, '--output-format=json',
    ]
    await writeUntilKilled(t, { words, states, daemonPid: ready!.pid })
    ready = await node.ready()
    t.ok(ready, node.stderr)
    // With more in flight fio 3.33 counts wrongly where the writes begin that need not have ended.
    const verify = ['--iodepth=1', '--verify_only', '--verify_state_load=1', '--verify_fatal=1']
    const verified = await run('sh', '-c', 'cd "$0" && exec fio "$@"', states, ...words, ...verify)
    t.equal(verified.status, 0, 'fio verifies')
    if (verified.status !== 0) t.comment(verified.stderr)
    const text = verified.stdout.slice(verified.stdout.indexOf('{'))
    const { jobs } = JSON.parse(text) as { jobs: [{ error: number; read: { total_ios: number } }] }
    t.equal(jobs[0].error, 0)
    t.ok(jobs[0].read.total_ios > 100, `${rw} ${bs}: ${jobs[0].read.total_ios} writes were verified`)
  }
})
