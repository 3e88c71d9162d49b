/** Bugs planted in the cluster store, each with the quickest test file that has to fail with it. */
import type { Mutant } from '../../sim/mutants.ts'

const STORE = 'cluster/store'
const retries = { run: 'file', path: 'test/conformance/cluster-store/retries.test.ts' } as const
const model = { run: 'file', path: 'test/cluster/store/embedded/store-model.test.ts' } as const
const failedSync = { run: 'file', path: 'test/cluster/store/embedded/failed-sync.test.ts' } as const

export const STORE_PLANTED: readonly Mutant[] = [
  {
    name: 'the library sends a refused transaction again',
    file: `${STORE}/endpoint-set.ts`, replace: "'grpc.enable_retries': 0,", by: '', hunt: retries,
  },
  {
    name: 'what is unknown is called lost',
    file: `${STORE}/etcd-store.ts`,
    replace: "return { outcome: 'unknown', error: endpoint.unreachable(reason) }",
    by: "return { outcome: 'lost', current: undefined }",
    hunt: retries,
  },
  {
    name: 'a code alone is taken for a refusal of the store',
    file: `${STORE}/etcd-answers.ts`,
    replace: 'known === code && sentence.test(details)', by: 'known === code',
    hunt: retries,
  },
  {
    name: 'an answer of another store is believed',
    file: `${STORE}/store-identity.ts`,
    replace: 'known !== undefined && known.clusterId !== clusterId', by: 'false',
    hunt: retries,
  },
  {
    name: 'what a failed batch held is answered',
    file: `${STORE}/embedded/embedded-store.ts`, replace: 'return new Promise(() => {})', by: '', hunt: failedSync,
  },
  {
    name: 'reads show what is not durable',
    file: `${STORE}/embedded/kv-service.ts`,
    replace: 'const { committedRevision, history } = this.store',
    by: 'const { history } = this.store; const committedRevision = history.newestRevision',
    hunt: model,
  },
  {
    name: 'who lost to what is not durable hears of it at once',
    file: `${STORE}/embedded/embedded-store.ts`,
    replace: 'this.waitingBytes += bytes',
    by: 'if (record === undefined) return Promise.resolve(answer)\n    this.waitingBytes += bytes',
    hunt: model,
  },
  {
    name: 'a deletion at the compacted revision is forgotten',
    file: `${STORE}/embedded/key-history.ts`,
    replace: "kind === 'delete' && at < revision", by: "kind === 'delete'",
    hunt: model,
  },
  {
    name: 'deletions are kept for ever',
    file: `${STORE}/embedded/key-history.ts`,
    replace: "kind === 'delete' && at < revision ? newest + 1 : newest", by: 'newest',
    hunt: model,
  },
  {
    name: 'what is compacted stays on disk',
    file: `${STORE}/embedded/embedded-store.ts`,
    replace: "operations.push({ type: 'del', key: recordKey(record.revision) })", by: '',
    hunt: model,
  },
  {
    name: 'the history grows without bound',
    file: `${STORE}/embedded/embedded-store.ts`,
    replace: 'if (kept <= bounds.revisionsMax && history.historyBytes <= bounds.bytesMax) return', by: 'return',
    hunt: model,
  },
]
