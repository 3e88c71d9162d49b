/** The embedded cluster store in the process of the test, behind its own API on loopback. Ends with the test. */
import type { Test } from 'tap'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { openEmbeddedStore } from '../../cluster/store/embedded/embedded-store.ts'
import { serveStore } from '../../cluster/store/embedded/store-server.ts'
import { connectEtcdStore } from '../../cluster/store/etcd-store.ts'
import { temporaryFolder } from '../temporary-folder.ts'

export interface StoreInProcess {
  /** Of its API. */
  url: string
  /** A client of its own for each who asks. */
  client(): ClusterStore
}

export async function storeInProcess(t: Pick<Test, 'teardown' | 'bailout'>): Promise<StoreInProcess> {
  const store = await openEmbeddedStore(temporaryFolder(t))
  const fail = (error: unknown) => t.bailout(String(error))
  store.onFailed = fail
  const server = await serveStore({ store, listen: { host: '127.0.0.1', port: 0 }, onBug: fail })
  const clients: ClusterStore[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await server.close(100)
    await store.close()
  })
  return {
    url: server.url,
    client() {
      const client = connectEtcdStore({ addresses: server.url })
      clients.push(client)
      return client
    },
  }
}
