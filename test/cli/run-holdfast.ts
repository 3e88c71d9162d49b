/** Runs the `holdfast` command as a user would and keeps what it said. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { withCompileCache } from '../../dataplane/compile-cache.ts'

export const MAIN = path.resolve(import.meta.dirname, '../../cli/main.ts')

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

/** Rejects when it has not ended in time, which is for one that hangs: do not start dozens at once. */
export function holdfast(
  words: string[],
  { cwd, env, timeoutMs = 30_000 }: { cwd?: string; env?: Record<string, string>; timeoutMs?: number } = {},
): Promise<Outcome> {
  const options = { cwd, env: withCompileCache({ PATH: process.env.PATH ?? '', ...env }), timeout: timeoutMs }
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [MAIN, ...words], options, (error, stdout, stderr) => {
      if (error?.killed) return reject(new Error(`holdfast ${words.join(' ')} has not ended after ${timeoutMs} ms`))
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
    })
  })
}
