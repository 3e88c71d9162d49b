/** Risk: a bill of materials that leaves out what is shipped, or names what is not. */
import t from 'tap'
import { debianPackages, sbom } from '../../bin/sbom.ts'
import { lockedPackages } from '../../bin/lock-file.ts'
import type { LockedPackage } from '../../bin/lock-file.ts'

const one = (name: string, more: Partial<LockedPackage> = {}): LockedPackage =>
  ({ name, version: '1.0.0', licence: 'MIT', isDev: false, integrity: 'sha512-AAEC', ...more })

t.test('what is shipped, with licence and checksum, and nothing else', async (t) => {
  const packages = [one('@a/b'), one('c', { licence: '' }), one('d', { isDev: true })]
  const debian = [{ name: 'libc6', version: '2.36-9+deb12u1', architecture: 'amd64' }]
  const made = sbom(packages, debian, '0.1.0')
  t.equal(made.bomFormat, 'CycloneDX')
  t.same(made.components, [
    {
      type: 'library', 'bom-ref': 'pkg:npm/%40a/b@1.0.0', name: '@a/b', version: '1.0.0', purl: 'pkg:npm/%40a/b@1.0.0',
      licenses: [{ expression: 'MIT' }], hashes: [{ alg: 'SHA-512', content: '000102' }],
    },
    {
      type: 'library', 'bom-ref': 'pkg:npm/c@1.0.0', name: 'c', version: '1.0.0', purl: 'pkg:npm/c@1.0.0',
      hashes: [{ alg: 'SHA-512', content: '000102' }],
    },
    {
      type: 'library', 'bom-ref': 'pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64', name: 'libc6',
      version: '2.36-9+deb12u1', purl: 'pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64',
    },
  ])
  t.same(sbom(packages, debian, '0.1.0'), made, 'the same input gives the same bytes')
  t.not(sbom(packages, [], '0.1.0').serialNumber, made.serialNumber)
})

t.test('of the tree itself', async (t) => {
  const names = (sbom(lockedPackages(), [], '0.1.0').components as Array<{ name: string }>).map(({ name }) => name)
  for (const name of ['@grpc/grpc-js', 'level', 'node', 'koffi']) t.ok(names.includes(name), name)
  for (const name of ['tap', 'typescript', 'fast-check']) t.notOk(names.includes(name), name)
})

t.test('Debian packages that are installed', async (t) => {
  const paragraph = (name: string, status: string): string =>
    `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nVersion: 1-2\nDescription: x\n more\n`
  const status = [paragraph('a', 'install ok installed'), paragraph('b', 'deinstall ok config-files')].join('\n')
  t.same(debianPackages(status), [{ name: 'a', version: '1-2', architecture: 'amd64' }])
})
