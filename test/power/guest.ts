/**
 * A machine with a node of a cluster that can lose its power: a user-mode-linux guest, whose page cache is memory of a
 * process and whose disk is a file. The process is killed with -9; what the guest had written to its disk by then is
 * in the file, to the byte, and everything else is gone.
 */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, ftruncateSync, mkdirSync, openSync, statfsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { assert } from '../../engine/assert.ts'
import { MIB } from '../../engine/units.ts'
import { warmCompileCache, withCompileCache } from '../../dataplane/compile-cache.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'
import { nodePaths } from '../../dataplane/node-folder.ts'
import { configOfNode, NODE_MAIN } from '../cluster/cluster-node-process.ts'
import type { StoppedNode } from '../cluster/volume-before-start.ts'
import type { ClusterNodeOptions } from '../cluster/cluster-node-process.ts'
import { ENDED, GUEST, READY, STOP, STOPPED } from './guest-words.ts'
import type { GuestOrder } from './guest-words.ts'
import type { Plug } from './own-network.ts'

export const LINUX = 'linux.uml'
const MAIN = path.join(import.meta.dirname, 'guest-main.ts')
const MEMORY = '512M'
/** Its memory is a file there, without a name, unless it is the small one of a container. */
const SHARED_MEMORY = '/dev/shm'
const SHARED_MEMORY_BYTES = 2048 * MIB
/** Helpers of the guest die with it, in the same moment. It is not the first process, which could not end by itself. */
const NAMESPACE = ['--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', '"$0" "$@"; exit $?']
const CACHE = 'NODE_COMPILE_CACHE'
/** Without a /proc of the guest's own the host's shows through, where Node looks what program it is. */
const INIT = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
export ${CACHE}=${withCompileCache({})[CACHE]}
`
/** Beside the node's disk: its folder, and what ext4 needs. */
const BESIDE_BYTES = 192 * MIB
/** Many times what it takes when nothing else runs: forty seconds were seen beside ten busy processes. */
const BOOT_MS = 120_000
const STOP_MS = 30_000
const CONSOLE_END = 3000

function run(command: string, ...words: string[]): void {
  const { status, stderr } = spawnSync(command, words, { encoding: 'utf8' })
  assert(status === 0, `${command} ${words.join(' ')}: ${stderr}`)
}

export interface GuestOptions {
  name: string
  /** Where its files are, on the host, and where its disk is mounted, inside. */
  folder: string
  node: Omit<ClusterNodeOptions, 'dir'>
  plug: Plug
  /** A library that is loaded before the C library (wide-registers.ts). */
  preload: string | undefined
}

export class Guest {
  readonly name: string
  /** All that its console showed, over all boots. */
  console = ''
  readonly #o: GuestOptions
  readonly #dir: string
  readonly #image: string
  readonly #config: NodeConfig
  #child: ChildProcess | undefined
  #ended: Promise<unknown> = Promise.resolve()
  #booted = 0

  /** Its disk is made, with an empty ext4 on it. */
  constructor(options: GuestOptions) {
    const { name, folder, node } = options
    this.name = name
    this.#o = options
    this.#dir = path.join(folder, name)
    this.#image = path.join(folder, `${name}.img`)
    this.#config = configOfNode(name, { ...node, dir: this.#dir })
    mkdirSync(this.#dir)
    const fd = openSync(this.#image, 'w')
    ftruncateSync(fd, node.diskBytes + BESIDE_BYTES)
    closeSync(fd)
    run('mkfs.ext4', '-q', '-m', '0', this.#image)
  }

  get isUp(): boolean {
    return this.#child !== undefined
  }

  /** Power on. Resolves when its node serves. @returns what became of a file that was not synced */
  async boot(writesBack: GuestOrder['writesBack']): Promise<string> {
    assert(!this.isUp, `${this.name} is off`)
    this.#booted = this.console.length
    const child = spawn('unshare', [...NAMESPACE, LINUX, ...this.#words(writesBack)], {
      stdio: ['pipe', 'pipe', 'pipe'], env: this.#environment(),
    })
    this.#child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.console += text))
    }
    child.stdin.on('error', () => undefined)
    // All that runs in the guest holds its ends of the pipes: they are closed when nothing of it is left.
    this.#ended = once(child, 'close').then(() => {
      if (this.#child === child) this.#child = undefined
    })
    return this.#said(READY, BOOT_MS)
  }

  /** Nothing is told to anybody inside. */
  async cutPower(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#ended
  }

  /** The node is told to stop, the file system is unmounted, the machine switched off. @returns the node's exit code */
  async stop(): Promise<string> {
    this.#child!.stdin!.write(`${STOP}\n`)
    const code = await this.#said(STOPPED, STOP_MS)
    await this.#ended
    return code
  }

  /** Its disk is the host's meanwhile: the node's files are where the node has them. It is off. */
  async opened(work: (node: StoppedNode) => Promise<void> | void): Promise<void> {
    assert(!this.isUp, `${this.name} is off`)
    run('mount', '-o', 'loop', this.#image, this.#dir)
    try {
      await work({ config: this.#config, paths: nodePaths(this.#dir, this.name) })
    } finally {
      run('umount', this.#dir)
    }
  }

  /** What a line of the guest says behind these words, since it was booted. @throws when it ends without saying so */
  async #said(words: string, withinMs: number): Promise<string> {
    const untilMs = performance.now() + withinMs
    for (;;) {
      const lines = this.console.slice(this.#booted).split(/\r?\n/).slice(0, -1)
      for (const line of lines) if (line.startsWith(words)) return line.slice(words.length)
      const ended = lines.find((line) => line.startsWith(ENDED))
      const why = ended ?? (this.isUp ? undefined : `${GUEST}the machine went off`)
      if (why === undefined && performance.now() < untilMs) await sleep(20)
      else throw new Error(`${this.name}: ${why ?? `no "${words}" in time`}: ${this.console.slice(-CONSOLE_END)}`)
    }
  }

  #words(writesBack: GuestOrder['writesBack']): string[] {
    const { name, node, plug: { address, gateway, device }, folder } = this.#o
    const config = this.#config
    const order: GuestOrder = { config, nodeMain: NODE_MAIN, environment: node.env ?? {}, address, gateway, writesBack }
    const [orderFile, init] = [path.join(folder, `${name}.json`), path.join(folder, `${name}.init`)]
    writeFileSync(orderFile, JSON.stringify(order))
    writeFileSync(init, `${INIT}exec ${process.execPath} ${MAIN} ${orderFile}\n`, { mode: 0o755 })
    return [
      `mem=${MEMORY}`, 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`,
      'con=null', 'con0=fd:0,fd:1', 'quiet', `uml_dir=${folder}/uml/`, `ubd0=${this.#image}`,
      // Without GRO it drops what its host sends in one piece, and TCP crawls.
      `vec0:transport=tap,ifname=${device},depth=64,gro=1`,
    ]
  }

  #environment(): NodeJS.ProcessEnv {
    const { preload, folder } = this.#o
    const { bavail, bsize } = statfsSync(SHARED_MEMORY)
    const TMPDIR = bavail * bsize > SHARED_MEMORY_BYTES ? SHARED_MEMORY : folder
    return { ...process.env, TMPDIR, ...(preload === undefined ? {} : { LD_PRELOAD: preload }) }
  }
}

/**
 * Once on this side, so that no guest has to compile what runs in it: its root is read-only, and a process that
 * compiles has the compiler in memory for good. @param files  of tests; what a node is made of is compiled anyway
 */
export function compileForGuests(files = [MAIN, NODE_MAIN]): void {
  warmCompileCache()
  // They end at once: nobody says what they are to do.
  for (const file of files) spawnSync(process.execPath, [file], { input: '', env: withCompileCache(process.env) })
}
