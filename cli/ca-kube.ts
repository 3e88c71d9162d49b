/**
 * `holdfast ca request` and `holdfast ca sign`: certificates of nodes in a Kubernetes cluster. The first runs beside
 * the daemon of each node, the other one once, with the CA's key (csi/kube/SPEC.md section 3).
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { identityOf, identityUri } from '../cluster/tls/identity.ts'
import type { TlsIdentity } from '../cluster/tls/identity.ts'
import { askForCertificate } from '../csi/kube/certificate-request.ts'
import { CSI_NAME, signRequests } from '../csi/kube/certificate-signer.ts'
import { nodeNameOf } from '../csi/kube/node-name.ts'
import { makeFolder, replaceFile } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import { clusterOfAuthority, readAuthority } from './ca-folder.ts'
import type { Invocation } from './command.ts'
import { Interruption } from './interruption.ts'
import { EXIT_OK } from './output.ts'

const SIGN_EVERY_MS = 1000
const ANSWER_MS = 120_000
/** A failed renewal is tried again; a certificate has weeks left then. */
const RETRY_MS = 60_000
/** Of its life, after which another one is asked for. */
const RENEWED_AFTER = 1 / 3

const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`)

const clientOf = (given: Arguments): ApiClient => new ApiClient(accessOf(given.text('kubeconfig')))

function wanted(given: Arguments, name: string, example: string): string {
  const text = given.text(name)
  if (text === undefined) throw usageError(`--${name} is missing`, `e.g. --${name} ${example}`)
  return text
}

export async function requestCertificate({ arguments: given, output }: Invocation): Promise<number> {
  const authorityFile = path.resolve(wanted(given, 'ca', '/etc/holdfast/ca/ca.crt'))
  const out = path.resolve(wanted(given, 'out', '/var/lib/holdfast/tls'))
  const authority = readText(authorityFile)
  const identity: TlsIdentity = { clusterId: clusterOfAuthority(authorityFile, authority), ...whoAsks(given) }
  const client = clientOf(given)
  const interruption = new Interruption('asking for a certificate')
  try {
    let renewAtMs = renewalOf(out, identity)
    if (renewAtMs <= Date.now()) {
      renewAtMs = await renewed({ client, identity, authority, out }).catch((error: unknown) => {
        // The one that is there is good for a while: who is served with it does not wait.
        if (!(error instanceof HoldfastError) || !given.flag('watch') || !isGood(out, identity)) throw error
        log(error.message)
        return renewAtMs
      })
    }
    const until = new Date(renewAtMs).toISOString()
    const { role, name } = identity
    output.result({ dir: out, role, name, renewedAt: until }, () => [
      `the certificate of ${role} ${name} is in ${out}; another one is asked for at ${until}`,
    ])
    while (given.flag('watch') && !interruption.signal.aborted) {
      await pause(Math.min(Math.max(renewAtMs - Date.now(), RETRY_MS), 2 ** 31 - 1), interruption.signal)
      if (interruption.signal.aborted || renewAtMs > Date.now()) continue
      const asked = { client, identity, authority: readText(authorityFile), out }
      renewAtMs = await renewed(asked).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error
        log(error.message)
        return renewAtMs
      })
    }
    return EXIT_OK
  } finally {
    interruption.end()
    client.close()
  }
}

/** @returns when the next one is to be asked for, in ms since 1970 */
async function renewed(
  { out, ...asked }: { client: ApiClient; identity: TlsIdentity; authority: string; out: string },
): Promise<number> {
  const { key, certificate } = await askForCertificate({ ...asked, deadlineMs: ANSWER_MS })
  makeFolder(out)
  replaceFile(path.join(out, 'tls.key'), key)
  replaceFile(path.join(out, 'tls.crt'), certificate)
  replaceFile(path.join(out, 'ca.crt'), asked.authority)
  return renewalOf(out, asked.identity)
}

/** Whether there is one for us that has not expired. */
function isGood(dir: string, identity: TlsIdentity): boolean {
  if (renewalOf(dir, identity) === 0) return false
  return Date.parse(new X509Certificate(readFileSync(path.join(dir, 'tls.crt'))).validTo) > Date.now()
}

/** 0: now, as there is none for us. */
function renewalOf(dir: string, identity: TlsIdentity): number {
  const file = path.join(dir, 'tls.crt')
  if (!existsSync(file)) return 0
  try {
    const certificate = new X509Certificate(readFileSync(file))
    const who = identityOf(certificate)
    const isOurs = typeof who !== 'string' && identityUri(who) === identityUri(identity)
    const key = createPrivateKey(readFileSync(path.join(dir, 'tls.key')))
    if (!isOurs || !certificate.checkPrivateKey(key)) return 0
    const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)]
    return from + (to - from) * RENEWED_AFTER
  } catch {
    return 0
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
  const dir = path.resolve(wanted(given, 'dir', '/etc/holdfast/ca'))
  const accounts = new Map([
    [accountOf(given, 'node-account', 'holdfast:holdfast-node'), 'node' as const],
    [accountOf(given, 'csi-account', 'holdfast:holdfast-controller'), 'csi' as const],
  ])
  const { clusterId, issuer } = readAuthority(dir)
  const client = clientOf(given)
  const interruption = new Interruption('signing')
  const options = { client, issuer, clusterId, accounts, log, nowMs: Date.now }
  output.result({ clusterId }, () => [`requests of nodes of cluster ${clusterId} are signed`])
  while (!interruption.signal.aborted) {
    await signRequests(options)
    await pause(SIGN_EVERY_MS, interruption.signal)
  }
  interruption.end()
  client.close()
  return EXIT_OK
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new HoldfastError('tls-files', { file, reason: `it cannot be read: ${(error as { code?: string }).code}` })
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
}
