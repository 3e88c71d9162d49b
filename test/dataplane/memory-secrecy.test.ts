/** Risk: a core, a report or a debugger shows keys, because a host, or NODE_OPTIONS, asks for it. */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import t from 'tap'

const MODULES = path.resolve(import.meta.dirname, '../../dataplane')

/** What a process finds of itself behind `keepMemorySecret`. */
function found(holdsKeys: boolean | undefined): unknown {
  const keep = holdsKeys === undefined ? '' : `keepMemorySecret({ holdsKeys: ${holdsKeys} })`
  const script = `
    import fs from 'node:fs'
    import { isMemoryHidden } from '${MODULES}/libc.ts'
    import { keepMemorySecret } from '${MODULES}/memory-secrecy.ts'
    ${keep}
    const { reportOnSignal, reportOnFatalError, reportOnUncaughtException } = process.report
    process.kill(process.pid, 'SIGUSR1')
    await new Promise((resolve) => setTimeout(resolve, 50))
    const { url } = await import('node:inspector')
    console.log(JSON.stringify({
      core: /^Max core file size +(\\S+ +\\S+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8'))[1],
      hidden: isMemoryHidden(), debugger: url() !== undefined,
      reports: [reportOnSignal, reportOnFatalError, reportOnUncaughtException],
      disk: fs.readFileSync('/proc/self/fd/' + fs.openSync('${import.meta.filename}', 'r')).length > 0,
    }))`
  const reports = '--report-on-signal --report-on-fatalerror --report-uncaught-exception'
  const words = ['--core=unlimited', process.execPath, '--input-type=module-typescript', '--eval', script]
  const { stdout, stderr } = spawnSync('prlimit', words, {
    encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: `${reports} --inspect-port=0` },
  })
  t.comment(stderr)
  return JSON.parse(stdout)
}

t.test('what holds keys is hidden, and a host that wants cores and reports gets none', async (t) => {
  const kept = { debugger: false, reports: [false, false, false], disk: true }
  t.match(found(true), { ...kept, hidden: true, core: /^0 +0/ })
  t.match(found(false), { ...kept, hidden: false, core: /^0 +0/ })
  const open = { debugger: true, reports: [true, true, true], hidden: false, core: /^unlimited/ }
  t.match(found(undefined), open, 'without it all is open')
})
