/**
 * Certificates of `holdfast dev --tls`: a CA of its own in `DIR/tls`, kept with the folder, and at each start a new
 * certificate for each node, for the store, and for an admin. A CA beside what it signs for is for trying out only.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Role } from '../cluster/tls/identity.ts'
import { initAuthority, issue } from './ca-folder.ts'

const CA_DAYS = 3650
const DAYS = 90
const LOOPBACK = ['127.0.0.1', '::1']

export const ADMIN = 'admin'

/** TLS folders by the name of whom they are for. */
export function devCertificates(dir: string, nodes: readonly string[], store: string): Map<string, string> {
  const ca = path.join(dir, 'tls')
  if (!existsSync(path.join(ca, 'ca.crt'))) initAuthority(ca, { days: CA_DAYS })
  const owners: Array<[name: string, role: Role]> = [[store, 'store'], [ADMIN, 'admin']]
  for (const node of nodes) owners.push([node, 'node'])
  return new Map(owners.map(([name, role]) => {
    const out = path.join(ca, name)
    issue(ca, { role, name, dns: role === 'admin' ? [] : ['localhost'], ip: LOOPBACK, days: DAYS, out })
    return [name, out]
  }))
}
