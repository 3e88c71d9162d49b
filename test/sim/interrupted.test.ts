/**
 * Risk: hours of `npm run sim` are lost, or end in a stack trace, because of a Ctrl-C or of a pipe that nobody reads.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'

const root = dirname(dirname(import.meta.dirname))

/** Has who runs the seeds say when it is in the middle of a row. */
const SAYS_WHEN = `if (process.send !== undefined) {
  const say = process.send.bind(process)
  process.send = (message, ...rest) => {
    if (message.began === 12003) console.error('in a row')
    return say(message, ...rest)
  }
}`

/** One gets a Ctrl-C, as at a terminal: all of its group do. With somebody who reads what it says, or nobody. */
async function interrupted(isRead: boolean): Promise<{ code: number | null; out: string; errors: string }> {
  const { TAP: _, ...env } = process.env
  env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(SAYS_WHEN)}`
  const words = ['--from', '12001', '--seeds', '1000', '--jobs', '1', '--store', 'memory']
  const child = spawn(process.execPath, ['test/sim.ts', ...words], { cwd: root, env, detached: true })
  const closed = once(child, 'close')
  child.stderr.once('data', () => {
    if (!isRead) child.stdout.destroy()
    process.kill(-child.pid!, 'SIGINT')
  })
  const [out, errors] = await Promise.all([isRead ? text(child.stdout) : '', text(child.stderr)])
  const [code] = await closed
  return { code, out, errors }
}

t.test('Ctrl-C: the row that runs ends, and the summary is of what there is', async (t) => {
  const { code, out, errors } = await interrupted(true)
  t.match(out, /^seeds +[1-9]0$/m)
  t.match(out, /^violations +0$/m)
  t.same([code, errors], [130, 'in a row\n'])
})

t.test('Ctrl-C when nobody reads it any more (`| tee`, which got it, too)', async (t) => {
  const { code, errors } = await interrupted(false)
  t.same([code, errors], [130, 'in a row\n'])
})

t.test('nobody reads the trace of one seed', async (t) => {
  const { TAP: _, ...env } = process.env
  const words = ['--seed', '7', '--trace', '--store', 'memory']
  const child = spawn(process.execPath, ['test/sim.ts', ...words], { cwd: root, env })
  const closed = once(child, 'close')
  const errors = text(child.stderr)
  child.stdout.destroy()
  const [code] = await closed
  t.same([code, await errors], [141, ''])
})
