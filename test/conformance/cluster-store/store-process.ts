/**
 * A cluster store as a real process on loopback: the embedded one, or etcd. Stopped, killed, paused and started again
 * on the same address and folder. What is left of it ends with the test.
 *
 * Each test process has a loopback address of its own, so that fixed ports meet nobody.
 */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Test } from 'tap'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import type { EtcdStoreOptions } from '../../../cluster/store/etcd-store.ts'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { RawEtcd } from './raw-etcd.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const MAIN = path.resolve(import.meta.dirname, '../../../cli/main.ts')
const { pid } = process
export const HOST = `127.${64 + (Math.floor(pid / 65536) % 64)}.${Math.floor(pid / 256) % 256}.${pid % 256}`

let nextPort = 23790
export const freePort = (): number => nextPort++

interface Kind {
  name: string
  /** What is run on a folder and an address. */
  command(dir: string, port: number, host?: string): string[]
  /** On stdout or stderr when it serves. */
  ready: RegExp
}

export const EMBEDDED: Kind = {
  name: 'embedded',
  command: (dir, port, host = HOST) => [process.execPath, MAIN, 'store', '--dir', dir, '--listen', `${host}:${port}`],
  ready: /^holdfast store ready https?:/m,
}

export const ETCD: Kind = {
  name: 'etcd',
  command: (dir, port, host = HOST) => {
    const peer = `http://${host}:${port + 10_000}`
    return [
      'etcd', '--name=t', `--data-dir=${dir}/data`, `--listen-client-urls=http://${host}:${port}`,
      `--advertise-client-urls=http://${host}:${port}`, `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`, `--initial-cluster=t=${peer}`,
      '--heartbeat-interval=10', '--election-timeout=50', '--grpc-keepalive-min-time=50ms', '--log-outputs=stderr',
    ]
  },
  ready: /ready to serve client requests/,
}

/** Why etcd cannot be run here, or false. */
export const etcdMissing = (): string | false =>
  spawnSync('etcd', ['--version']).status === 0 ? false : 'etcd is not installed (Debian package etcd-server)'

export type ClientOptions = Partial<EtcdStoreOptions>

/** What the suites do with a store, whichever it is. */
export interface StoreUnderTest {
  readonly kind: { name: string }
  readonly dir: string
  readonly port: number
  readonly address: string
  /** As `--store` of a node takes it. */
  readonly nodeAddress: string
  readonly pid: number
  start(): Promise<void>
  stop(): Promise<unknown>
  kill(): Promise<void>
  /** Resolves when it ended by itself. */
  ended(): Promise<number | null>
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void
  /** What was before that revision is forgotten. */
  compact(revision: number): Promise<void>
  client(options?: ClientOptions): ClusterStore
}

/** @param port  that of a store whose place it takes */
export type StartStore = (t: Test, port?: number) => Promise<StoreUnderTest>

export class StoreProcess implements StoreUnderTest {
  readonly kind: Kind
  readonly dir: string
  readonly port: number
  readonly host: string
  readonly address: string
  readonly nodeAddress: string
  output = ''
  private readonly t: Pick<Test, 'teardown'>
  private child: ChildProcess | undefined

  /**
   * @param port  that of a store whose place this one takes
   * @param host  when others than processes of this machine ask
   */
  constructor(t: Pick<Test, 'teardown'>, kind: Kind, port = freePort(), host = HOST) {
    this.t = t
    this.kind = kind
    this.dir = temporaryFolder(t)
    this.port = port
    this.host = host
    this.address = `http://${host}:${port}`
    this.nodeAddress = this.address
    t.teardown(() => this.kill())
  }

  /** Resolves when it serves; rejects with its last words when it ends instead. */
  async start(): Promise<void> {
    const [command, ...words] = this.kind.command(this.dir, this.port, this.host)
    const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.child = child
    this.output = ''
    await new Promise<void>((resolve, reject) => {
      const onText = (text: string) => {
        this.output += text
        if (this.kind.ready.test(this.output)) resolve()
      }
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', onText)
      child.on('close', () => reject(new Error(`the store did not start: ${this.output.slice(-2000)}`)))
    })
  }

  get pid(): number {
    return this.child!.pid!
  }

  /** SIGTERM. @returns how it ended, and how long that took */
  async stop(): Promise<{ code: number | null; ms: number }> {
    const startedMs = performance.now()
    const code = await this.end('SIGTERM')
    return { code, ms: performance.now() - startedMs }
  }

  async kill(): Promise<void> {
    await this.end('SIGKILL')
  }

  /** Resolves when it ended by itself. */
  async ended(): Promise<number | null> {
    const { child } = this
    if (child !== undefined && child.exitCode === null && child.signalCode === null) await once(child, 'close')
    return child?.exitCode ?? null
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    process.kill(this.pid, signal)
  }

  async compact(revision: number): Promise<void> {
    await new RawEtcd(this.t, this.address).call('KV', 'Compact', { revision: String(revision), physical: true })
  }

  /** A client of it, closed with the test. */
  client(options: ClientOptions = {}): ClusterStore {
    const client = connectEtcdStore({ addresses: this.address, root: '/test/', ...options })
    this.t.teardown(() => client.close())
    return client
  }

  private async end(signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null
    const closed = once(child, 'close')
    child.kill('SIGCONT')
    child.kill(signal)
    await closed
    return child.exitCode
  }
}

export async function startStore(t: Pick<Test, 'teardown'>, kind: Kind, port?: number): Promise<StoreProcess> {
  const store = new StoreProcess(t, kind, port)
  await store.start()
  return store
}

export type { Kind }
