/**
 * `npm run sbom [-- --dpkg-status FILE] > sbom.json`: a software bill of materials as CycloneDX 1.6. What is shipped of
 * package-lock.json, and of an image the Debian packages that its /var/lib/dpkg/status has. The same input gives the
 * same bytes.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { lockedPackages, ROOT } from './lock-file.ts'
import type { LockedPackage } from './lock-file.ts'

export interface DebianPackage {
  name: string
  version: string
  architecture: string
}

interface Component {
  type: 'library' | 'application'
  'bom-ref': string
  name: string
  version: string
  purl: string
  licenses?: Array<{ expression: string }>
  hashes?: Array<{ alg: 'SHA-512'; content: string }>
}

/** Those that are installed. @param status  the text of a dpkg status file */
export function debianPackages(status: string): DebianPackage[] {
  return status.split('\n\n').flatMap((paragraph) => {
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(paragraph)?.[1] ?? ''
    if (field('Status') !== 'install ok installed') return []
    return [{ name: field('Package'), version: field('Version'), architecture: field('Architecture') }]
  })
}

const npmPurl = ({ name, version }: LockedPackage): string => `pkg:npm/${name.replace('@', '%40')}@${version}`

function npmComponent(one: LockedPackage): Component {
  const { name, version, licence, integrity } = one
  const purl = npmPurl(one)
  const [algorithm, digest = ''] = integrity.split('-')
  const hash = { alg: 'SHA-512' as const, content: Buffer.from(digest, 'base64').toString('hex') }
  return {
    type: 'library', 'bom-ref': purl, name, version, purl,
    ...(licence === '' ? {} : { licenses: [{ expression: licence }] }),
    ...(algorithm === 'sha512' ? { hashes: [hash] } : {}),
  }
}

function debianComponent({ name, version, architecture }: DebianPackage): Component {
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`
  return { type: 'library', 'bom-ref': purl, name, version, purl }
}

export function sbom(
  packages: readonly LockedPackage[], debian: readonly DebianPackage[], version: string,
): Record<string, unknown> {
  const components = [...packages.filter(({ isDev }) => !isDev).map(npmComponent), ...debian.map(debianComponent)]
  const digest = createHash('sha256').update(JSON.stringify(components)).digest('hex')
  const uuid = [digest.slice(0, 8), digest.slice(8, 12), `8${digest.slice(13, 16)}`, `8${digest.slice(17, 20)}`,
    digest.slice(20, 32)].join('-')
  const purl = `pkg:generic/holdfast@${version}`
  const holdfast: Component = {
    type: 'application', 'bom-ref': purl, name: 'holdfast', version, purl, licenses: [{ expression: 'Apache-2.0' }],
  }
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json', bomFormat: 'CycloneDX', specVersion: '1.6',
    serialNumber: `urn:uuid:${uuid}`, version: 1, metadata: { component: holdfast }, components,
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { 'dpkg-status': { type: 'string' } } })
  const file = values['dpkg-status']
  const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const debian = file === undefined ? [] : debianPackages(fs.readFileSync(file, 'utf8'))
  process.stdout.write(`${JSON.stringify(sbom(lockedPackages(), debian, version), null, 2)}\n`)
}
