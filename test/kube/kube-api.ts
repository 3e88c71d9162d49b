/**
 * A real Kubernetes API on loopback: kube-apiserver on an etcd of its own. Stopped, killed, paused and started again on
 * the same address and folder. No kubelet, no controllers. What is left of it ends with the test.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { ApiClient } from '../../cluster/kubernetes/api-client.ts'
import { accessOfKubeconfig } from '../../cluster/kubernetes/api-access.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { pathOf } from './kube-binaries.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const READY_MS = 120_000
export const NAMESPACE = 'holdfast'

export interface KubeApiOptions {
  host: string
  port: number
  /** Of its etcd, which takes the next one for its peers. */
  etcdPort: number
  flags?: readonly string[]
  /** Of its certificate; unset: one of its own. */
  ca?: TestCa | undefined
}

export class KubeApi {
  readonly dir: string
  readonly port: number
  readonly etcdAddress: string
  readonly #t: Pick<Test, 'teardown'>
  readonly #host: string
  readonly #tls: string
  readonly #flags: readonly string[]
  readonly #etcdFlags: readonly string[]
  #etcd: ChildProcess | undefined
  #api: ChildProcess | undefined

  constructor(t: Pick<Test, 'teardown'>, { host, port, etcdPort, flags = [], ca }: KubeApiOptions) {
    this.#t = t
    this.dir = temporaryFolder(t)
    this.#host = host
    this.port = port
    this.#tls = (ca ?? new TestCa(t)).issue({ role: 'store', name: 'api', ip: [host] })
    this.etcdAddress = `http://${host}:${etcdPort}`
    const peer = `http://${host}:${etcdPort + 1}`
    this.#etcdFlags = [
      '--name=t', `--listen-client-urls=${this.etcdAddress}`, `--advertise-client-urls=${this.etcdAddress}`,
      `--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`, `--initial-cluster=t=${peer}`,
    ]
    this.#flags = flags
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    writeFileSync(this.#file('sa.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    writeFileSync(this.#file('tokens.csv'), 'admin-token,admin,admin,system:masters\n')
    t.teardown(() => this.kill())
  }

