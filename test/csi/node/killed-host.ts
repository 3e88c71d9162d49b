/**
 * A host for the test of killed steps: a kubelet folder, volumes behind nbdkit, and CSI's Node service as a process
 * that is killed with -9 at the n-th program that it runs: before that, while it runs on as an orphan, after it, or
 * with it, as by a host that dies. Repeats each call until it is answered, as kubelet does, and then compares what the
 * kernel shows with what was promised.
 */
import { fork, spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, realpathSync, rmSync, truncateSync, writeFileSync,
} from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { GENERATION, MODE } from '../../../csi/controller/publish-volume.ts'
import { HOST_PROGRAMS, findProgram } from '../../../csi/host/host-command.ts'
import type { HostProgram } from '../../../csi/host/host-command.ts'
import { loopOf } from '../../../csi/host/loop-devices.ts'
import { readMounts } from '../../../csi/host/mountinfo.ts'
import type { Mount } from '../../../csi/host/mountinfo.ts'
import { MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import type { ChildAnswer, ChildCall, ChildSetup } from './node-child.ts'

const CHILD = path.join(import.meta.dirname, 'node-child.ts')
/** The least of xfs is 300 MiB. */
const VOLUME_BYTES = 320 * MIB
/** A step that an orphan still does is refused until it is done. */
const TRIES_MAX = 60
const AGAIN_MS = 100
const OK = 0
/** FAILED_PRECONDITION, INTERNAL, UNAVAILABLE: kubelet comes again. */
const TRIED_AGAIN = [9, 13, 14]

/** `cut`: the program dies, too. Of an mkfs all was written but the superblock; any other has not begun. */
export const KILLS = ['before', 'during', 'after', 'cut'] as const
export type Kill = (typeof KILLS)[number]

interface Ended {
  /** gRPC's. */
  code: number
  message: string
}

/** The process that serves, and one that will when that is killed. */
export class NodeProcesses {
  readonly #env: NodeJS.ProcessEnv
  #serving: ChildProcess | undefined
  #standby: ChildProcess

  constructor(t: Pick<Test, 'teardown'>, env: NodeJS.ProcessEnv = {}) {
    this.#env = { ...process.env, ...env }
    this.#standby = this.#start()
    t.teardown(() => this.#end())
  }

  #start(): ChildProcess {
    return fork(CHILD, { env: this.#env, execArgv: process.execArgv })
  }

  /** Undefined: it was killed before it answered. */
  async call(call: ChildCall): Promise<ChildAnswer | undefined> {
    if (this.#serving === undefined) {
      this.#serving = this.#standby
      this.#standby = this.#start()
      await Promise.race([once(this.#serving, 'message'), once(this.#serving, 'exit')])
    }
    const child = this.#serving
    return new Promise((resolve) => {
      const gone = (): void => {
        this.#serving = undefined
        child.off('message', answered)
        resolve(undefined)
      }
      const answered = (answer: unknown): void => {
        child.off('exit', gone)
        resolve(answer as ChildAnswer)
      }
      child.once('exit', gone).once('message', answered)
      child.send(call)
    })
  }

  async #end(): Promise<void> {
    for (const child of [this.#serving, this.#standby]) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
}

export class KilledHost {
  readonly kubelet: string
  readonly volumeId = randomBytes(16).toString('hex')
  readonly #dir: string
  readonly #programs: string
  readonly #setup: ChildSetup
  readonly #nodes: NodeProcesses
  readonly #image: string
  #server: ChildProcess | undefined

  constructor(t: Pick<Test, 'teardown'>, nodes: NodeProcesses) {
    this.#nodes = nodes
    this.#dir = realpathSync(temporaryFolder(t))
    const at = (name: string): string => path.join(this.#dir, name)
    for (const name of ['kubelet', 'programs', 'n1/attached', 'state']) mkdirSync(at(name), { recursive: true })
    this.kubelet = at('kubelet')
    this.#programs = at('programs')
    this.#image = at('image')
    writeFileSync(this.#image, '')
    truncateSync(this.#image, VOLUME_BYTES)
    const volumes = { [this.volumeId]: VOLUME_BYTES }
    const env = { PATH: `${this.#programs}:${process.env.PATH ?? ''}` }
    this.#setup = { kubelet: this.kubelet, state: at('state'), nodeFolder: at('n1'), volumes, env }
    this.#plantPrograms()
    t.teardown(() => this.#end())
  }

  #plantPrograms(): void {
    writeFileSync(path.join(this.#programs, 'ran'), '')
    writeFileSync(path.join(this.#programs, 'kill'), '\n')
    for (const program of HOST_PROGRAMS) {
      const file = path.join(this.#programs, program)
      const runs = program === 'nbdfuse' ? ofServer : ofProgram
      writeFileSync(file, [
        '#!/bin/sh',
        `echo ${program} >> ${this.#programs}/ran; read at run kill < ${this.#programs}/kill`,
        `n=$(grep -c -x ${program} ${this.#programs}/ran)`,
        `[ "$at" = any ] && n=$(grep -c . ${this.#programs}/ran) && at=${program}`,
        `[ "$at $run" = "${program} $n" ] || kill=`,
        `[ "$kill" = before ] && { kill -9 $PPID; exit 1; }`,
        ...runs(findProgram(program)!, program),
      ].join('\n'))
      chmodSync(file, 0o755)
    }
  }

  /** @param run  from 1 on, of that program or of any */
  killAt(run: number, kill: Kill, program: HostProgram | 'any' = 'any'): void {
    writeFileSync(path.join(this.#programs, 'kill'), `${program} ${run} ${kill}\n`)
  }

  /** Programs that were run so far, in their order. */
  ran(): string[] {
    return readFileSync(path.join(this.#programs, 'ran'), 'utf8').split('\n').filter((name) => name !== '')
  }

  get steps(): number {
    return this.ran().length
  }

  /** Of nbdfuse, for our volume. */
  servers(): string[] {
    return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandLine(pid).includes(this.#dir)
      && commandLine(pid).startsWith('nbdfuse'))
  }

  /** Served so from the next `serve` on. */
  grow(sizeBytes: number): void {
    truncateSync(this.#image, sizeBytes)
    this.#setup.volumes[this.volumeId] = sizeBytes
  }

  /** The volume is attached under that generation, and under no other. */
  async serve(generation: number): Promise<void> {
    await this.endServer()
    this.#setup.generation = generation
    const socket = path.join(this.#setup.nodeFolder, 'attached', `${this.volumeId}.${generation}`)
    this.#server = spawn('nbdkit', ['-f', '-U', socket, 'file', this.#image], { stdio: 'ignore' })
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** It takes requests, and answers none, until the test ends. */
  stopServer(): void {
    this.#server!.kill('SIGSTOP')
  }

  /** A stage has brought it to the node. */
  get hasKey(): boolean {
    return existsSync(path.join(this.#setup.state, 'key'))
  }

  /** The volume is held elsewhere. */
  takeAway(): void {
    delete this.#setup.generation
  }

  /** As a data process that is gone. */
  async endServer(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    server.kill('SIGKILL')
    await once(server, 'exit')
    const attached = path.join(this.#setup.nodeFolder, 'attached')
    for (const name of readdirSync(attached)) rmSync(path.join(attached, name))
  }

  /** @returns the gRPC status in the end; what is tried again is, until it is OK */
  async call(call: string, request: object, { once: isOnce = false } = {}): Promise<Ended> {
    let said = 'killed again and again'
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const answer = await this.#send(call, request)
      if (answer === undefined) continue
      if (!('code' in answer)) return { code: OK, message: '' }
      if (isOnce || !TRIED_AGAIN.includes(answer.code)) return answer
      said = answer.message
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
    }
    return { code: -1, message: said }
  }

  #send(call: string, request: object): Promise<ChildAnswer | undefined> {
    return this.#nodes.call({ setup: this.#setup, call, request: { volumeId: this.volumeId, ...request } })
  }

  /** What it answers, or its refusal. */
  async ask(call: string, request: object): Promise<unknown> {
    const answer = await this.#send(call, request)
    return answer !== undefined && 'response' in answer ? answer.response : answer
  }

  stage(generation: number, fsType: string, options: { once?: boolean } = {}): Promise<Ended> {
    return this.call('NodeStageVolume', {
      stagingTargetPath: this.at('staging'), secrets: {}, volumeCapability: capability(fsType),
      publishContext: context(generation),
    }, options)
  }

  publish(generation: number, fsType: string, name: string, readonly: boolean): Promise<Ended> {
    return this.call('NodePublishVolume', {
      stagingTargetPath: this.at('staging'), targetPath: this.at(name), volumeCapability: capability(fsType), readonly,
      publishContext: context(generation),
    })
  }

  at(name: string): string {
    return path.join(this.kubelet, name)
  }

  mounts(): Mount[] {
    return readMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${this.#dir}/`))
  }

  #loop() {
    return loopOf(path.join(this.#setup.state, 'fuse', this.volumeId, 'disk'))
  }

  /** What is left of a volume that nobody uses any more. */
  leftovers(): string[] {
    const fuse = path.join(this.#setup.state, 'fuse')
    const loop = this.#loop()
    return [
      ...this.mounts().map(({ mountPoint }) => `mount ${mountPoint}`),
      ...(loop === undefined ? [] : [`loop device ${loop.path}`]),
      ...this.servers().map((pid) => `nbdfuse ${pid}`),
      ...readdirSync(fuse).filter((name) => name !== 'devices').map((name) => `state ${name}`),
      ...readdirSync(path.join(fuse, 'devices')).map((name) => `entry ${name}`),
      ...readdirSync(this.kubelet).filter((name) => name !== 'staging').map((name) => `path ${name}`),
    ]
  }

  async #end(): Promise<void> {
    writeFileSync(path.join(this.#programs, 'kill'), '\n')
    for (const name of ['a', 'b']) await this.call('NodeUnpublishVolume', { targetPath: this.at(name) }, { once: true })
    await this.call('NodeUnstageVolume', { stagingTargetPath: this.at('staging') }, { once: true })
    await this.endServer()
    this.#cleanUp()
  }

  /** What a bug has left. */
  #cleanUp(): void {
    // Whose file is in a mount that is gone is found no more.
    const loop = this.#loop()
    for (const { mountPoint } of this.mounts().reverse()) spawnSync('umount', ['-l', mountPoint])
    if (loop !== undefined) spawnSync('losetup', ['--detach', loop.path])
    for (const pid of this.servers()) process.kill(Number(pid), 'SIGKILL')
  }
}

/** One that ends. */
const ofProgram = (real: string, program: string): string[] => [
  ...(program.startsWith('mkfs.') ? [
    // Its last word is the device.
    `[ "$kill" = cut ] && { ${real} "$@"; for last; do :; done; `
      + 'dd if=/dev/zero of="$last" bs=4096 count=1 conv=fsync,notrunc 2> /dev/null; kill -9 $PPID; exit 1; }',
  ] : ['[ "$kill" = cut ] && { kill -9 $PPID; exit 1; }']),
  '[ "$kill" = during ] && kill -9 $PPID',
  `${real} "$@"; status=$?`,
  '[ "$kill" = after ] && kill -9 $PPID',
  'exit $status',
]

/** One that goes on, and is found by its command line. During: it is there, and does not serve for a while. */
const ofServer = (real: string): string[] => [
  '[ "$kill" = cut ] && { kill -9 $PPID; exit 1; }',
  `[ "$kill" = "" ] && exec ${real} "$@"`,
  'for word; do file=$last; last=$word; done',
  `${real} "$@" &`,
  // Until then it is this script, by its name too.
  `until case "$words" in ${real}*) ;; *) false ;; esac; do read -r words < /proc/$!/cmdline; done`,
  '[ "$kill" = during ] && kill -STOP $!',
  '[ "$kill" = after ] && until [ -e "$file" ]; do sleep 0.01; done',
  'kill -9 $PPID',
  '[ "$kill" = during ] && { sleep 1; kill -CONT $!; }',
  'wait',
]

const commandLine = (pid: string): string => {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return [path.basename(words[0] ?? ''), ...words.slice(1)].join(' ')
  } catch {
    return ''
  }
}

export const context = (generation: number, mode = 'single'): object =>
  ({ [GENERATION]: String(generation), [MODE]: mode })

export const capability = (fsType: string): object => ({
  mount: { fsType, mountFlags: ['noatime'], volumeMountGroup: '' }, accessMode: { mode: 'SINGLE_NODE_WRITER' },
})
