/**
 * One CA takes over from another in a Kubernetes cluster, step by step as docs/tls.md says, and in wrong orders: a node
 * always believes the certificate it has itself, and asks for another one when it is of use.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { X509Certificate } from 'node:crypto'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { CurrentAuthority } from '../../cli/ca-folder.ts'
import { KubeCertificate } from '../../cli/kube-certificate.ts'
import { NODE_NAME, REQUESTS_PATH } from '../../csi/kube/certificates/certificate-requests.ts'
import { signRequests } from '../../csi/kube/certificates/certificate-signer.ts'
import { PaperApi } from '../cluster/kubernetes/paper-api.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const ACCOUNT = 'system:serviceaccount:storage:node'

const textOf = (ca: TestCa): string => readFileSync(path.join(ca.dir, 'ca.crt'), 'utf8')

async function node(t: Test) {
  const former = new TestCa(t)
  const next = new TestCa(t, former.clusterId)
  const signs = temporaryFolder(t)
  const exchange = (ca: TestCa, files = ['ca.crt', 'ca.key']): void => {
    for (const name of files) copyFileSync(path.join(ca.dir, name), path.join(signs, name))
  }
  exchange(former)
  const said: string[] = []
  const log = (line: string) => void said.push(line)
  const authority = new CurrentAuthority(signs, log)
  const api = await PaperApi.start(t, [REQUESTS_PATH])
  api.onPost = async (at, object) => {
    api.put(at, { ...object, spec: { ...object.spec, username: ACCOUNT, extra: { [NODE_NAME]: ['worker'] } } })
    const { clusterId, issuer } = authority
    const accounts = new Map([[ACCOUNT, 'node' as const]])
    await signRequests({ client: api.client, issuer, clusterId, accounts, log: () => undefined, nowMs: Date.now })
  }
  const folder = temporaryFolder(t)
  const [authorityFile, out] = [path.join(folder, 'ca.crt'), path.join(folder, 'tls')]
  const believe = (...cas: TestCa[]): void => writeFileSync(authorityFile, cas.map(textOf).join(''))
  believe(former)
  const identity = { clusterId: former.clusterId, role: 'node' as const, name: 'worker' }
  const certificate = new KubeCertificate({ client: api.client, identity, authorityFile, out })
  const has = () => {
    const shown = new X509Certificate(readFileSync(path.join(out, 'tls.crt')))
    const of = (ca: TestCa) => shown.verify(new X509Certificate(textOf(ca)).publicKey)
    const ca = readFileSync(path.join(out, 'ca.crt'), 'utf8')
    return { by: of(next) ? 'next' : of(former) ? 'former' : 'nobody', ca }
  }
  const asks = () => api.asked.filter((one) => one === `POST ${REQUESTS_PATH}`).length
  return { former, next, exchange, believe, certificate, has, asks, authority, said }
}

t.test('step by step', async (t) => {
  const { former, next, exchange, believe, certificate, has, asks, authority, said } = await node(t)
  await certificate.look()
  t.same(has(), { by: 'former', ca: textOf(former) })
  believe(former, next)
  await certificate.look()
  t.same(has(), { by: 'former', ca: textOf(former) + textOf(next) }, 'the bundle is there without another certificate')
  t.equal(asks(), 1)
  exchange(next)
  t.equal(authority.issuer.certificate.raw.compare(new X509Certificate(textOf(next)).raw), 0)
  t.match(said, [/another CA signs from now on/])
  await certificate.look()
  t.equal(asks(), 1)
  believe(next, former)
  await certificate.look()
  t.same(has(), { by: 'next', ca: textOf(next) + textOf(former) })
  believe(next)
  await certificate.look()
  t.same(has(), { by: 'next', ca: textOf(next) })
  t.equal(asks(), 2)
})

t.test('in a wrong order', async (t) => {
  const { former, next, exchange, believe, certificate, has, asks } = await node(t)
  await certificate.look()
  believe(next)
  await t.rejects(certificate.look(), { code: 'certificate-refused', message: /another CA signed it/ })
  t.same(has(), { by: 'former', ca: textOf(former) }, 'who signs is still the former one: nothing is taken over')
  believe(next, former)
  await certificate.look()
  await certificate.look()
  t.same(has(), { by: 'former', ca: textOf(next) + textOf(former) })
  t.equal(asks(), 3, 'once for each ca.crt, not at every look')
  exchange(next)
  believe(next)
  await certificate.look()
  t.same(has(), { by: 'next', ca: textOf(next) })
  believe(new TestCa(t))
  await t.rejects(certificate.look(), { code: 'tls-cluster' }, 'a CA of another cluster')
  t.same(has(), { by: 'next', ca: textOf(next) })
})

t.test('whoever signs, in the middle of an exchange', async (t) => {
  const { former, next, exchange, authority, said } = await node(t)
  const first = authority.issuer
  exchange(next, ['ca.crt'])
  for (let look = 0; look < 3; look++) t.equal(authority.issuer, first)
  t.match(said, [/ca\.key.*it is not the key of ca\.crt/], 'told once')
  exchange(next, ['ca.key'])
  t.not(authority.issuer, first)
  exchange(new TestCa(t))
  t.equal(authority.issuer.certificate.subject, new X509Certificate(textOf(next)).subject)
  t.match(said.at(-1), `this is cluster ${former.clusterId}`)
})
