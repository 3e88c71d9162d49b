/** An HTTPS server with one answer to everything, in the place of a Kubernetes API, and a kubeconfig for it. */
import { readFileSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Test } from 'tap'
import { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { accessOfKubeconfig } from '../../../cluster/kubernetes/api-access.ts'
import { TestCa } from '../tls/certificates.ts'

export async function standIn(t: Test, listener: RequestListener) {
  const ca = new TestCa(t)
  const folder = ca.issue({ role: 'store', name: 'api' })
  const file = (name: string) => path.join(folder, name)
  const identity = { cert: readFileSync(file('tls.crt')), key: readFileSync(file('tls.key')) }
  const server = https.createServer(identity, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const port = (server.address() as AddressInfo).port
  const kubeconfig = path.join(ca.dir, 'kubeconfig')
  writeFileSync(kubeconfig, [
    'current-context: here',
    'contexts: [{name: here, context: {cluster: c, user: u, namespace: storage}}]',
    `clusters: [{name: c, cluster: {server: "https://127.0.0.1:${port}", certificate-authority: ${file('ca.crt')}}}]`,
    'users: [{name: u, user: {token: t0ken}}]',
  ].join('\n'))
  const client = new ApiClient(accessOfKubeconfig(kubeconfig))
  t.teardown(() => client.close())
  return { client, kubeconfig, server, port }
}
