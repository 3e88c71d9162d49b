/**
 * `holdfast ca init --secret NAME`: in a Kubernetes cluster, once: the CA with its key as a Secret, its certificate as
 * a ConfigMap for everybody, and the key for encrypted volumes that name none. What is there stays as it is.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient, refusalOf, segment } from '../cluster/kubernetes/api-client.ts'
import { HoldfastError } from '../engine/errors.ts'
import { isRecord } from '../engine/value-shape.ts'
import type { Arguments } from './arguments.ts'
import { initAuthority } from './ca-folder.ts'

const KEY_BYTES = 32

export interface SetUp {
  namespace: string
  /** Made now; else they were there. */
  made: string[]
}

/** @throws HoldfastError `kube-access`, `kube-refused`, `kube-unreachable` */
export async function setUpSecrets(given: Arguments, days: number): Promise<SetUp> {
  const name = given.text('secret')!
  const client = new ApiClient(accessOf(given.text('kubeconfig')))
  const { namespace } = client.access
  const made: string[] = []
  const put = async (kind: 'Secret' | 'ConfigMap', called: string, data: Record<string, string>): Promise<void> => {
    const place = `/api/v1/namespaces/${segment(namespace)}/${kind === 'Secret' ? 'secrets' : 'configmaps'}`
    const metadata = { name: called, annotations: { 'helm.sh/resource-policy': 'keep' } }
    const encoded = kind === 'Secret' ? { stringData: data } : { data }
    const body = { apiVersion: 'v1', kind, metadata, ...encoded }
    const answer = await client.call({ method: 'POST', path: place, body })
    if (answer.ok) made.push(`${kind} ${called}`)
    else if (answer.failure.status !== 409) throw refusalOf(client, answer.failure)
  }
  try {
    const dir = mkdtempSync(path.join(os.tmpdir(), 'holdfast-ca-'))
    try {
      initAuthority(dir, { days })
      const file = (one: string) => readFileSync(path.join(dir, one), 'utf8')
      await put('Secret', name, { 'ca.crt': file('ca.crt'), 'ca.key': file('ca.key') })
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
    // Of the CA that is there, whoever made it.
    await put('ConfigMap', name, { 'ca.crt': await certificateIn(client, name) })
    await put('Secret', `${name}-cluster-key`, { key: randomBytes(KEY_BYTES).toString('hex') })
    return { namespace, made }
  } finally {
    client.close()
  }
}

async function certificateIn(client: ApiClient, secret: string): Promise<string> {
  const place = `/api/v1/namespaces/${segment(client.access.namespace)}/secrets/${segment(secret)}`
  const answer = await client.call({ method: 'GET', path: place })
  if (!answer.ok) throw refusalOf(client, answer.failure)
  const { data } = answer.body
  const text = isRecord(data) ? data['ca.crt'] : undefined
  if (typeof text === 'string') return Buffer.from(text, 'base64').toString()
  const reason = `secret ${secret} has no ca.crt`
  throw new HoldfastError('kube-refused', { server: client.access.server.origin, reason })
}
