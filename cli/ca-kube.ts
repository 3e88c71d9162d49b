/**
 * `holdfast ca request` and `holdfast ca sign`: certificates of nodes in a Kubernetes cluster. The first runs beside
 * the daemon of each node, the other one once, with the CA's key (csi/kube/SPEC.md section 3).
 */
import path from 'node:path'
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { pause } from '../cluster/pause.ts'
import type { TlsIdentity } from '../cluster/tls/identity.ts'
import { CSI_NAME, signRequests } from '../csi/kube/certificates/certificate-signer.ts'
import { nodeNameOf } from '../csi/kube/node-name.ts'
import { keepMemorySecret } from '../dataplane/memory-secrecy.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import { clusterOfAuthority, CurrentAuthority } from './ca-folder.ts'
import type { Invocation } from './command.ts'
import { Interruption } from './interruption.ts'
import { KubeCertificate, readAuthorityFile } from './kube-certificate.ts'
import { EXIT_OK } from './output.ts'

const SIGN_EVERY_MS = 1000
/** At the CA that is believed, and whether the certificate is due. What failed is tried again then, too. */
const LOOK_EVERY_MS = 60_000

const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`)

const clientOf = (given: Arguments): ApiClient => new ApiClient(accessOf(given.text('kubeconfig')))

function wanted(given: Arguments, name: string, example: string): string {
  const text = given.text(name)
  if (text === undefined) throw usageError(`--${name} is missing`, `e.g. --${name} ${example}`)
  return text
}

export async function requestCertificate({ arguments: given, output }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: true })
  const authorityFile = path.resolve(wanted(given, 'ca', '/etc/holdfast/ca/ca.crt'))
  const out = path.resolve(wanted(given, 'out', '/var/lib/holdfast/tls'))
  const clusterId = clusterOfAuthority(authorityFile, readAuthorityFile(authorityFile))
  const identity: TlsIdentity = { clusterId, ...whoAsks(given) }
  const client = clientOf(given)
  const interruption = new Interruption('asking for a certificate')
  const certificate = new KubeCertificate({ client, identity, authorityFile, out })
  try {
    const renewAtMs = await certificate.look().catch((error: unknown) => {
      // The one that is there is good for a while: who is served with it does not wait.
      if (!(error instanceof HoldfastError) || !given.flag('watch') || !certificate.isGood) throw error
      log(error.message)
      return certificate.renewAtMs
    })
    const until = new Date(renewAtMs).toISOString()
    const { role, name } = identity
    output.result({ dir: out, role, name, renewedAt: until }, () => [
      `the certificate of ${role} ${name} is in ${out}; another one is asked for at ${until}`,
    ])
    while (given.flag('watch') && !interruption.signal.aborted) {
      await pause(LOOK_EVERY_MS, interruption.signal)
      if (interruption.signal.aborted) break
      await certificate.look().catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error
        log(error.message)
      })
    }
    return EXIT_OK
  } finally {
    interruption.end()
    client.close()
  }
}

/** `--kube-node NAME`, or `--role csi`. */
function whoAsks(given: Arguments): Pick<TlsIdentity, 'role' | 'name'> {
  const role = given.text('role')
  if (role === 'csi' && given.text('kube-node') === undefined) return { role, name: CSI_NAME }
  if (role === undefined) return { role: 'node', name: nodeNameOf(wanted(given, 'kube-node', 'worker-1')) }
  throw usageError('whom the certificate is for is not said', 'give either --kube-node NAME or --role csi')
}

function accountOf(given: Arguments, flag: string, example: string): string {
  const [namespace = '', account = '', ...rest] = wanted(given, flag, example).split(':')
  if (namespace !== '' && account !== '' && rest.length === 0) return `system:serviceaccount:${namespace}:${account}`
  throw usageError(`--${flag} is NAMESPACE:NAME`, `e.g. --${flag} ${example}`)
}

export async function signCertificates({ arguments: given, output }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: true })
  const dir = path.resolve(wanted(given, 'dir', '/etc/holdfast/ca'))
  const accounts = new Map([
    [accountOf(given, 'node-account', 'holdfast:holdfast-node'), 'node' as const],
    [accountOf(given, 'csi-account', 'holdfast:holdfast-controller'), 'csi' as const],
  ])
  const authority = new CurrentAuthority(dir, log)
  const { clusterId } = authority
  const client = clientOf(given)
  const interruption = new Interruption('signing')
  output.result({ clusterId }, () => [`requests of nodes of cluster ${clusterId} are signed`])
  while (!interruption.signal.aborted) {
    await signRequests({ client, issuer: authority.issuer, clusterId, accounts, log, nowMs: Date.now })
    await pause(SIGN_EVERY_MS, interruption.signal)
  }
  interruption.end()
  client.close()
  return EXIT_OK
}
