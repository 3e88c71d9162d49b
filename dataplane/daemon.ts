/**
 * The daemon of a node, main thread: control only. Reads its start order from the supervisor, opens the data workers,
 * the NBD listeners and the control API, hands accepted sockets to workers, and stops in order:
 *
 *   start  folder identity -> workers open their stores -> exports known -> NBD sockets -> control API -> ready
 *   stop   exports refused, listeners and API closed -> sessions drained -> stores checkpointed -> exit 0
 *
 * Nothing is printed unless the start is refused, and then one sentence. Everything else is in daemon.log.
 */
import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { serveControlApi } from '../cluster/api/server.ts'
import type { ApiServer } from '../cluster/api/server.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import type { Result } from '../engine/volume/store-api.ts'
import { describeChecksum, requireNativeChecksum } from './checksum.ts'
import { DaemonLog } from './daemon-log.ts'
import { prepareDisk, releaseDisk } from './disk-preparation.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { EXIT, STOP_DEADLINE_MS } from './daemon-start.ts'
import type { Ready, StartOrder } from './daemon-start.ts'
import { VolumeExports } from './export-directory.ts'
import { setParentDeathSignal } from './libc.ts'
import { NbdListener } from './nbd/listener.ts'
import type { NodeConfig, TcpAddress } from './node-config.ts'
import { NodeControl } from './node-control.ts'
import { addedDisks, nodeIdentity, nodePaths, rememberDisk } from './node-folder.ts'
import type { NodePaths } from './node-folder.ts'
import { version } from './version.ts'
import { WorkerThread } from './worker-thread.ts'
import type { DiskOption } from './worker-messages.ts'

/** Of the two seconds a clean stop may take. */
const DRAIN_MS = 1000
const API_GRACE_MS = 200
const SIGKILL = 9

/** Disks of the configuration, and those added while an earlier daemon ran. The configuration wins. */
function allDisks(config: NodeConfig, paths: NodePaths): DiskOption[] {
  const configured = new Set(config.disks.map(({ path }) => path))
  return [...config.disks, ...addedDisks(paths.disks).filter(({ path }) => !configured.has(path))]
}

function unwrap<T>(result: Result<T>): T {
  if (!result.ok) throw result.error
  return result.value
}

class Daemon {
  readonly #order: StartOrder
  readonly #paths: NodePaths
  readonly #log: DaemonLog
  #workers: WorkerThread[] = []
  #listener: NbdListener | undefined
  #api: ApiServer | undefined
  #stopping = false

  constructor(order: StartOrder) {
    this.#order = order
    this.#paths = nodePaths(order.config.dir, order.config.name)
    this.#log = new DaemonLog({ file: this.#paths.log, node: order.config.name })
  }

  /** Our own mistake: the evidence goes to the log, the process ends, the supervisor starts another. */
  readonly bug = (error: unknown): void => {
    const stack = error instanceof Error ? error.stack ?? error.message : String(error)
    this.#log.event('error', 'a bug ends this daemon', { stack })
    process.exit(EXIT.BUG)
  }

