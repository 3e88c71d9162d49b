/**
 * A test file that mounts runs in a mount namespace of its own, so that nothing of it is seen outside or outlives it.
 * Import it first: outside it starts the file again inside, and ends with what that one said.
 */
import { spawnSync } from 'node:child_process'

const VARIABLE = 'HOLDFAST_OWN_MOUNTS'

/** Why there can be none; undefined: this process has one. */
export const noOwnMounts: string | undefined = reasonAgainst()

function reasonAgainst(): string | undefined {
  if (process.env[VARIABLE] === '1') return undefined
  if (process.getuid!() !== 0) return 'mounts need root'
  const words = ['--mount', '--propagation', 'private', process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const trial = spawnSync('unshare', ['--mount', '--propagation', 'private', 'true'])
  if (trial.status !== 0) return 'no mount namespaces here'
  const { status } = spawnSync('unshare', words, { stdio: 'inherit', env: { ...process.env, [VARIABLE]: '1' } })
  process.exit(status ?? 1)
}
