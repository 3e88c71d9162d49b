/**
 * `holdfast demo failover`: on a running `holdfast dev`, a client writes, reads and trims a volume through one node and
 * checks every answer, while the node that leads the volume is killed as a dead host. It tells what the client saw.
 *
 *   a volume of its own -> load -> kill -> another node leads -> the dead one starts again, catches up -> all is read
 *
 * Nothing of the user's is written to: the volume is made for the demo and purged behind it. However it ends, also by
 * Ctrl-C, the node that was killed is started again and the volume goes.
 */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatSize } from '../cluster/api/amounts.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import type { Volume } from '../cluster/api/volume-messages.ts'
import { nodePaths } from '../dataplane/node-folder.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import { MIB } from '../engine/units.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { DEV_DIR_DEFAULT } from './dev-control.ts'
import { askDev } from './dev-socket.ts'
import { findEndpoint } from './endpoint.ts'
import { StampedClient } from './load/stamped-client.ts'
import { EXIT_FAILED, EXIT_OK, fields } from './output.ts'
import type { Output } from './output.ts'

const VOLUME_BYTES = 64 * MIB
const DEPTH = 16
const WARM_MS = 3000
/** Answers that have to come after the kill, so that it was not the last one of before. */
const WRITES_AFTER = 200
const LOOK_MS = 50
/** Of each wait; a machine that takes longer has another problem. */
const WAIT_MS = 120_000

interface DemoResult {
  volume: string
  through: string
  killed: string
  primary: string
  epochBefore: number
  epoch: number
  errors: number
  longestPauseMs: number
  reconnects: number
  acknowledgedWrites: number
  reads: number
  verifiedBlocks: number
  wrong: string[]
  catchUpMs: number
}

export async function demoFailover({ arguments: given, output }: Invocation): Promise<number> {
  const dir = path.resolve(given.text('dir') ?? DEV_DIR_DEFAULT)
  const demo = new FailoverDemo(dir, output)
  const stop = () => demo.stop()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop)
  try {
    const result = await demo.run()
    output.result(result, () => report(result))
    return result.errors === 0 && result.wrong.length === 0 ? EXIT_OK : EXIT_FAILED
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, stop)
  }
}

class FailoverDemo {
  readonly #dir: string
  readonly #output: Output
  readonly #name = `failover-demo-${randomBytes(2).toString('hex')}`
  readonly #stopped = Promise.withResolvers<never>()
  #isStopped = false
  #control: ControlClient | undefined
  #client: StampedClient | undefined
  #isMade = false
  /** Killed, and not started again yet. */
  #down: string | undefined

  constructor(dir: string, output: Output) {
    this.#dir = dir
    this.#output = output
    // Whoever waits hears of it; nobody may.
    this.#stopped.promise.catch(() => undefined)
  }

  stop(): void {
    this.#isStopped = true
    this.#stopped.reject(new HoldfastError('demo-ended', { reason: 'you stopped it' }))
  }

  async run(): Promise<DemoResult> {
    try {
      return await this.#run()
    } finally {
      await this.#cleanUp()
    }
  }

  async #run(): Promise<DemoResult> {
    const { note } = this.#output
    const nodes = await this.#nodes()
    note('A client uses a volume, and the node that leads it is killed. What does the client see?')
    note('')
    this.#isMade = true
    const made = await this.#made()
    const killed = primaryOf(made)
    const through = nodes.find((node) => node !== killed)!
    this.#connect(through)
    note(`1  volume ${made.name}: ${formatSize(made.sizeBytes)} in ${made.copies.length} copies; ${killed} leads it,`
      + ` in epoch ${made.epoch}`)

    const client = new StampedClient({
      socketPath: nodePaths(this.#dir, through).nbd, exportName: made.name, random: Math.random, depth: DEPTH,
      isCluster: true,
    })
    this.#client = client
    await this.#within(client.connected(), `node ${through} serves the volume`)
    client.start()
    await this.#within(sleep(WARM_MS), '')
    const { acknowledgedWrites, reads } = client.counts
    note(`2  a client writes, reads and trims through ${through}, ${DEPTH} requests at a time, and checks each answer:`)
    note(`   ${acknowledgedWrites} writes and ${reads} reads in ${WARM_MS / 1000} s`)

    this.#down = killed
    const killedMs = performance.now()
    await askDev(this.#dir, { word: 'kill', node: killed })
    note(`3  ${killed} is killed with its supervisor, as a host that loses power; nobody tells the others`)
    await this.#until('the client goes on', () => client.counts.acknowledgedWrites >= acknowledgedWrites + WRITES_AFTER)
    const led = await this.#untilVolume('another node leads', (volume) => primaryOf(volume) !== killed
      && volume.epoch > made.epoch)
    note(`   ${seconds(client.held.longestMs)} without an answer, then all of them: ${primaryOf(led)} leads now,`
      + ` in epoch ${led.epoch}; the volume is ${led.health}`)

    await askDev(this.#dir, { word: 'start', node: killed })
    this.#down = undefined
    const startedMs = performance.now()
    const whole = await this.#untilVolume('the copy catches up', ({ health, copies }) => health === 'healthy'
      && copies.every(({ state }) => state === 'in-sync'))
    const catchUpMs = performance.now() - startedMs
    note(`4  ${killed} is started again after ${seconds(startedMs - killedMs)}: its copy got what it missed, and was in`
      + ` sync ${seconds(catchUpMs)} later, under load`)

    await this.#within(client.pause(), 'what is under way is answered')
    await this.#within(client.verify(), 'everything is read')
    note('5  the client stops, reads the whole volume, and compares every block with what it wrote')
    const { counts, held, problems, reconnects } = client
    return {
      volume: made.name, through, killed, primary: primaryOf(whole), epochBefore: made.epoch, epoch: whole.epoch,
      errors: counts.errors, longestPauseMs: Math.round(held.longestMs), reconnects,
      acknowledgedWrites: counts.acknowledgedWrites, reads: counts.reads, verifiedBlocks: counts.verifiedBlocks,
      wrong: [...problems], catchUpMs: Math.round(catchUpMs),
    }
  }

