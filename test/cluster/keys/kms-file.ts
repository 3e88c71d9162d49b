/** The file of `--kms`, for tests. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { temporaryFolder } from '../../temporary-folder.ts'

export function kmsFile(t: Pick<Test, 'teardown'>, address: string, token: string, more: object = {}): string {
  const dir = temporaryFolder(t)
  writeFileSync(path.join(dir, 'token'), `${token}\n`, { mode: 0o600 })
  const file = path.join(dir, 'kms.json')
  writeFileSync(file, JSON.stringify({ type: 'vault-transit', address, key: 'k', tokenFile: 'token', ...more }))
  return file
}
