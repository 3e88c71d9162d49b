/**
 * Where the stories of a kernel device are told, with their times: a guest n1 with a data process, a keeper and the
 * kernel's NBD client; two more nodes and the cluster store on the host. What happens there is in files beside this.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterNodeProcess, configOfNode } from '../cluster/cluster-node-process.ts'
import { EMBEDDED, StoreProcess } from '../conformance/cluster-store/store-process.ts'
import { compileForGuests } from '../power/guest.ts'
import { enterOwnNetwork, HUB, plugFor } from '../power/own-network.ts'
import { compileWideRegisters } from '../power/wide-registers.ts'
import { GUEST_KERNEL, KernelGuest, nbdModule, OWN } from './kernel-guest.ts'

export const ROOT = path.resolve(import.meta.dirname, '../..')
export const CLI = path.join(ROOT, 'cli/main.ts')
const GUEST_NODE = path.join(import.meta.dirname, 'guest-node.ts')
const STORE_MAIN = path.resolve(import.meta.dirname, '../power/store-main.ts')
const PORTS = { store: 2379, peer: 7000, api: 8000 }
export const STATE = `${OWN}/host`
const DAEMON_LOG = `${OWN}/n1/daemon.log`
const DISK_BYTES = 640 * MIB
/** On the guest's disk: the node's folder, and what ext4 needs. */
const BESIDE_BYTES = 384 * MIB
export const VOLUME_BYTES = 256 * MIB
export const AT = '/run/data'

export interface StoryOptions {
  say(line: string): void
  /** Of the guest. */
  memory?: string
  /** Of each node; preallocated. */
  diskBytes?: number
}

/** Things to be undone, the last one first. */
class Ending {
  readonly #steps: Array<() => unknown> = []
  readonly teardown = (step: () => unknown): void => void this.#steps.push(step)

  async run(): Promise<void> {
    const errors: unknown[] = []
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, 'a story has left something')
  }
}

export class Story {
  readonly guest: KernelGuest
  readonly hosts: ClusterNodeProcess[]
  readonly control: ControlClient
  readonly folder: string
  /** What is to be undone when the story is over, the last first. */
  readonly teardown: Ending['teardown']
  readonly #o: StoryOptions
  readonly #startedMs = performance.now()
  readonly #config: NodeConfig

  private constructor(options: StoryOptions, folder: string, store: string, ending: Ending) {
    this.#o = options
    this.folder = folder
    this.teardown = ending.teardown
    const at = (host: string, number: number): Partial<NodeConfig> => ({
      cluster: {
        store, listenPeer: { host, port: PORTS.peer + number }, listenApi: { host, port: PORTS.api + number },
      },
    })
    const { memory = '768M', diskBytes = DISK_BYTES } = options
    const same = { store, diskBytes, dir: folder }
    this.hosts = ['n2', 'n3'].map((name, i) => new ClusterNodeProcess(name, { ...same, change: at(HUB, i) }))
    const plug = plugFor(1)
    this.#config = configOfNode('n1', { ...same, dir: OWN, change: at(plug.address, 0) })
    const preload = compileWideRegisters(folder)
    this.guest = new KernelGuest({ folder, name: 'n1', memory, diskBytes: diskBytes + BESIDE_BYTES, plug, preload })
    this.control = connectControlApi({ socketPath: this.hosts[0]!.paths.api, source: 'of the story' })
    ending.teardown(() => this.control.close())
    for (const node of this.hosts) ending.teardown(() => node.killNode())
    ending.teardown(() => this.guest.cutPower())
  }

  static async tell(options: StoryOptions, work: (story: Story) => Promise<void>): Promise<void> {
    const folder = mkdtempSync('/tmp/hft-kernel-')
    const ending = new Ending()
    ending.teardown(() => rmSync(folder, { recursive: true }))
    try {
      compileForGuests([GUEST_NODE, GUEST_KERNEL])
      enterOwnNetwork()
      const kind = {
        ...EMBEDDED,
        command: (dir: string, port: number, host = HUB) => [process.execPath, STORE_MAIN, dir, host, String(port)],
      }
      const store = new StoreProcess(ending, kind, PORTS.store, HUB)
      await store.start()
      const story = new Story(options, folder, store.address, ending)
      try {
        await work(story)
      } catch (error) {
        story.tell(error instanceof Error ? error.stack! : String(error))
        await story.#evidence()
        throw error
      }
    } finally {
      await ending.run()
    }
  }

  tell(what: string): void {
    this.#o.say(`${((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(6)} s  ${what}`)
  }

