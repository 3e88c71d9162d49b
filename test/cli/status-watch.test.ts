/** `holdfast status --watch`: a page each second, with what has changed, also past a restart of the daemon. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { MIB } from '../../engine/units.ts'
import { NodeProcess, processGone } from '../dataplane/node-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { holdfast, MAIN } from './run-holdfast.ts'

t.test('pages follow each other until it is stopped', async (t) => {
  const folder = temporaryFolder(t)
  const node = new NodeProcess(t, folder)
  const ready = await node.ready()
  t.ok(ready, node.stderr)
  const at = ['--endpoint', node.paths.folder]
  const watch = spawn(process.execPath, [MAIN, 'status', '--watch', ...at])
  t.teardown(() => watch.kill('SIGKILL'))
  const ended = once(watch, 'close')
  let [said, complained] = ['', '']
  watch.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  watch.stderr.setEncoding('utf8').on('data', (text: string) => (complained += text))
  const says = async (isSo: () => boolean): Promise<void> => {
    while (!isSo() && watch.exitCode === null) {
      await Promise.race([once(watch.stdout, 'data'), once(watch.stderr, 'data'), ended])
    }
    t.ok(isSo(), `${said}${complained}`)
  }
  const pages = () => said.match(/^healthy: /gm)?.length ?? 0
  await says(() => pages() >= 2)
  t.match(said, /^healthy: no volumes, 0 NBD session\(s\)\nspace: .* free of .*\n\nnothing is wrong\n/)
  t.notMatch(said, '\x1b', 'nothing but text where no terminal is')
  await node.client(t).createVolume({ name: 'data', sizeBytes: 16 * MIB, parameters: {} })
  await says(() => said.includes('healthy: 1 of 1 volumes healthy'))

  node.kill('SIGSTOP')
  process.kill(ready!.pid, 'SIGKILL')
  await processGone(ready!.pid)
  await says(() => /no daemon answers at .*nothing listens there any more/.test(complained))
  const before = pages()
  node.kill('SIGCONT')
  await says(() => pages() > before)
  watch.kill('SIGINT')
  const [code, signal] = await ended as [number | null, string | null]
  t.same([code, signal], [null, 'SIGINT'], 'a Ctrl-C ends it')

  node.kill('SIGTERM')
  t.match(await node.ended(), { code: 0 })
  const nobody = await holdfast(['status', '--watch', ...at])
  t.match(nobody, { code: 1, stdout: '', stderr: /no daemon answers at/ }, 'what was never there is not waited for')
})
