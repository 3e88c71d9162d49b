/** `npm run licences` writes docs/licences.md: every package of package-lock.json, and under which licence it is. */
import fs from 'node:fs'
import path from 'node:path'
import { lockedPackages, ROOT } from './lock-file.ts'
import type { LockedPackage } from './lock-file.ts'

export const LICENCES_FILE = path.join(ROOT, 'docs', 'licences.md')

export function licencesPage(packages: readonly LockedPackage[]): string {
  const shipped = packages.filter(({ isDev }) => !isDev)
  const byLicence = new Map<string, string[]>()
  for (const { name, version, licence, isDev } of packages) {
    if (!isDev) continue
    const key = licence === '' ? 'none named in the lock file' : licence
    byLicence.set(key, [...(byLicence.get(key) ?? []), `${name} ${version}`])
  }
  return [
    '# Licences',
    '',
    'Made by `npm run licences` from `package-lock.json`; `npm test -- tidy` fails when it is not. Holdfast itself',
    'is under [Apache-2.0](../LICENSE).',
    '',
    '## Shipped',
    'Nothing but Apache-2.0, MIT, BSD and ISC.',
    '',
    '| package | version | licence |',
    '|---|---|---|',
    ...shipped.map(({ name, version, licence }) => `| ${name} | ${version} | ${licence} |`),
    '',
    '## For development only',
    'Tests and the type check; not part of an installation.',
    '',
    ...[...byLicence].sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([licence, names]) => `- **${licence}**: ${names.join(', ')}`),
    '',
  ].join('\n')
}

if (import.meta.main) fs.writeFileSync(LICENCES_FILE, licencesPage(lockedPackages()))
