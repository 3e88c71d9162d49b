/**
 * Which store it is, on the Kubernetes API (csi/kube/SPEC.md section 2): who deletes the definition of our kind, or our
 * namespace, deletes every record. Nobody is told that records are gone then, and what is made again is another store.
 */
import t from 'tap'
import type { Test } from 'tap'
import { accessOfKubeconfig } from '../../../cluster/kubernetes/api-access.ts'
import type { ClusterStore, KnownStore, WatchEvent } from '../../../cluster/store/cluster-store.ts'
import { GROUP, objectName, objectOf, PLURAL, recordsPath } from '../../../cluster/store/kube-records.ts'
import { connectKubeStore } from '../../../cluster/store/kube-store.ts'
import { PaperApi } from '../kubernetes/paper-api.ts'

const SYSTEM = '/api/v1/namespaces/kube-system'
const SPACE = '/api/v1/namespaces/storage'
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const DEFINITION = `${DEFINITIONS}/${PLURAL}.${GROUP}`
const RECORDS = recordsPath('storage')

const deleting = { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }

async function cluster(t: Test) {
  const api = await PaperApi.start(t, ['/api/v1/namespaces', DEFINITIONS, RECORDS])
  for (const [path, kind] of [[SYSTEM, 'Namespace'], [SPACE, 'Namespace'], [DEFINITION, 'CustomResourceDefinition']]) {
    api.put(path!, { kind })
  }
  const record = (key: string, text: string) =>
    api.put(`${RECORDS}/${objectName(key)}`, objectOf(key, Buffer.from(text), undefined))
  const client = (known?: KnownStore): ClusterStore => {
    const store = connectKubeStore({ access: accessOfKubeconfig(api.kubeconfig), known })
    t.teardown(() => store.close())
    return store
  }
  return { api, record, client }
}

/** What a watch told, and how to wait for it. */
class Told {
  readonly events: WatchEvent[] = []
  #wake: () => void = () => undefined
  readonly listener = (event: WatchEvent): void => {
    this.events.push(event)
    this.#wake()
  }

  get text(): string[] {
    return this.events.map((event) => event.type === 'changed'
      ? event.changes.map(({ key, value }) => `${key}=${value === undefined ? 'gone' : Buffer.from(value)}`).join()
      : event.type === 'failed' ? event.error.code : event.type)
  }

  async until(count: number): Promise<void> {
    while (this.events.length < count) await new Promise<void>((resolve) => (this.#wake = resolve))
  }
}

async function watched(store: ClusterStore): Promise<Told> {
  const list = await store.list({ prefix: 'k/' })
  if (!list.ok) throw list.error
  const told = new Told()
  store.watch({ prefix: 'k/', after: list.value.position }, told.listener)
  return told
}

const opened = async ({ asked }: PaperApi, watches: number): Promise<void> => {
  // A list and a watch are the same path; the list of each recognition is one, too.
  while (asked.filter((one) => one === `GET ${RECORDS}`).length < watches) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

t.test('a deletion is told, in order with what comes behind it', async (t) => {
  const { api, record, client } = await cluster(t)
  record('k/a', '1')
  const told = await watched(client())
  await opened(api, 3)
  api.delete(`${RECORDS}/${objectName('k/a')}`)
  record('k/b', '2')
  record('k/b', '3')
  await told.until(3)
  t.same(told.text, ['k/a=gone', 'k/b=2', 'k/b=3'])
})

for (const [what, path] of [['its definition', DEFINITION], ['its namespace', SPACE]] as const) {
  t.test(`${what} is deleted and made again`, async (t) => {
    const { api, record, client } = await cluster(t)
    record('k/a', '1')
    const store = client()
    const told = await watched(store)
    await opened(api, 3)
    api.put(path, { kind: 'Kind', ...deleting })
    api.delete(`${RECORDS}/${objectName('k/a')}`)
    const refused = { ok: false, error: { code: 'store-refused', message: /is being deleted/ } }
    t.match(await store.get('k/a'), refused, 'not: there is none')
    t.match(await store.list({ prefix: 'k/' }), refused)
    t.match(await client().list({ prefix: 'k/' }), refused, 'also for who comes now')
    const value = Buffer.from('2')
    t.match(await store.compareAndSwap({ key: 'k/c', version: undefined, value }), { outcome: 'refused' })
    t.same(told.events, [])

    api.delete(path)
    api.put(path, { kind: 'Kind' })
    t.match(await store.get('k/a'), { ok: false, error: { code: 'store-replaced' } })
    t.match(await client(store.known()).get('k/a'), { ok: false, error: { code: 'store-replaced' } })
    await told.until(1)
    t.same(told.text, ['store-replaced'], 'no record was told to be gone')
  })
}

t.test('a version of before knew it by less', async (t) => {
  const { api, record, client } = await cluster(t)
  record('k/a', '1')
  const clusterId = api.objects.get(SYSTEM)!.metadata.uid as string
  const store = client({ clusterId, revision: 1 })
  t.match(await store.get('k/a'), { ok: true })
  t.match(store.known()!.clusterId, new RegExp(`^${clusterId}/[0-9a-f-]+/[0-9a-f-]+$`))
  const other = client({ clusterId: 'another', revision: 1 })
  t.match(await other.get('k/a'), { ok: false, error: { code: 'store-replaced' } })
})

t.test('what is there is not asked for twice', async (t) => {
  const { api, record, client } = await cluster(t)
  record('k/a', '1')
  const store = client()
  await store.get('k/a')
  api.asked.length = 0
  for (let i = 0; i < 3; i++) await store.get('k/a')
  t.equal(api.asked.length, 3)
  t.match(await store.get('k/b'), { ok: true, value: undefined })
  t.equal(api.asked.length, 3 + 1 + 4, 'what is not there is, with a look at whose store it is')
})
