/** The Kubernetes API as a cluster store under test: what the suites do with the process of another store. */
import root from 'tap'
import type { Test } from 'tap'
import type { ClusterStore, KnownStore } from '../../../cluster/store/cluster-store.ts'
import { accessOfKubeconfig } from '../../../cluster/kubernetes/api-access.ts'
import { connectKubeStore } from '../../../cluster/store/kube-store.ts'
import { TestCa } from '../../cluster/tls/certificates.ts'
import { KubeApi } from '../../kube/kube-api.ts'
import { RawEtcd } from './raw-etcd.ts'
import { freePort, HOST } from './store-process.ts'
import type { ClientOptions, StoreUnderTest } from './store-process.ts'

let known: TestCa | undefined
/** One for all, so that another store in the place of one is talked to. */
function authority(): TestCa {
  known ??= new TestCa(root)
  return known
}

const STORE_OPTIONS = ['timeoutMs', 'known'] as const

export class KubeProcess implements StoreUnderTest {
  readonly kind = { name: 'kubernetes' }
  readonly port: number
  readonly address: string
  /** As `--store` of a node takes it, but for `kube://`; unset: one of all rights. */
  nodeKubeconfig: string | undefined
  readonly api: KubeApi
  readonly #t: Test

  /** @param flags  of kube-apiserver; watches are answered from etcd itself, as the rules of a store are about */
  constructor(t: Test, port = freePort(), flags: readonly string[] = ['--watch-cache=false']) {
    this.#t = t
    this.port = port
    this.address = `http://${HOST}:${port}`
    const etcdPort = freePort()
    freePort()
    this.api = new KubeApi(t, { host: HOST, port, etcdPort, flags, ca: authority() })
  }

  get nodeAddress(): string {
    return `kube://${this.nodeKubeconfig ?? this.api.kubeconfig()}`
  }

  get pid(): number {
    return this.api.pid
  }

  get dir(): string {
    return this.api.dir
  }

  start = (): Promise<void> => this.api.start()
  stop = (): Promise<void> => this.api.stop()
  kill = (): Promise<void> => this.api.kill()
  ended = (): Promise<number | null> => this.api.ended()
  signal = (signal: 'SIGSTOP' | 'SIGCONT'): void => this.api.signal(signal)

  async compact(revision: number): Promise<void> {
    const etcd = new RawEtcd(this.#t, this.api.etcdAddress)
    await etcd.call('KV', 'Compact', { revision: String(revision), physical: true })
  }

  client({ addresses = this.address, keepaliveMs, ...options }: ClientOptions = {}): ClusterStore {
    const kubeconfig = this.api.kubeconfig(Number(new URL(addresses).port))
    const asked: { timeoutMs?: number; known?: KnownStore | undefined } = {}
    for (const name of STORE_OPTIONS) if (options[name] !== undefined) Object.assign(asked, { [name]: options[name] })
    const silence = keepaliveMs === undefined ? {} : { silenceMs: keepaliveMs }
    const client = connectKubeStore({ access: accessOfKubeconfig(kubeconfig), ...asked, ...silence })
    this.#t.teardown(() => client.close())
    return client
  }
}

export async function startKubernetes(t: Test, port?: number): Promise<KubeProcess> {
  const store = new KubeProcess(t, port)
  await store.start()
  return store
}