  /** Resolves when it serves, with our custom resources and our namespace. */
  async start(): Promise<void> {
    if (!isRunning(this.#etcd)) {
      this.#etcd = this.#spawn('etcd', [...this.#etcdFlags, `--data-dir=${this.#file('etcd')}`])
    }
    const tls = (name: string) => path.join(this.#tls, name)
    this.#api = this.#spawn('kube-apiserver', [
      `--etcd-servers=${this.etcdAddress}`, `--bind-address=${this.#host}`, `--secure-port=${this.port}`,
      `--advertise-address=${this.#host}`, `--tls-cert-file=${tls('tls.crt')}`,
      `--tls-private-key-file=${tls('tls.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${this.#file('sa.key')}`,
      `--service-account-signing-key-file=${this.#file('sa.key')}`, `--token-auth-file=${this.#file('tokens.csv')}`,
      '--authorization-mode=Node,RBAC', '--service-cluster-ip-range=10.96.0.0/24', '--allow-privileged=true',
      '--endpoint-reconciler-type=none', ...this.#flags,
    ])
    const client = this.client()
    const deadlineMs = performance.now() + READY_MS
    const is = async (path: string) => (await client.call({ method: 'GET', path, deadlineMs: 2000 })).ok
    const ended = once(this.#api, 'exit').then(() => {
      throw new Error(`kube-apiserver ended: ${this.#tail()}`)
    })
    const served = async (): Promise<void> => {
      while (!(await is('/api/v1/namespaces/kube-system'))) {
        if (performance.now() > deadlineMs) throw new Error(`kube-apiserver does not serve: ${this.#tail()}`)
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      await this.apply(client)
      while (!(await is(`/apis/holdfast.io/v1/namespaces/${NAMESPACE}/records`))) {
        if (performance.now() > deadlineMs) throw new Error('our custom resources are not served')
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
    ended.catch(() => undefined)
    await Promise.race([served(), ended])
  }

  private async apply(client: ApiClient): Promise<void> {
    const resource = parse(readFileSync(path.join(ROOT, 'charts/holdfast/crds/records.yaml'), 'utf8')) as object
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }
    const resources = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
    for (const [place, body] of [['/api/v1/namespaces', namespace], [resources, resource]] as const) {
      const answer = await client.call({ method: 'POST', path: place, body, deadlineMs: 30_000 })
      if (!answer.ok && answer.failure.status !== 409) throw new Error(answer.failure.reason)
    }
  }

  /** Names a user of all rights. @param port  that of a proxy in between */
  kubeconfig(port = this.port): string {
    const file = this.#file(`kubeconfig-${port}`)
    const cluster = { server: `https://${this.#host}:${port}`, 'certificate-authority': path.join(this.#tls, 'ca.crt') }
    writeFileSync(file, JSON.stringify({
      apiVersion: 'v1', kind: 'Config', 'current-context': 'here',
      contexts: [{ name: 'here', context: { cluster: 'here', user: 'admin', namespace: NAMESPACE } }],
      clusters: [{ name: 'here', cluster }],
      users: [{ name: 'admin', user: { token: 'admin-token' } }],
    }))
    return file
  }

  /**
   * The same as a pod has it, for that service account of our namespace and no longer than the pod lives.
   * @param admin  a client with all rights
   */
  async podKubeconfig(
    admin: ApiClient, account: string, { name, uid }: { name: string; uid: string },
  ): Promise<string> {
    const answer = await admin.call({
      method: 'POST', path: `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${account}/token`,
      body: {
        apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest',
        spec: { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid } },
      },
    })
    if (!answer.ok) throw new Error(`${account}: ${answer.failure.reason}`)
    const config = JSON.parse(readFileSync(this.kubeconfig(), 'utf8')) as { users: object[] }
    const { token } = answer.body.status as { token: string }
    config.users = [{ name: 'admin', user: { token } }]
    const file = this.#file(`kubeconfig-${name}-${account}`)
    writeFileSync(file, JSON.stringify(config))
    return file
  }

  client(): ApiClient {
    const client = new ApiClient(accessOfKubeconfig(this.kubeconfig()))
    this.#t.teardown(() => client.close())
    return client
  }

  get pid(): number {
    return this.#api!.pid!
  }

  /** Of kube-apiserver alone. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    process.kill(this.pid, signal)
  }

  /** Of kube-apiserver: how it ended by itself. */
  async ended(): Promise<number | null> {
    const child = this.#api
    if (child !== undefined && isRunning(child)) await once(child, 'close')
    return child?.exitCode ?? null
  }

  async stop(): Promise<void> {
    await end(this.#api, 'SIGTERM')
    await end(this.#etcd, 'SIGTERM')
  }

  async kill(): Promise<void> {
    await end(this.#api, 'SIGKILL')
    await end(this.#etcd, 'SIGKILL')
  }

  /** The private key of its service accounts. */
  get accountKey(): string {
    return this.#file('sa.key')
  }

  #spawn(program: 'etcd' | 'kube-apiserver', words: readonly string[]): ChildProcess {
    const log = openSync(this.#file(`${program}.log`), 'a')
    return spawn(pathOf(program), words, { stdio: ['ignore', log, log] })
  }

  readonly #file = (name: string): string => path.join(this.dir, name)

  #tail(): string {
    return readFileSync(this.#file('kube-apiserver.log'), 'utf8').slice(-1500)
  }
}

const isRunning = (child: ChildProcess | undefined): boolean =>
  child !== undefined && child.exitCode === null && child.signalCode === null

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || !isRunning(child)) return
  const closed = once(child, 'close')
  child.kill('SIGCONT')
  child.kill(signal)
  await closed
}
