/** A folder under the system's temporary one, short enough for unix sockets in it, removed when the test ends. */
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'

export function temporaryFolder(t: Pick<Test, 'teardown'>): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hf-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
