/**
 * Certificates of nodes in a real Kubernetes API, with the rights that the chart gives and no others: what a cluster
 * needs is made once, a node asks for itself, and gets nothing for anybody else.
 */
// test-timeout-seconds: 300
import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { accessOfKubeconfig } from '../../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../../cluster/kubernetes/api-client.ts'
import { connectKubeStore } from '../../cluster/store/kube-store.ts'
import { identityOf } from '../../cluster/tls/identity.ts'
import { makeSigningRequest } from '../../cluster/tls/signing-request.ts'
import {
  certificateRequestOf, REQUESTS_PATH, SIGNER, USAGES,
} from '../../csi/kube/certificates/certificate-requests.ts'
import { nodeNameOf } from '../../csi/kube/node-name.ts'
import { holdfast, MAIN } from '../cli/run-holdfast.ts'
import { freePort, HOST } from '../conformance/cluster-store/store-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { KubeApi, NAMESPACE } from './kube-api.ts'
import { leftOut } from './kube-binaries.ts'
import { putRights, renderedChart } from './rendered-chart.ts'
import type { Json } from './rendered-chart.ts'

const KUBE_NODE = 'worker-1.example.internal'

t.test('a node asks for itself', { skip: leftOut('etcd', 'kube-apiserver', 'helm') }, async (t) => {
  const etcdPort = freePort()
  freePort()
  const api = new KubeApi(t, { host: HOST, port: freePort(), etcdPort })
  await api.start()
  const admin = api.client()
  const folder = temporaryFolder(t)
  const made = async (path: string, body: object): Promise<Json> => {
    const answer = await admin.call({ method: 'POST', path, body })
    if (!answer.ok) throw new Error(`${path}: ${answer.failure.reason}`)
    return answer.body
  }
  await putRights(admin, renderedChart(NAMESPACE))
  await made('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: KUBE_NODE } })

  /** A kubeconfig as a pod of that account on the node has it. */
  const asPod = async (account: string): Promise<string> => {
    const pods = `/api/v1/namespaces/${NAMESPACE}/pods`
    const spec = { nodeName: KUBE_NODE, serviceAccountName: account, containers: [{ name: 'x', image: 'x' }] }
    const pod = await made(pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name: account }, spec })
    return api.podKubeconfig(admin, account, pod.metadata)
  }
  const setup = await asPod('holdfast-setup')
  const allOfIt = /: Secret holdfast-ca, Secret holdfast-ca-cluster-key, ConfigMap holdfast-ca$/m
  for (const wanted of [allOfIt, /nothing, all of it is there/]) {
    const { code, stdout, stderr } = await holdfast(['ca', 'init', '--secret', 'holdfast-ca', '--kubeconfig', setup])
    t.equal(code, 0, stderr)
    t.match(stdout, wanted)
  }
  const secret = await admin.call({ method: 'GET', path: `/api/v1/namespaces/${NAMESPACE}/secrets/holdfast-ca` })
  if (!secret.ok) throw new Error(secret.failure.reason)
  const ca = path.join(folder, 'ca')
  mkdirSync(ca)
  for (const [name, text] of Object.entries((secret.body as Json).data)) {
    writeFileSync(path.join(ca, name), Buffer.from(text as string, 'base64'))
  }
  const accounts = [`${NAMESPACE}:holdfast-node`, `${NAMESPACE}:holdfast-controller`] as const
  const signs = ['ca', 'sign', '--dir', ca, '--node-account', accounts[0], '--csi-account', accounts[1]]
  const words = [MAIN, ...signs, '--kubeconfig', await asPod('holdfast-ca')]
  const signer = spawn(process.execPath, words, { stdio: 'ignore' })
  const ended = once(signer, 'exit')
  t.teardown(() => signer.kill('SIGKILL'))

  const [node, controller] = [await asPod('holdfast-node'), await asPod('holdfast-controller')]
  const request = (kubeconfig: string, out: string, ...who: string[]) => {
    const files = ['--ca', path.join(ca, 'ca.crt'), '--out', path.join(folder, out), '--kubeconfig', kubeconfig]
    return holdfast(['ca', 'request', ...who, ...files])
  }
  for (const [kubeconfig, out, who, role, name] of [
    [node, 'n', ['--kube-node', KUBE_NODE], 'node', nodeNameOf(KUBE_NODE)],
    [controller, 'c', ['--role', 'csi'], 'csi', 'controller'],
  ] as const) {
    const { code, stderr } = await request(kubeconfig, out, ...who)
    t.equal(code, 0, stderr)
    const certificate = new X509Certificate(readFileSync(path.join(folder, out, 'tls.crt')))
    t.match(identityOf(certificate), { role, name })
    t.ok(certificate.verify(new X509Certificate(readFileSync(path.join(ca, 'ca.crt'))).publicKey))
    const kept = readFileSync(path.join(folder, out, 'tls.crt'), 'utf8')
    t.equal((await request(kubeconfig, out, ...who)).code, 0)
    t.equal(readFileSync(path.join(folder, out, 'tls.crt'), 'utf8'), kept, 'one that is good is kept')
  }
  const other = await request(node, 'x', '--kube-node', 'worker-2')
  t.not(other.code, 0)
  t.match(other.stderr, /node worker-2 got no certificate.*it is not the request of node worker-1-example-internal-/)
  t.match((await request(node, 'y', '--role', 'csi')).stderr, /got no certificate/)
  t.match((await request(controller, 'z', '--kube-node', KUBE_NODE)).stderr, /got no certificate/)

  // Who may ask, but is nobody's pod.
  const clusterId = (identityOf(new X509Certificate(readFileSync(path.join(folder, 'n', 'tls.crt')))) as Json).clusterId
  const forged = makeSigningRequest({ clusterId, role: 'node', name: nodeNameOf(KUBE_NODE) })
  await made(REQUESTS_PATH, {
    apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest', metadata: { name: 'by-admin' },
    spec: { signerName: SIGNER, usages: USAGES, request: Buffer.from(forged.request).toString('base64') },
  })
  const decided = async () => {
    const answer = await admin.call({ method: 'GET', path: `${REQUESTS_PATH}/by-admin` })
    return answer.ok ? certificateRequestOf(answer.body)! : undefined
  }
  let found = await decided()
  while (found === undefined || (found.refusal === '' && found.certificate === '')) found = await decided()
  t.match(found.refusal, /it was asked for by admin/)

  const store = connectKubeStore({ access: accessOfKubeconfig(node) })
  t.teardown(() => store.close())
  t.match(await store.get('k'), { ok: true }, 'its rights are enough to know whose store it is')
  const asNode = new ApiClient(accessOfKubeconfig(node))
  t.teardown(() => asNode.close())
  const reads = await asNode.call({ method: 'GET', path: `/api/v1/namespaces/${NAMESPACE}/secrets/holdfast-ca` })
  t.match(reads, { ok: false, failure: { status: 403 } }, 'a node does not read the key of the CA')
  signer.kill('SIGTERM')
  t.same(await ended, [0, null], 'it ends in order')
})
