/**
 * A machine with a kernel that has an NBD client, as a user-mode-linux guest: the story that runs in it is told from
 * the host, command by command. Its root is the host's file system, read-only; `/mnt` is its own disk.
 */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync, ftruncateSync, openSync, readFileSync, readdirSync, statfsSync, writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { withCompileCache } from '../../dataplane/compile-cache.ts'
import { assert } from '../../engine/assert.ts'
import { MIB } from '../../engine/units.ts'
import { LINUX } from '../power/guest.ts'
import type { Plug } from '../power/own-network.ts'

/** Lines of a guest begin with it; whatever else is on the console is its kernel's. */
const GUEST = 'guest: '
const UP = `${GUEST}up`
export const GUEST_KERNEL = path.join(import.meta.dirname, 'guest-kernel.ts')
const MODULES = '/usr/lib/uml/modules'
const CACHE = 'NODE_COMPILE_CACHE'
const BOOT_MS = 120_000
const SHARED_MEMORY = '/dev/shm'
/**
 * Helpers of the guest die with it. It is not the first process, which could not end by itself. What is unmounted on
 * this side is unmounted for it too, and not in use for as long as it runs.
 */
const NAMESPACE = [
  '--propagation', 'slave', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', '"$0" "$@"; exit $?',
]
/** Where its own disk is, inside. */
export const OWN = '/mnt'

export interface KernelGuestOptions {
  /** Of its files on the host. */
  folder: string
  name: string
  memory: string
  diskBytes: number
  plug: Plug
  preload: string | undefined
}

export interface Ran {
  code: number
  output: string
}

/** Where the module lies for the guest's kernel; undefined: it is not installed. */
export function nbdModule(): string | undefined {
  try {
    const release = readdirSync(MODULES)[0]!
    return path.join(MODULES, release, 'kernel/drivers/block/nbd.ko')
  } catch {
    return undefined
  }
}

export class KernelGuest {
  console = ''
  readonly #o: KernelGuestOptions
  readonly #image: string
  readonly #waiting = new Map<number, (ran: Ran) => void>()
  #child: ChildProcess | undefined
  #isUp = false
  #ended: Promise<unknown> = Promise.resolve()
  #nextId = 1

  constructor(options: KernelGuestOptions) {
    this.#o = options
    this.#image = path.join(options.folder, `${options.name}.img`)
    const fd = openSync(this.#image, 'w')
    ftruncateSync(fd, options.diskBytes)
    closeSync(fd)
    const made = spawnSync('mkfs.ext4', ['-q', '-m', '0', this.#image])
    assert(made.status === 0, 'the disk of a guest is made')
  }

  get isUp(): boolean {
    return this.#child !== undefined && this.#isUp
  }

  async boot(): Promise<void> {
    const { folder, memory, name, plug, preload } = this.#o
    const init = path.join(folder, `${name}.init`)
    writeFileSync(init, this.#init(), { mode: 0o755 })
    const words = [
      `mem=${memory}`, 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`,
      'con=null', 'con0=fd:0,fd:1', `uml_dir=${folder}/uml/`, `ubd0=${this.#image}`, 'quiet', 'loglevel=3',
      `vec0:transport=tap,ifname=${plug.device},depth=64,gro=1`,
    ]
    const { bavail, bsize } = statfsSync(SHARED_MEMORY)
    const TMPDIR = bavail * bsize > 2048 * MIB ? SHARED_MEMORY : folder
    const environment = { ...process.env, TMPDIR, ...(preload === undefined ? {} : { LD_PRELOAD: preload }) }
    const child = spawn('unshare', [...NAMESPACE, LINUX, ...words], { stdio: 'pipe', env: environment })
    this.#child = child
    this.#isUp = false
    child.stdin.on('error', () => undefined)
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.console += text))
    createInterface({ input: child.stdout }).on('line', (line) => this.#heard(line))
    this.#ended = once(child, 'close').then(() => {
      this.#child = undefined
      for (const answer of this.#waiting.values()) answer({ code: -1, output: 'the machine went off' })
      this.#waiting.clear()
    })
    for (const startedMs = performance.now(); !this.#isUp; await sleep(50)) {
      const isLate = performance.now() - startedMs > BOOT_MS
      if (this.#child === undefined || isLate) throw new Error(`${name} did not boot: ${this.console.slice(-3000)}`)
    }
  }

  /** Ends with it; so does what it waits for. */
  async run(command: string): Promise<Ran> {
    const id = this.#nextId++
    const ran = new Promise<Ran>((resolve) => this.#waiting.set(id, resolve))
    this.#child!.stdin!.write(`${id} ${Buffer.from(command).toString('base64')}\n`)
    return ran
  }

  /** @throws when it fails */
  async must(command: string): Promise<string> {
    const { code, output } = await this.run(command)
    if (code !== 0) throw new Error(`in the guest, \`${command}\` ended with ${code}: ${output}`)
    return output
  }

  /** Of guest-kernel.ts. */
  async kernel(words: string): Promise<void> {
    await this.must(`${process.execPath} ${GUEST_KERNEL} ${words}`)
  }

  /** As a machine that pauses: nothing of it runs on, its network and its clock included. */
  freeze(): void {
    process.kill(this.#kernelPid(), 'SIGSTOP')
  }

  thaw(): void {
    process.kill(this.#kernelPid(), 'SIGCONT')
  }

  /** Of the host: below `unshare` is the shell of NAMESPACE, and below that the kernel. */
  #kernelPid(): number {
    const children = (pid: number): string => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    const only = (pid: number): number => Number(children(pid).split(' ')[0])
    const pid = only(only(this.#child!.pid!))
    assert(pid > 0, 'the kernel of a guest is a process')
    return pid
  }

  /** Nobody inside is told. */
  async cutPower(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#ended
  }

  async powerOff(): Promise<void> {
    void this.run(`sync; umount ${OWN}; ${process.execPath} ${GUEST_KERNEL} off`)
    await Promise.race([this.#ended, sleep(20_000)])
    await this.cutPower()
  }

  #heard(line: string): void {
    this.console += `${line}\n`
    if (line.startsWith(UP)) this.#isUp = true
    else if (line.startsWith(GUEST)) {
      const [id, code, output = ''] = line.slice(GUEST.length).trim().split(' ')
      this.#waiting.get(Number(id))?.({ code: Number(code), output: Buffer.from(output, 'base64').toString() })
      this.#waiting.delete(Number(id))
    }
  }

  #init(): string {
    const { plug: { address, gateway } } = this.#o
    return `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t ext4 /dev/ubda ${OWN}
mkdir -p ${OWN}/tmp /dev/shm
mount -t tmpfs shm /dev/shm
export TMPDIR=${OWN}/tmp
export ${CACHE}=${withCompileCache({})[CACHE]}
ip link set lo up
ip address add ${address}/24 dev vec0
ip link set vec0 up
ip route add default via ${gateway}
stty -echo -icanon < /dev/tty0 2> /dev/null
echo "${UP}"
while read -r id command; do
  (
    echo "$command" | base64 -d > /run/command.$id
    sh /run/command.$id > /run/output.$id 2>&1 < /dev/null
    echo "${GUEST}$id $? $(tail -c 16384 /run/output.$id | base64 -w 0)"
    rm -f /run/command.$id /run/output.$id
  ) &
done
echo it ended
`
  }
}