  async #evidence(): Promise<void> {
    this.#o.say(this.guest.console.slice(-4000))
    if (!this.guest.isUp) return
    const logs = `${STATE}/keeper.log ${OWN}/outside/keeper.log ${OWN}/n1/daemon.log`
    const shown = await Promise.race([
      this.guest.run(`tail -n 15 ${logs}; dmesg | tail -n 30`), sleep(10_000),
    ])
    if (shown !== undefined) this.#o.say(shown.output)
  }

  /** All nodes serve. @param devices  of the kernel's NBD client, at most */
  async start(devices = 4): Promise<void> {
    const { control } = this
    await Promise.all([this.boot(devices), ...this.hosts.map((node) => node.start())])
    await this.startNode()
    while ((await control.listNodes()).nodes.filter(({ disks }) => disks.length === 1).length < 3) await sleep(100)
  }

  /** The guest, with an NBD client and nothing of ours. */
  async boot(devices = 4): Promise<void> {
    const { guest } = this
    await guest.boot()
    await guest.kernel(`load ${nbdModule()} max_part=0 nbds_max=${devices}`)
    this.tell(`the guest is up: ${(await guest.must('uname -r')).trim()}`)
  }

  /** All nodes serve, and a volume has a copy on each. */
  async begin(name: string): Promise<void> {
    const { control } = this
    await this.start()
    const parameters = { replicas: '2' }
    await control.createVolume({ name, sizeBytes: VOLUME_BYTES, parameters }).catch((error) => {
      // It is being made.
      if (!(error instanceof HoldfastError && error.code === 'volume-waits')) throw error
    })
    await this.until('the volume is whole', async () => (await control.getVolume({ name })).health === 'healthy')
  }

  /** The tree of another commit, with the packages of this one. @returns its folder */
  treeOf(commit: string): string {
    const tree = path.join(this.folder, commit)
    const made = spawnSync('sh', ['-c', `mkdir ${tree} && git archive ${commit} | tar -x -C ${tree}`], { cwd: ROOT })
    if (made.status !== 0) throw new Error(`${commit}: ${made.stderr.toString()}`)
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(tree, 'node_modules'))
    return tree
  }

  /** The node and the keeper of the guest run the text of that tree from now on: stopped in order, and started. */
  async changeTo(tree: string, name: string): Promise<void> {
    const { guest } = this
    await guest.must(`kill $(cat ${STATE}/keeper.lock)`)
    const supervisor = (await guest.must(`cat ${OWN}/n1/supervisor.pid`)).trim()
    // Ended, and perhaps not buried: the first process of the guest reads what it is told.
    const isThere = `grep -q '^State:.[^Z]' /proc/${supervisor}/status 2>/dev/null`
    await guest.must(`kill ${supervisor}; while ${isThere}; do sleep 0.1; done`)
    await this.startNode(tree)
    await this.holdfast(`attach ${name}`, tree)
  }

  /** The supervisor of the guest's node, and a daemon. */
  async startNode(tree = ROOT): Promise<void> {
    const file = path.join(this.folder, 'n1.json')
    writeFileSync(file, JSON.stringify(this.#config))
    const before = await this.#readies()
    const node = `${process.execPath} ${GUEST_NODE} ${tree} ${file}`
    await this.guest.must(`setsid ${node} > ${OWN}/node.out 2>&1 &`)
    await this.#readyAgain(before)
    this.tell('its node serves')
  }

  holdfast(words: string, tree = ROOT): Promise<string> {
    const cli = path.join(tree, path.relative(ROOT, CLI))
    return this.guest.must(`${process.execPath} ${cli} ${words} --state ${STATE} --endpoint ${OWN}/n1`)
  }

  async until(what: string, isSo: () => Promise<boolean>, withinMs = 120_000): Promise<void> {
    for (const startedMs = performance.now(); !(await isSo()); await sleep(200)) {
      if (performance.now() - startedMs > withinMs) throw new Error(`not in time: ${what}`)
    }
    this.tell(what)
  }

  /** A new daemon serves in the place of one that was killed. */
  async killDaemon(): Promise<void> {
    const before = await this.#readies()
    await this.guest.must(`kill -9 $(cat ${OWN}/n1/pid)`)
    await this.#readyAgain(before)
  }

  /** How often a daemon was ready. */
  async #readies(): Promise<string> {
    return (await this.guest.must(`cat ${DAEMON_LOG} 2>/dev/null | grep -c '"message":"ready"' || true`)).trim()
  }

  async #readyAgain(before: string): Promise<void> {
    const isReady = `[ $(grep -c '"message":"ready"' ${DAEMON_LOG} 2>/dev/null || echo 0) -gt ${before} ]`
    await this.guest.must(`until ${isReady}; do sleep 0.2; done`)
  }

  async killKeeper(): Promise<void> {
    await this.guest.must(`kill -9 $(cat ${STATE}/keeper.lock)`)
  }

  /** What the guest's kernel says of I/O that failed; empty: nothing. */
  async errors(): Promise<string> {
    const { output } = await this.guest.run(`dmesg | grep -iE 'I/O error|EXT4-fs error|remount|hung task|blocked for'`)
    const mounts = await this.guest.must('cat /proc/mounts')
    const isReadOnly = mounts.split('\n').some((line) => line.includes(` ${AT} `) && !/ rw[, ]/.test(line))
    return `${output}${isReadOnly ? 'the file system is read-only' : ''}`
  }
}
