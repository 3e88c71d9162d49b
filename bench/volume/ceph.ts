/**
 * Ceph's block device as a peer: one monitor and three OSDs on loopback, a pool of three copies, an image in it, all
 * below the scratch folder with a configuration of its own and as children of this process. Nothing is installed here,
 * and no service of the host is touched.
 *
 *   ceph3   RBD, size 3, durable on all three before an answer (the client's cache is off), through fio's own engine
 *
 * OSDs are BlueStore on files that were written in full. There is no manager: it reports and balances, and no I/O
 * passes it. Without signatures, which ours has none of between its nodes here either. The client, librbd, is in fio
 * and so not in the processor time.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { MIB, GIB } from '../../engine/units.ts'
import { hasTool, prefill } from './fio.ts'
import type { Servers, Wanted } from './peers.ts'
import { cpuSeconds } from './process-figures.ts'
import { pause, type Scratch } from './scratch.ts'

export const CEPH_NAME = 'ceph3'
/** Debian's, with what each is needed for here. */
export const CEPH_PACKAGES = ['ceph-mon', 'ceph-osd', 'ceph-common']
const TOOLS = ['ceph-mon', 'ceph-osd', 'ceph', 'rbd', 'monmaptool', 'fio']
const OSDS = 3
const OSD_BYTES = 3 * GIB
const POOL = 'rbd'
const IMAGE = 'bench'
const PLACEMENT_GROUPS = '32'
const DEADLINE_MS = 60_000

/** When it is among `wanted`: added to `found`, or why it is not there. */
export async function startCeph(scratch: Scratch, wanted: readonly Wanted[], found: Servers): Promise<void> {
  const one = wanted.find(({ name }) => name === CEPH_NAME)
  if (one === undefined) return
  const missing = TOOLS.filter((tool) => !hasTool(tool))
  if (missing.length > 0) {
    found.absent.push(`${CEPH_NAME}: ${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} not installed`)
    return
  }
  if (!spawnSync('fio', ['--enghelp'], { encoding: 'utf8' }).stdout.includes('rbd')) {
    found.absent.push(`${CEPH_NAME}: this fio has no engine rbd`)
    return
  }
  scratch.needRoom(OSDS * OSD_BYTES)
  const ceph = new Ceph(scratch, await freePort())
  try {
    await ceph.start(one.sizes[0]!)
    const target = { image: IMAGE, pool: POOL, conf: ceph.conf }
    for (let i = 0; i < 2; i++) await prefill(scratch, target, one.sizes[0]!)
    const pids = ceph.pids
    found.servers.push({ name: CEPH_NAME, targets: [target], cpuSeconds: () => cpuSeconds(pids), takes: one.takes })
  } catch (error) {
    await ceph.stop()
    found.absent.push(`${CEPH_NAME}: it did not start: ${(error as Error).message.split('\n')[0]}`)
  }
}

class Ceph {
  readonly conf: string
  readonly #scratch: Scratch
  readonly #port: number
  readonly #fsid = randomUUID()
  readonly #children: ChildProcess[] = []

  constructor(scratch: Scratch, port: number) {
    this.#scratch = scratch
    this.#port = port
    fs.mkdirSync(scratch.path('ceph'))
    this.conf = scratch.path('ceph', 'ceph.conf')
    fs.writeFileSync(this.conf, this.#configuration())
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid!)
  }

  async start(imageBytes: number): Promise<void> {
    const { conf } = this
    const dir = (name: string): string => this.#scratch.path('ceph', name)
    const address = `[v2:127.0.0.1:${this.#port}]`
    must('monmaptool', ['--create', '--addv', 'a', address, '--fsid', this.#fsid, dir('monmap')])
    fs.mkdirSync(dir('mon.a'))
    must('ceph-mon', ['--conf', conf, '--mkfs', '-i', 'a', '--monmap', dir('monmap')])
    this.#spawn('ceph-mon', 'a')
    await this.#until(() => this.#ask(['mon', 'stat']).status === 0, 'the monitor to answer')
    for (let id = 0; id < OSDS; id++) {
      const uuid = randomUUID()
      this.#must(['osd', 'new', uuid])
      fs.mkdirSync(dir(`osd.${id}`))
      // As every other server's file: no write meets an extent that was never written.
      await prefill(this.#scratch, { file: dir(`osd.${id}/block`), sync: 'none' }, OSD_BYTES)
      must('ceph-osd', ['--conf', conf, '-i', String(id), '--mkfs', '--osd-uuid', uuid])
      this.#spawn('ceph-osd', String(id))
    }
    await this.#until(() => this.#ask(['osd', 'stat']).stdout.includes(`${OSDS} up`), `${OSDS} OSDs to be up`)
    this.#must(['osd', 'pool', 'create', POOL, PLACEMENT_GROUPS, PLACEMENT_GROUPS, 'replicated'])
    const size = `${Math.ceil(imageBytes / MIB)}M`
    must('rbd', ['--conf', conf, 'create', '--size', size, '--image-feature', 'layering', `${POOL}/${IMAGE}`])
  }

  async stop(): Promise<void> {
    for (const child of this.#children.reverse()) await this.#scratch.end(child)
  }

  #spawn(command: string, id: string): void {
    const words = ['--conf', this.conf, '-f', '-i', id]
    this.#children.push(this.#scratch.keep(spawn(command, words, { stdio: 'ignore' })))
  }

  #ask(words: string[]): { status: number | null; stdout: string; stderr: string } {
    const all = ['--conf', this.conf, '--connect-timeout', '5', ...words]
    return spawnSync('ceph', all, { encoding: 'utf8', timeout: DEADLINE_MS })
  }

  #must(words: string[]): void {
    const { status, stderr } = this.#ask(words)
    if (status !== 0) throw new Error(`ceph ${words.join(' ')}: ${stderr.trim()}`)
  }

  async #until(holds: () => boolean, what: string): Promise<void> {
    for (const deadline = performance.now() + DEADLINE_MS; !holds(); await pause(200)) {
      const ended = this.#children.find(({ exitCode }) => exitCode !== null)
      if (ended !== undefined) throw new Error(`${ended.spawnfile} ended with ${ended.exitCode}`)
      if (performance.now() > deadline) throw new Error(`waited ${DEADLINE_MS / 1000} s for ${what}`)
    }
  }

  #configuration(): string {
    const dir = this.#scratch.path('ceph')
    return `[global]
fsid = ${this.#fsid}
mon host = [v2:127.0.0.1:${this.#port}]
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = ${dir}
admin socket = ${dir}/$name.asok
pid file = ${dir}/$name.pid
log file = ${dir}/$name.log
mon cluster log file = ${dir}/cluster.log
crash dir = ${dir}
osd pool default size = ${OSDS}
osd pool default min size = 2
osd crush chooseleaf type = 0
mon allow pool delete = false
[mon]
mon data = ${dir}/mon.a
[osd]
osd data = ${dir}/osd.$id
osd objectstore = bluestore
bluestore block size = ${OSD_BYTES}
osd memory target = ${GIB}
[client]
rbd cache = false
`
  }
}

function must(command: string, words: string[]): void {
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8', timeout: DEADLINE_MS })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: ${error?.message ?? stderr.trim().slice(-400)}`)
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
