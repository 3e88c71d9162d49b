/** The log: JSON lines with their fields, one predecessor kept, and silence when it cannot be written. */
import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { DaemonLog } from '../../dataplane/daemon-log.ts'

function linesOf(file: string): object[] {
  return readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as object)
}

t.test('lines', async (t) => {
  const file = path.join(t.testdir(), 'daemon.log')
  const log = new DaemonLog({ file, node: 'n1' })
  log.event('info', 'two\nlines', { volume: 'demo', seq: 7 })
  log.close()
  log.event('info', 'after the end', {})
  t.match(linesOf(file), [
    { time: /^\d{4}-/, level: 'info', node: 'n1', message: 'two\nlines', volume: 'demo', seq: 7 },
  ])
  t.equal(statSync(file).mode & 0o777, 0o600)
})

t.test('rotation keeps one', async (t) => {
  const file = path.join(t.testdir(), 'daemon.log')
  const log = new DaemonLog({ file, node: 'n1', rotateBytes: 1000 })
  for (let i = 0; i < 100; i++) log.event('info', 'event', { i })
  log.close()
  t.ok(existsSync(`${file}.1`))
  t.ok(statSync(file).size < 1200 && statSync(`${file}.1`).size < 1200)
  t.match(linesOf(`${file}.1`).at(-1), { message: 'event' }, 'no line is torn')
})

t.test('a line that was cut off takes no other with it', async (t) => {
  const file = path.join(t.testdir(), 'daemon.log')
  for (const message of ['one', 'two']) {
    const log = new DaemonLog({ file, node: 'n1' })
    log.event('info', message, {})
    log.close()
    appendFileSync(file, '{"time":"20')
  }
  const lines = readFileSync(file, 'utf8').split('\n')
  t.match(lines.map((line) => line.slice(0, 11)), ['{"time":"20', '{"time":"20', '{"time":"20', '{"time":"20'])
  t.match(JSON.parse(lines[2]!), { message: 'two' })
})

t.test('a folder that is gone is no reason to fail', async (t) => {
  const log = new DaemonLog({ file: path.join(t.testdir(), 'none', 'daemon.log'), node: 'n1' })
  t.doesNotThrow(() => log.event('error', 'x', {}))
})