  /** Their names; at least two, all of them up. */
  async #nodes(): Promise<string[]> {
    const { socketPath, source } = await findEndpoint(this.#dir, {})
    this.#control = connectControlApi({ socketPath, source })
    const { nodes } = await this.#control.listNodes()
    if (nodes.length < 2) {
      const hint = 'start `holdfast dev` in a new folder, which gets three nodes, and name that with --dir'
      throw usageError(`${this.#dir} has one node, so nobody could take over from it`, hint)
    }
    const down = nodes.find(({ state }) => state !== 'up')
    if (down !== undefined) {
      const reason = `it is ${down.state}, and the demo needs all of them (\`holdfast dev start ${down.name}\`)`
      throw new HoldfastError('node-down', { name: down.name, reason })
    }
    return nodes.map(({ name }) => name).sort()
  }

  #connect(node: string): void {
    this.#control?.close()
    this.#control = connectControlApi({ socketPath: nodePaths(this.#dir, node).api, source: 'of the demo' })
  }

  async #made(): Promise<Volume> {
    const request = { name: this.#name, sizeBytes: VOLUME_BYTES, parameters: {} }
    await this.#patient(() => this.#control!.createVolume(request))
    return this.#untilVolume('the volume is healthy', ({ health, copies }) => health === 'healthy'
      && copies.some(({ role }) => role === 'primary'))
  }

  async #untilVolume(what: string, isSo: (volume: Volume) => boolean): Promise<Volume> {
    let volume: Volume | undefined
    await this.#until(what, async () => {
      volume = await this.#patient(() => this.#control!.getVolume({ name: this.#name }))
      return volume !== undefined && isSo(volume)
    })
    return volume!
  }

  /** Undefined: refused for now, as while nobody is elected. */
  async #patient<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof HoldfastError && ERRORS[error.code].retryable) return undefined
      throw error
    }
  }

  async #until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = performance.now() + WAIT_MS
    while (!(await this.#within(Promise.resolve(isSo()), what))) {
      if (performance.now() > endMs) throw late(what)
      await this.#within(sleep(LOOK_MS), what)
    }
  }

  async #within<T>(wait: Promise<T>, what: string): Promise<T> {
    const timer = new AbortController()
    const tooLate = sleep(WAIT_MS, undefined, { signal: timer.signal }).then(() => Promise.reject(late(what)))
    tooLate.catch(() => undefined)
    try {
      return await Promise.race([wait, this.#stopped.promise, tooLate])
    } finally {
      timer.abort()
    }
  }

  async #cleanUp(): Promise<void> {
    const { note } = this.#output
    if (this.#isStopped) note('stopping: the demo puts back what it changed')
    // In this order: with a copy back, whatever is under way ends.
    if (this.#down !== undefined) await attempt(() => askDev(this.#dir, { word: 'start', node: this.#down! }))
    await Promise.race([this.#client?.close(), sleep(CLOSE_MS)])
    if (this.#isMade) {
      const request = { name: this.#name, force: true, purge: true }
      // The node that decides may have been the one that was killed: the others wait for its term to end.
      const untilMs = performance.now() + WAIT_MS
      let isGone = false
      while (!(isGone = await attempt(() => this.#control!.deleteVolume(request))) && performance.now() < untilMs)
        await sleep(PAUSE_MS)
      const how = `\`holdfast volume delete ${this.#name} --purge\``
      if (!isGone) note(`volume ${this.#name} is still there; ${how} removes it`)
    }
    this.#control?.close()
  }
}

/** A client whose requests are held does not end by itself. */
const CLOSE_MS = 5000
const PAUSE_MS = 500

/** @returns whether it went well; what kept it from that is no news any more */
async function attempt(act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act()
    return true
  } catch (error) {
    if (error instanceof HoldfastError) return error.code === 'volume-not-found'
    throw error
  }
}

const late = (what: string): HoldfastError =>
  new HoldfastError('demo-ended', { reason: `it waited for ${WAIT_MS / 1000} s until ${what}` })

const primaryOf = ({ copies }: Volume): string => copies.find(({ role }) => role === 'primary')?.node ?? ''

const seconds = (ms: number): string => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`)

function report(result: DemoResult): string[] {
  const { acknowledgedWrites, reads, verifiedBlocks, wrong, errors, reconnects } = result
  return [
    '',
    'What the client saw',
    ...fields([
      ['  errors', errors === 0 ? '0: a request waits, and is sent again to whoever leads' : String(errors)],
      ['  longest pause', seconds(result.longestPauseMs)],
      ['  connection', reconnects === 0 ? `the same to ${result.through} all the time` : `lost ${reconnects} times`],
      ['  acknowledged', `${acknowledgedWrites} writes, ${reads} reads`],
      ['  verified', wrong.length === 0
        ? `${verifiedBlocks} blocks, every one as it was written last`
        : `${wrong.length} WRONG: ${wrong[0]}`],
    ]),
    'What the cluster did',
    ...fields([
      ['  leader', `${result.killed}, epoch ${result.epochBefore} -> ${result.primary}, epoch ${result.epoch}`],
      ['  caught up', `${seconds(result.catchUpMs)} after ${result.killed} was back`],
    ]),
    '',
    'Why the pause: nobody may lead while the dead one may still believe that it does, which is 2 to 3 s when nobody',
    'reports its end. `holdfast dev kill`, `dev start` and `status --watch` show the same by hand.',
  ]
}
