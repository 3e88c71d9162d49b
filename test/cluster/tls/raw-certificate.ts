/** Certificates that `holdfast ca issue` would not make, signed by a CA of it. */
import { X509Certificate, createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { issueCertificate } from '../../../cluster/tls/certificate.ts'
import type { AlternativeNames, KeyAndCertificate, KeyPurpose } from '../../../cluster/tls/certificate.ts'

const DAY_MS = 24 * 3600_000

export function issueRaw(
  caDir: string, wish: AlternativeNames & { expired?: boolean; purposes?: readonly KeyPurpose[] },
): KeyAndCertificate {
  const { expired = false, purposes = ['serverAuth', 'clientAuth'], ...names } = wish
  const nowMs = Date.now() - (expired ? 2 * DAY_MS : 0)
  const issuer = {
    certificate: new X509Certificate(readFileSync(path.join(caDir, 'ca.crt'))),
    key: createPrivateKey(readFileSync(path.join(caDir, 'ca.key'))),
  }
  return issueCertificate({ commonName: 'somebody', nowMs, validMs: DAY_MS, names, purposes }, issuer)
}
