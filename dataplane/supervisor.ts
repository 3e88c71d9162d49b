/**
 * The supervisor of a node: the parent of its daemon, and as little else as possible, since its memory counts on every
 * node. It holds the folder's lock, asks the kernel for PR_SET_IO_FLUSHER before it spawns (children inherit it), sizes
 * the daemon's thread pool (only possible from outside), and starts a daemon that died again.
 *
 *   daemon ends with          supervisor
 *   0                         ends with 0
 *   REFUSED                   ends with 1; the daemon has said why
 *   REFUSED_FOR_NOW           the same on the first start, later a crash
 *   anything else, a signal   starts it again after a short wait
 *
 * In a cluster it tells the peers which instance has ended (`ended-reports.ts`), before it starts another one: they
 * need not wait until a lease is over.
 *
 * SIGTERM, SIGINT and SIGHUP stop the daemon cleanly; a second one, or ten seconds, kill it. The daemon dies with its
 * supervisor (PR_SET_PDEATHSIG, set by itself). With an IPC channel (`holdfast dev`) the supervisor also stops when the
 * channel closes. Signals from a terminal reach the supervisor only: the daemon has its own process group.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { warmCompileCache, withCompileCache } from './compile-cache.ts'
import { IndexSuspicion, markAll } from './index-damage.ts'
import { EXIT, STOP_DEADLINE_MS } from './daemon-start.ts'
import type { FromDaemon, StartOrder } from './daemon-start.ts'
import { DAEMON_FLAGS, MALLOC_ARENA_MAX } from './daemon-memory.ts'
import { EndedReports } from './ended-reports.ts'
import { DaemonLog } from './daemon-log.ts'
import { setIoFlusher } from '../cluster/libc.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import { keepMemorySecret } from './memory-secrecy.ts'
import { checkSocketPath, lockFolder, makeFolder, nodePaths } from './node-folder.ts'
import type { NodePaths } from './node-folder.ts'
import type { NodeConfig } from './node-config.ts'
import { RestartBackoff } from './restart-backoff.ts'

/** Enough that one hung disk, with its few operations in flight, leaves threads for the others, `level` and DNS. */
function threadPoolSize(disks: number): number {
  return Math.min(128, 8 + 8 * disks)
}

/** Descriptors 0-2, the IPC channel, and the folder's lock, which is released when the last of both processes ends. */
function spawnDaemon(config: NodeConfig, lockFd: number): ChildProcess {
  return spawn(process.execPath, [...DAEMON_FLAGS, path.join(import.meta.dirname, 'daemon.ts')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', lockFd],
    detached: true,
    env: {
      ...withCompileCache(process.env),
      UV_THREADPOOL_SIZE: String(threadPoolSize(config.disks.length)),
      MALLOC_ARENA_MAX,
    },
  })
}

/** A supervisor that ends waits so long for peers to hear that its daemon did. */
const TELL_AT_STOP_MS = 300

/** What is for scripts and people, or a hint for the next daemon: a full or failing folder ends no supervisor. */
function tried(paths: NodePaths, node: string, what: () => void): void {
  try {
    what()
  } catch (error) {
    const { code: reason = String(error) } = error as NodeJS.ErrnoException
    logEvent(paths, node, 'a file of the node is not kept; the node goes on', { reason })
  }
}

function logEvent(paths: NodePaths, node: string, message: string, fields: Record<string, string | number>): void {
  const log = new DaemonLog({ file: paths.log, node })
  log.event('warn', message, fields)
  log.close()
}

class Supervisor {
  readonly #config: NodeConfig
  readonly #paths: NodePaths
  readonly #lockFd: number
  readonly #ioFlusher: 'set' | 'refused'
  readonly #backoff = new RestartBackoff()
  readonly #suspicion = new IndexSuspicion()
  readonly #endings: EndedReports
  readonly #end: (code: number) => void
  #child: ChildProcess | undefined
  #restart: NodeJS.Timeout | undefined
  #wasReady = false
  #stopping = false

