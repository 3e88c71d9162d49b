/**
 * Risk: what works in this folder does not work where a stranger cloned it: `npm start` in a fresh clone prints
 * `holdfast ready` and a URI, Ctrl-C leaves nothing running, the same folder resumes with its data, and nothing is
 * written outside the clone. The packages are linked, not fetched.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { missing } from '../conformance/nbd/nbd-process.ts'
import { isAlive } from '../dataplane/node-process.ts'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

class Started {
  output = ''
  readonly #child
  readonly #ended: Promise<unknown>

  constructor(t: Test, cwd: string, home: string) {
    // As a terminal does it: Ctrl-C goes to the whole group.
    this.#child = spawn('npm', ['start'], { cwd, env: { ...process.env, HOME: home }, detached: true })
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    }
    this.#ended = once(this.#child, 'close')
    t.teardown(async () => {
      if (this.#child.exitCode === null) process.kill(-this.#child.pid!, 'SIGKILL')
      await this.#ended
    })
  }

  async ready(): Promise<boolean> {
    while (!this.output.includes('Ctrl-C stops it')) {
      if (this.#child.exitCode !== null) return false
      await Promise.race([once(this.#child.stdout!, 'data'), this.#ended])
    }
    return true
  }

  async interrupt(): Promise<number | null> {
    process.kill(-this.#child.pid!, 'SIGINT')
    await this.#ended
    return this.#child.exitCode
  }
}

const isClone = fs.existsSync(path.join(ROOT, '.git')) ? false : 'this folder is no git clone'

t.test('npm start in a fresh clone', { skip: missing('git', 'npm') || isClone }, async (t) => {
  const folder = temporaryFolder(t)
  const clone = path.join(folder, 'c')
  execFileSync('git', ['clone', '-q', '--no-local', '--depth=1', `file://${ROOT}`, clone])
  fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(clone, 'node_modules'))
  const data = Buffer.alloc(8192, 'kept')

  for (const round of ['first', 'second']) {
    const home = path.join(folder, 'home')
    const started = new Started(t, clone, home)
    t.ok(await started.ready(), started.output)
    t.match(started.output, /^holdfast ready$/m, round)
    const socket = path.join(clone, '.holdfast/n1/nbd.sock')
    t.match(started.output, `nbd+unix:///demo?socket=${socket}`)
    const connection = (await NbdConnection.open(socket, 'demo', true))!
    t.equal(connection.sizeBytes, 2 ** 30)
    if (round === 'first') {
      t.match(await connection.ask({ type: WRITE, offset: 12_345, data }), { errno: 0 })
    } else {
      const read = await connection.ask({ type: READ, offset: 12_345, length: data.length })
      t.ok(read !== 'closed' && read.data.equals(data), 'the data is still there')
    }
    const pids = ['pid', 'supervisor.pid'].map((name) =>
      Number(fs.readFileSync(path.join(clone, '.holdfast/n1', name), 'utf8')))
    t.same(pids.map(isAlive), [true, true])
    await started.interrupt()
    await connection.closed
    t.same(pids.map(isAlive), [false, false], 'no process is left')
    const left = fs.readdirSync(path.join(clone, '.holdfast/n1')).filter((name) => /\.sock$|pid$/.test(name))
    t.same(left, [], 'no socket is left')
    const changed = execFileSync('git', ['status', '--short'], { cwd: clone, encoding: 'utf8' })
    t.same(changed.split('\n').filter((line) => line !== '' && !line.includes('node_modules')), [])
  }
  t.same(fs.readdirSync(folder).filter((name) => name !== 'home'), ['c'], 'nothing outside the clone')
})
