/** `holdfast ca init|issue`: the CA of a cluster, and certificates of nodes and of those who ask the control API. */
import net from 'node:net'
import path from 'node:path'
import { isName, shown } from '../cluster/api/names.ts'
import { CLUSTER_ID, IDENTITY_NAME, ROLES } from '../cluster/tls/identity.ts'
import type { Role } from '../cluster/tls/identity.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import { initAuthority, issue } from './ca-folder.ts'
import type { Invocation } from './command.ts'
import { EXIT_OK } from './output.ts'

const CA_DAYS_DEFAULT = '3650'
const DAYS_DEFAULT = '90'
const DAYS_MAX = 36_500
const DNS_NAME = /^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i

const refuse = (parameter: string, value: string, allowed: string): never => {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

function daysOf(given: Arguments, usual: string): number {
  const text = given.text('days') ?? usual
  const days = Number(text)
  return /^\d{1,5}$/.test(text) && days >= 1 && days <= DAYS_MAX ? days : refuse('days', text, `1 to ${DAYS_MAX}`)
}

function folderOf(given: Arguments): string {
  const dir = given.text('dir')
  if (dir === undefined) throw usageError('--dir is missing', 'name the folder of the CA, e.g. --dir ./ca')
  return path.resolve(dir)
}

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10)

export async function initCa({ arguments: given, output }: Invocation): Promise<number> {
  if (given.text('secret') !== undefined) return initSecrets(given, output)
  const dir = folderOf(given)
  const clusterId = given.text('cluster')
  if (clusterId !== undefined && !CLUSTER_ID.test(clusterId)) {
    refuse('cluster', clusterId, 'the id of a cluster, 32 hex digits (`holdfast node inspect`)')
  }
  const made = initAuthority(dir, { clusterId, days: daysOf(given, CA_DAYS_DEFAULT) })
  const expiresAt = new Date(made.expiresAtMs).toISOString()
  output.result({ dir, clusterId: made.clusterId, expiresAt }, () => [
    `a CA for cluster ${made.clusterId} is in ${dir}, valid until ${dayOf(made.expiresAtMs)}`,
    `keep ${path.join(dir, 'ca.key')} off the nodes: who has it can be any node and any user`,
  ])
  return EXIT_OK
}

async function initSecrets(given: Arguments, output: Invocation['output']): Promise<number> {
  for (const other of ['dir', 'cluster'] as const) {
    if (given.text(other) !== undefined) throw usageError(`--${other} and --secret contradict each other`, 'give one')
  }
  const { setUpSecrets } = await import('./kube-setup.ts')
  const { namespace, made } = await setUpSecrets(given, daysOf(given, CA_DAYS_DEFAULT))
  const what = made.length === 0 ? 'nothing, all of it is there' : made.join(', ')
  output.result({ namespace, made }, () => [`made in namespace ${namespace}: ${what}`])
  return EXIT_OK
}

/** `--node n1`, `--role admin [--name alice]` or `--role store`. */
function whoOf(given: Arguments): { role: Role; name: string } {
  const [node, wanted] = [given.text('node'), given.text('role')]
  if ((node === undefined) === (wanted === undefined)) {
    throw usageError('whom the certificate is for is not said', 'give either --node NAME or --role ROLE')
  }
  if (node !== undefined) {
    if (!isName(node)) throw new HoldfastError('node-name', { name: shown(node) })
    if (given.text('name') !== undefined) throw usageError('--name is for roles', 'a node has the name of --node')
    return { role: 'node', name: node }
  }
  const role = ROLES.find((one) => one === wanted && one !== 'node')
  if (role === undefined) refuse('role', wanted!, ROLES.filter((one) => one !== 'node').join(', '))
  const name = given.text('name') ?? role!
  if (!IDENTITY_NAME.test(name)) refuse('name', name, '1 to 63 characters of a-z, 0-9, - and .')
  return { role: role!, name }
}

export async function issueCertificate({ arguments: given, output }: Invocation): Promise<number> {
  const dir = folderOf(given)
  const { role, name } = whoOf(given)
  const [dns, ip] = [given.texts('dns'), given.texts('ip')]
  for (const one of dns) if (!DNS_NAME.test(one)) refuse('dns', one, 'the name of a host, e.g. n1.example.org')
  for (const one of ip) if (net.isIP(one) === 0) refuse('ip', one, 'an address, e.g. 10.0.0.7 or fd00::7')
  if (role === 'store' && dns.length + ip.length === 0) {
    throw usageError('a cluster store is known by where it is', 'add --dns NAME or --ip ADDRESS, as in its URL')
  }
  const out = path.resolve(given.text('out') ?? path.join(dir, name))
  const [days, fromNow] = [daysOf(given, DAYS_DEFAULT), given.flag('from-now')]
  const { uri, expiresAtMs } = issue(dir, { role, name, dns, ip, days, fromNow, out })
  const expiresAt = new Date(expiresAtMs).toISOString()
  output.result({ dir: out, uri, expiresAt }, () => [
    `${role} ${name}: ${out}/{ca.crt, tls.crt, tls.key}, valid until ${dayOf(expiresAtMs)}`,
  ])
  return EXIT_OK
}