  async start(): Promise<Ready> {
    const { config, ioFlusher } = this.#order
    const paths = this.#paths
    requireNativeChecksum()
    const identity = nodeIdentity(paths.identity)
    const exports = new VolumeExports()
    const listener = new NbdListener({
      exports,
      onSession: (session) => this.#workers[session.worker]!.session(session),
      onRefused: (reason) => this.#log.event('info', 'an NBD handshake was refused', { reason }),
    })
    this.#listener = listener
    const node = { nodeName: config.name, ...identity }
    const prepare = (disk: DiskOption, adopt: boolean) => unwrap(prepareDisk(disk, node, config.workers, adopt))
    const disks = allDisks(config, paths).map((option) => this.#kept(option, prepare(option, false)))
    const barrier = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
    this.#workers = Array.from({ length: config.workers }, (_, worker) => new WorkerThread({
      start: { disks, indexDir: paths.index, worker, workers: config.workers, barrier },
      log: this.#log,
      onBug: this.bug,
      onSessionEnded: (session) => listener.sessionEnded(session),
    }))
    const reports = await Promise.all(this.#workers.map((worker) => worker.opened()))
    const tcp = await this.#listen(listener, config.listenTcp)
    const control = new NodeControl({
      facts: {
        name: config.name,
        zone: config.zone,
        folder: paths.folder,
        ...identity,
        instanceId: randomUUID(),
        version: version(),
        ioFlusher,
        socketPath: paths.nbd,
        tcp,
        startedMs: performance.now(),
      },
      workers: this.#workers,
      exports,
      disks: { prepare, release: releaseDisk },
      rememberDisk: (disk) => rememberDisk(paths.disks, disk),
    })
    for (const [worker, report] of reports.entries()) control.adopt(worker, report.volumes)
    this.#api = await serveControlApi({ socketPath: paths.api, api: control, onBug: this.bug })
    this.#log.event('info', 'ready', {
      pid: process.pid,
      version: version(),
      disks: disks.length,
      volumes: reports.reduce((sum, { volumes }) => sum + volumes.length, 0),
      startMs: Math.round(performance.now()),
      ioFlusher,
      checksum: describeChecksum().sentence,
    })
    return { kind: 'ready', pid: process.pid, apiSocket: paths.api, nbdSocket: paths.nbd, tcp }
  }

  /** Pool and tags are written on the disk when it is made; a configuration that says otherwise is told so. */
  #kept({ pool, tags, path }: DiskOption, disk: PreparedDisk): PreparedDisk {
    if (disk.pool !== pool || disk.tags.join() !== tags.join()) {
      const [kept, configured] = [disk, { pool, tags }].map((one) => `${one.pool} ${one.tags.join()}`.trim())
      const message = 'the disk keeps the pool and tags it was made with'
      this.#log.event('warn', message, { disk: path, kept: kept!, configured: configured! })
    }
    return disk
  }

  /** The folder's lock is ours: a socket file that is there was left by a dead daemon. */
  async #listen(listener: NbdListener, tcp: TcpAddress | undefined): Promise<TcpAddress | undefined> {
    rmSync(this.#paths.nbd, { force: true })
    await listener.listenUnix(this.#paths.nbd)
    return tcp === undefined ? undefined : { host: tcp.host, port: await listener.listenTcp(tcp) }
  }

  /** The world refused: one sentence, and whether another try may help. */
  refused(error: HoldfastError): void {
    this.#log.event('error', error.message, { code: error.code })
    process.stderr.write(`holdfast: ${error.message}\n`)
    process.exit(ERRORS[error.code].retryable ? EXIT.REFUSED_FOR_NOW : EXIT.REFUSED)
  }

  /** First signal: in order, within the deadline. Second: at once; the store is crash-safe. */
  readonly signalled = (signal: NodeJS.Signals): void => {
    if (this.#stopping) {
      this.#log.event('warn', 'a second signal ends the daemon at once', { signal })
      process.exit(EXIT.CLEAN)
    }
    this.#stopping = true
    const startedMs = performance.now()
    setTimeout(() => {
      this.#log.event('warn', 'the stop took too long and is cut short', { deadlineMs: STOP_DEADLINE_MS })
      process.exit(EXIT.CLEAN)
    }, STOP_DEADLINE_MS)
    this.#stop().then(() => {
      this.#log.event('info', 'stopped', { signal, stopMs: Math.round(performance.now() - startedMs) })
      process.exit(EXIT.CLEAN)
    }, this.bug)
  }

  async #stop(): Promise<void> {
    this.#listener?.refuseNew()
    const listenerClosed = this.#listener?.close()
    await this.#api?.close(API_GRACE_MS)
    await Promise.all(this.#workers.map(async (worker) => {
      try {
        await worker.call<'stop'>({ kind: 'stop', drainMs: DRAIN_MS })
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        this.#log.event('error', 'a store did not stop cleanly', { reason: error.message })
      }
    }))
    await listenerClosed
  }
}

async function run(order: StartOrder): Promise<void> {
  setParentDeathSignal(SIGKILL)
  if (process.ppid !== order.supervisorPid) process.exit(EXIT.CLEAN)
  const daemon = new Daemon(order)
  process.on('uncaughtException', daemon.bug)
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, daemon.signalled)
  try {
    const ready = await daemon.start()
    process.send?.(ready)
  } catch (error) {
    if (error instanceof HoldfastError) daemon.refused(error)
    else daemon.bug(error)
  }
}

if (import.meta.main) {
  if (process.send === undefined) {
    process.stderr.write('holdfast: the daemon is started by its supervisor; use `holdfast node`\n')
    process.exit(EXIT.REFUSED)
  }
  process.once('message', (order: StartOrder) => void run(order))
}