  constructor(config: NodeConfig, paths: NodePaths, lockFd: number, end: (code: number) => void) {
    this.#config = config
    this.#paths = paths
    this.#lockFd = lockFd
    this.#ioFlusher = setIoFlusher() === 0 ? 'set' : 'refused'
    this.#end = end
    this.#endings = new EndedReports(config.name, config.tls)
  }

  start(): void {
    const startedMs = performance.now()
    const child = spawnDaemon(this.#config, this.#lockFd)
    this.#child = child
    child.on('error', (error) => {
      process.stderr.write(`holdfast: the daemon cannot be started: ${error.message}\n`)
      this.#end(1)
    })
    child.on('message', (message: FromDaemon) => {
      if (message.kind === 'peers') return this.#endings.know(message)
      if (message.kind === 'ready') {
        if (!this.#wasReady) collectStart()
        this.#wasReady = true
      }
      process.send?.(message)
    })
    child.on('exit', (code, signal) => this.#ended(code, signal, performance.now() - startedMs))
    if (child.pid === undefined) return
    this.#tried(() => writeFileSync(this.#paths.pid, `${child.pid}\n`))
    const order: StartOrder = {
      kind: 'start',
      config: this.#config,
      ioFlusher: this.#ioFlusher,
      supervisorPid: process.pid,
    }
    // A daemon that dies before it has read its order is told by 'exit', not by this callback.
    child.send(order, () => {})
  }

  #ended(code: number | null, signal: NodeJS.Signals | null, ranMs: number): void {
    this.#child = undefined
    const told = this.#endings.reaped()
    this.#tried(() => rmSync(this.#paths.pid, { force: true }))
    if (this.#stopping || code === EXIT.CLEAN) {
      void Promise.race([told, sleep(TELL_AT_STOP_MS)]).then(() => this.#end(0))
      return
    }
    if (code === EXIT.REFUSED || (code === EXIT.REFUSED_FOR_NOW && !this.#wasReady)) return this.#end(1)
    const suspicion = this.#suspicion.after(signal, ranMs)
    if (suspicion !== undefined) {
      this.#tried(() => markAll(this.#paths.index, suspicion))
      const message = 'the daemon ended as it does when an index is damaged'
      const consequence = suspicion === 'damaged' ? 'all are rebuilt from the disks' : 'their tables are verified'
      logEvent(this.#paths, this.#config.name, message, { signal: signal!, consequence })
    }
    const delayMs = this.#backoff.delayMs(ranMs)
    logEvent(this.#paths, this.#config.name, 'the daemon died and is started again', {
      reason: signal ?? `exit code ${code}`,
      ranMs: Math.round(ranMs),
      delayMs,
    })
    this.#restart = setTimeout(() => this.start(), delayMs)
  }

  #tried(what: () => void): void {
    tried(this.#paths, this.#config.name, what)
  }

  /** First call: cleanly, within the deadline. Second call: now. */
  stop(): void {
    clearTimeout(this.#restart)
    if (this.#child === undefined) return this.#end(0)
    if (this.#stopping) {
      this.#child.kill('SIGKILL')
      return
    }
    this.#stopping = true
    this.#child.kill('SIGTERM')
    setTimeout(() => this.#child?.kill('SIGKILL'), STOP_DEADLINE_MS).unref()
  }
}

/** Run a node until it is stopped or refuses; resolves with the exit code. Throws a HoldfastError before it spawns. */
export async function runSupervisor(config: NodeConfig): Promise<number> {
  keepMemorySecret({ holdsKeys: false })
  const paths = nodePaths(config.dir, config.name)
  checkSocketPath(paths.api)
  checkSocketPath(paths.nbd)
  makeFolder(paths.folder)
  const lockFd = lockFolder(paths.folder, paths.lock)
  warmCompileCache()
  tried(paths, config.name, () => writeFileSync(paths.supervisorPid, `${process.pid}\n`))
  const code = await new Promise<number>((resolve) => {
    const supervisor = new Supervisor(config, paths, lockFd, resolve)
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => supervisor.stop())
    if (process.channel !== undefined) process.on('disconnect', () => supervisor.stop())
    supervisor.start()
  })
  tried(paths, config.name, () => rmSync(paths.supervisorPid, { force: true }))
  return code
}
