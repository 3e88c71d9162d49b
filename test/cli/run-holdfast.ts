/** Runs the `holdfast` command as a user would and keeps what it said. */
import { execFile } from 'node:child_process'
import path from 'node:path'

export const MAIN = path.resolve(import.meta.dirname, '../../cli/main.ts')

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

export function holdfast(
  words: string[],
  { cwd, env }: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  const options = { cwd, env: { PATH: process.env.PATH ?? '', ...env }, timeout: 30_000 }
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...words], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
    })
  })
}
