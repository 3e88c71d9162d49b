/**
 * Risk: what works in this folder does not work where a stranger cloned it: `npm start` in a fresh clone prints
 * `holdfast ready` and a URI of each of three nodes, Ctrl-C leaves nothing running, the same folder resumes with its
 * data, and nothing is written outside the clone. The packages are linked, not fetched.
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

const NODES = ['n1', 'n2', 'n3']
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
    const sockets = NODES.map((node) => path.join(clone, '.holdfast', node, 'nbd.sock'))
    for (const socket of sockets) t.match(started.output, `nbd+unix:///demo?socket=${socket}`)
    const connect = async (socket: string) => (await NbdConnection.open(socket, 'demo', true))!
    const connections = await Promise.all(sockets.map(connect))
    t.same(connections.map(({ sizeBytes }) => sizeBytes), NODES.map(() => 2 ** 30), 'every node serves it')
    // What one took, all have, also after the next start.
    if (round === 'first') t.match(await connections[0]!.ask({ type: WRITE, offset: 12_345, data }), { errno: 0 })
    for (const [i, connection] of connections.entries()) {
      const read = await connection.ask({ type: READ, offset: 12_345, length: data.length })
      t.ok(read !== 'closed' && read.data.equals(data), `the data is there, through ${NODES[i]}`)
    }
    const pids = NODES.flatMap((node) => ['pid', 'supervisor.pid'].map((name) =>
      Number(fs.readFileSync(path.join(clone, '.holdfast', node, name), 'utf8'))))
    t.equal(new Set(pids).size, 2 * NODES.length)
    t.ok(pids.every(isAlive), 'a supervisor and a daemon for each')
    await started.interrupt()
    await Promise.all(connections.map(({ closed }) => closed))
    t.notOk(pids.some(isAlive), 'no process is left')
    for (const node of NODES) {
      const left = fs.readdirSync(path.join(clone, '.holdfast', node)).filter((name) => /\.sock$|pid$/.test(name))
      t.same(left, [], `no socket of ${node} is left`)
    }
    const changed = execFileSync('git', ['status', '--short'], { cwd: clone, encoding: 'utf8' })
    t.same(changed.split('\n').filter((line) => line !== '' && !line.includes('node_modules')), [])
  }
  t.same(fs.readdirSync(folder).filter((name) => name !== 'home'), ['c'], 'nothing outside the clone')
})
