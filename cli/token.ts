/**
 * `holdfast token create|ls|revoke`. The secret is drawn here, and shown or written once: what goes to the cluster is
 * its hash.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { formatAge, formatTime, parseDurationMs } from '../cluster/api/amounts.ts'
import { shown } from '../cluster/api/names.ts'
import { drawTokenSecret, hashOfToken, tokenText } from '../cluster/tls/bearer-token.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK, table } from './output.ts'

const EXPIRES_DEFAULT = '2160h'

export async function createToken({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const role = given.text('role')
  if (role === undefined) throw usageError('--role is missing', 'e.g. --role viewer')
  const expires = given.text('expires') ?? EXPIRES_DEFAULT
  const validMs = parseDurationMs(expires)
  if (validMs === undefined) {
    throw new HoldfastError('parameter', { parameter: 'expires', value: shown(expires), allowed: 'e.g. 24h' })
  }
  const out = given.text('out')
  const secret = drawTokenSecret()
  const made = await withDaemon(given, (daemon) => daemon.createToken({
    name, role, hash: hashOfToken(secret), validMs,
  }))
  const { clusterId, createdAtMs, expiresAtMs } = made
  const token = tokenText({ clusterId, name, secret })
  const until = `a ${role} until ${formatTime(expiresAtMs)} UTC`
  if (out !== undefined) {
    const file = path.resolve(out)
    await keep(file, token)
    output.result({ name, role, createdAtMs, expiresAtMs, file }, () => [`token ${name}: ${until}; it is in ${file}`])
    return EXIT_OK
  }
  output.result({ name, role, createdAtMs, expiresAtMs, token }, () => [
    token,
    `token ${name}: ${until}; it is shown this once. Its owner puts it into a file of mode 0600, and names that with`,
    '--token-file or HOLDFAST_TOKEN_FILE, and a folder that has the ca.crt of the cluster with --tls or HOLDFAST_TLS',
  ])
  return EXIT_OK
}

/** Who cannot have it does not know it: it is worth nothing then. */
async function keep(file: string, token: string): Promise<void> {
  try {
    writeFileSync(file, `${token}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    throw code === 'EEXIST' ? new HoldfastError('file-exists', { path: file }, { cause: error })
      : new HoldfastError('image-write', { path: file, reason: code }, { cause: error })
  }
}

export async function listTokens({ arguments: given, output }: Invocation): Promise<number> {
  const { tokens } = await withDaemon(given, (daemon) => daemon.listTokens())
  const nowMs = Date.now()
  output.result(tokens, () => table(['NAME', 'ROLE', 'MADE', 'VALID'], tokens.map((token) => [
    token.name,
    token.role,
    formatAge(nowMs - token.createdAtMs),
    token.expiresAtMs <= nowMs ? 'no more' : `until ${formatTime(token.expiresAtMs)} UTC`,
  ])))
  return EXIT_OK
}

export async function revokeToken({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  await withDaemon(given, (daemon) => daemon.revokeToken({ name }))
  output.result({ name, revoked: true }, () => [
    `token ${name} is worth nothing any more, and what went on under it ends`,
  ])
  return EXIT_OK
}
