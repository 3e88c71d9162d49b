/** `holdfast ca`: what OpenSSL says of the certificates, what is refused, and that no key is lost or shown. */
import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ipBytes, integer, oid, time } from '../../../cluster/tls/der.ts'
import { identityOf } from '../../../cluster/tls/identity.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const MAIN = path.resolve(import.meta.dirname, '../../../cli/main.ts')
const holdfast = (...words: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'ca', ...words], { encoding: 'utf8' })
  return { status, stdout, stderr }
}
const openssl = (...words: string[]) => execFileSync('openssl', words, { encoding: 'utf8', stdio: 'pipe' })

t.test('a CA and what it issues are right for OpenSSL, strictly', async (t) => {
  const dir = temporaryFolder(t)
  const made = JSON.parse(holdfast('init', '--dir', dir, '-o', 'json').stdout) as { clusterId: string }
  const { clusterId } = made
  const ips = ['--ip', '10.0.0.7', '--ip', 'fd00::7', '--ip', '::ffff:1.2.3.4']
  const issued = holdfast('issue', '--dir', dir, '--node', 'n1', '--dns', 'n1.example.org', ...ips, '-o', 'json')
  t.equal(issued.status, 0, issued.stderr)
  t.match(JSON.parse(issued.stdout), { dir: path.join(dir, 'n1'), uri: `holdfast://cluster/${clusterId}/node/n1` })
  const [ca, node] = [path.join(dir, 'ca.crt'), path.join(dir, 'n1', 'tls.crt')]
  for (const purpose of ['sslserver', 'sslclient']) {
    t.match(openssl('verify', '-x509_strict', '-CAfile', ca, '-purpose', purpose, node), /OK/, purpose)
  }
  for (const host of [['-verify_hostname', 'n1.example.org'], ['-verify_ip', 'fd00::7'], ['-verify_ip', '10.0.0.7']]) {
    t.match(openssl('verify', '-CAfile', ca, ...host, node), /OK/, host.join(' '))
  }
  t.throws(() => openssl('verify', '-CAfile', ca, '-verify_ip', '10.0.0.8', node))
  t.equal(holdfast('issue', '--dir', dir, '--role', 'admin', '--name', 'alice', '--days', '1').status, 0)
  const admin = path.join(dir, 'alice', 'tls.crt')
  t.match(openssl('verify', '-x509_strict', '-CAfile', ca, '-purpose', 'sslclient', admin), /OK/)
  t.throws(() => openssl('verify', '-CAfile', ca, '-purpose', 'sslserver', admin), 'a user is no server')
  t.same(identityOf(new X509Certificate(readFileSync(admin))), { clusterId, role: 'admin', name: 'alice' })
  t.type(identityOf(new X509Certificate(readFileSync(ca))), 'string', 'the CA itself is nobody')
  for (const file of [path.join(dir, 'ca.key'), path.join(dir, 'n1', 'tls.key')]) {
    t.equal(statSync(file).mode & 0o777, 0o600, file)
  }
  t.equal(statSync(path.join(dir, 'n1')).mode & 0o777, 0o700)
})

t.test('what is there is not overwritten, but by what replaces it', async (t) => {
  const dir = temporaryFolder(t)
  const id = '0'.repeat(31) + '7'
  t.equal(holdfast('init', '--dir', dir, '--cluster', id).status, 0)
  const key = readFileSync(path.join(dir, 'ca.key'), 'utf8')
  const again = holdfast('init', '--dir', dir)
  t.same([again.status, again.stdout], [1, ''])
  t.match(again.stderr, /ca\.key exists already, and was not touched/)
  t.equal(readFileSync(path.join(dir, 'ca.key'), 'utf8'), key)
  holdfast('issue', '--dir', dir, '--node', 'n1')
  const first = readFileSync(path.join(dir, 'n1', 'tls.crt'), 'utf8')
  t.match(first, /BEGIN/)
  t.match(holdfast('issue', '--dir', dir, '--node', 'n2', '--out', path.join(dir, 'n1')).stderr, /exists already/)
  t.equal(readFileSync(path.join(dir, 'n1', 'tls.crt'), 'utf8'), first)
  t.equal(holdfast('issue', '--dir', dir, '--node', 'n1').status, 0, 'the same node again: a rotation')
  t.not(readFileSync(path.join(dir, 'n1', 'tls.crt'), 'utf8'), first)
  t.same(readdirSync(path.join(dir, 'n1')).sort(), ['ca.crt', 'tls.crt', 'tls.key'], 'nothing is left over')
})

t.test('what cannot be is said in a sentence', async (t) => {
  const dir = temporaryFolder(t)
  const ca = path.join(dir, 'ca')
  t.equal(holdfast('init', '--dir', ca, '--days', '30').status, 0)
  const cases: Array<[string[], RegExp]> = [
    [['init'], /--dir is missing/],
    [['init', '--dir', path.join(dir, 'b'), '--cluster', 'x'], /32 hex digits/],
    [['issue', '--dir', ca], /either --node NAME or --role ROLE/],
    [['issue', '--dir', ca, '--node', 'n1', '--role', 'admin'], /either --node NAME or --role ROLE/],
    [['issue', '--dir', ca, '--role', 'root'], /role = "root" is not allowed; allowed: viewer, operator, admin/],
    [['issue', '--dir', ca, '--role', 'node'], /is not allowed/],
    [['issue', '--dir', ca, '--role', 'admin', '--name', 'a/../node/n1'], /is not allowed/],
    [['issue', '--dir', ca, '--node', 'N 1'], /node name "N 1" is not allowed/],
    [['issue', '--dir', ca, '--node', 'n1', '--ip', '10.0.0.300'], /an address/],
    [['issue', '--dir', ca, '--node', 'n1', '--dns', 'a, URI:holdfast://x'], /the name of a host/],
    [['issue', '--dir', ca, '--node', 'n1', '--days', '31'], /as long as its CA: 29|30/],
    [['issue', '--dir', ca, '--role', 'store'], /add --dns NAME or --ip ADDRESS/],
    [['issue', '--dir', path.join(dir, 'none'), '--node', 'n1'], /ca\.crt cannot be used for TLS/],
  ]
  for (const [words, sentence] of cases) {
    const { status, stdout, stderr } = holdfast(...words)
    t.not(status, 0, words.join(' '))
    t.equal(stdout, '')
    t.match(stderr, sentence)
  }
})

t.test('DER', async (t) => {
  t.equal(oid('1.2.840.10045.4.3.2').toString('hex'), '06082a8648ce3d040302')
  t.equal(integer(Buffer.of(0x80)).toString('hex'), '02020080', 'a number is never negative')
  t.equal(integer(Buffer.of(0)).toString('hex'), '020100')
  t.equal(time(new Date('2049-12-31T23:59:59Z')).subarray(2).toString(), '491231235959Z')
  t.equal(time(new Date('2050-01-01T00:00:00Z')).subarray(2).toString(), '20500101000000Z')
  t.equal(ipBytes('::1').toString('hex'), `${'00'.repeat(15)}01`)
  t.equal(ipBytes('fe80::1:2').toString('hex'), 'fe80000000000000000000000001'.padEnd(28, '0') + '0002')
  t.equal(ipBytes('::ffff:1.2.3.4').toString('hex'), '00000000000000000000ffff01020304')
})
