/**
 * `holdfast ca init --secret NAME`: in a Kubernetes cluster, once: the CA with its key as a Secret, the key for
 * encrypted volumes that name none as another, and last, as the mark that all is made, the CA's certificate as a
 * ConfigMap for everybody. What is there stays as it is.
 *
 * Invariant: nothing is made a second time. Where the mark is, or the cluster's record in its store, a Secret that is
 * not there was lost: with a new CA no node would believe another one that was not started since, and nothing that is
 * encrypted could be read with a new key. That is said instead (`ca-lost`).
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient, refusalOf, segment } from '../cluster/kubernetes/api-client.ts'
import { CLUSTER_KEY, decodeCluster } from '../cluster/store/cluster-record.ts'
import { entryOf, objectName, recordsPath } from '../cluster/store/kube-records.ts'
import { HoldfastError } from '../engine/errors.ts'
import { isRecord } from '../engine/value-shape.ts'
import type { Arguments } from './arguments.ts'
import { clusterOfAuthority, initAuthority } from './ca-folder.ts'

const KEY_BYTES = 32
const [FORBIDDEN, NOT_FOUND, CONFLICT] = [403, 404, 409]

export interface SetUp {
  namespace: string
  /** Made now; else they were there. */
  made: string[]
}

/** @throws HoldfastError `ca-lost`, `store-record`, `kube-access`, `kube-refused`, `kube-unreachable` */
export async function setUpSecrets(given: Arguments, days: number): Promise<SetUp> {
  const name = given.text('secret')!
  const client = new ApiClient(accessOf(given.text('kubeconfig')))
  const { namespace } = client.access
  const made: string[] = []
  const put = async (kind: Kind, called: string, data: Record<string, string>): Promise<void> => {
    if (await isMade(client, kind, called, data)) made.push(`${kind} ${called}`)
  }
  try {
    const former = await clusterOf(client, name)
    const keyName = `${name}-cluster-key`
    if (former !== undefined) await refuseLost(client, { name, keyName, cluster: former })
    const dir = mkdtempSync(path.join(os.tmpdir(), 'holdfast-ca-'))
    try {
      initAuthority(dir, { days })
      const file = (one: string) => readFileSync(path.join(dir, one), 'utf8')
      await put('Secret', name, { 'ca.crt': file('ca.crt'), 'ca.key': file('ca.key') })
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
    await put('Secret', keyName, { key: randomBytes(KEY_BYTES).toString('hex') })
    // Of the CA that is there, whoever made it.
    await put('ConfigMap', name, { 'ca.crt': await certificateIn(client, name) })
    return { namespace, made }
  } finally {
    client.close()
  }
}

type Kind = 'Secret' | 'ConfigMap'

/** @param isTried  nothing is kept: it only says whether one is there. @returns false: one is there */
async function isMade(
  client: ApiClient, kind: Kind, called: string, data: Record<string, string>, isTried = false,
): Promise<boolean> {
  const path = `${placeOf(client)}/${kind === 'Secret' ? 'secrets' : 'configmaps'}`
  const metadata = { name: called, annotations: { 'helm.sh/resource-policy': 'keep' } }
  const body = { apiVersion: 'v1', kind, metadata, ...(kind === 'Secret' ? { stringData: data } : { data }) }
  const answer = await client.call({ method: 'POST', path, body, query: isTried ? { dryRun: 'All' } : {} })
  if (answer.ok) return true
  if (answer.failure.status === CONFLICT) return false
  throw refusalOf(client, answer.failure)
}

const placeOf = ({ access }: ApiClient): string => `/api/v1/namespaces/${segment(access.namespace)}`

/** The id of the cluster that was set up here before; undefined: none was, as far as may be seen. */
async function clusterOf(client: ApiClient, name: string): Promise<string | undefined> {
  const path = `${placeOf(client)}/configmaps/${segment(name)}`
  const answer = await client.call({ method: 'GET', path })
  if (answer.ok) {
    const { data } = answer.body
    const text = isRecord(data) ? data['ca.crt'] : undefined
    return clusterOfAuthority(`ConfigMap ${name}`, typeof text === 'string' ? text : '')
  }
  if (answer.failure.status !== NOT_FOUND) throw refusalOf(client, answer.failure)
  const records = recordsPath(client.access.namespace)
  const record = await client.call({ method: 'GET', path: `${records}/${objectName(CLUSTER_KEY)}` })
  if (record.ok) {
    // One that cannot be read is of a cluster all the same.
    const entry = entryOf(record.body)
    const cluster = entry === undefined ? undefined : decodeCluster(entry.value)
    if (cluster === undefined) throw new HoldfastError('store-record', { key: CLUSTER_KEY })
    return cluster.id
  }
  // Where the store is an etcd it has no rights to records, and there are none.
  const { status } = record.failure
  if (status === NOT_FOUND || status === FORBIDDEN) return undefined
  throw refusalOf(client, record.failure)
}

interface Former { name: string; keyName: string; cluster: string }

/** @throws HoldfastError `ca-lost` */
async function refuseLost(client: ApiClient, { name, keyName, cluster }: Former): Promise<void> {
  const { namespace } = client.access
  const lost = (what: string, instead: string) =>
    new HoldfastError('ca-lost', { what: `Secret ${what} of namespace ${namespace}`, cluster, instead })
  if (await isMade(client, 'Secret', name, {}, true)) {
    throw lost(name, `if it is lost for good: \`holdfast ca init --dir ca --cluster ${cluster}\` makes another CA,`
      + ' which takes over as docs/tls.md, "Another CA", says')
  }
  if (await isMade(client, 'Secret', keyName, {}, true)) {
    throw lost(keyName, 'if it is lost for good, so are the volumes that are encrypted with it: make a Secret of that'
      + ' name with `key`, the output of `openssl rand -hex 32`')
  }
}

async function certificateIn(client: ApiClient, secret: string): Promise<string> {
  const place = `${placeOf(client)}/secrets/${segment(secret)}`
  const answer = await client.call({ method: 'GET', path: place })
  if (!answer.ok) throw refusalOf(client, answer.failure)
  const { data } = answer.body
  const text = isRecord(data) ? data['ca.crt'] : undefined
  if (typeof text === 'string') return Buffer.from(text, 'base64').toString()
  const reason = `secret ${secret} has no ca.crt`
  throw new HoldfastError('kube-refused', { server: client.access.server.origin, reason })
}
