/** Runs the `holdfast` command as a user would and keeps what it said. */
import { execFile } from 'node:child_process'
import path from 'node:path'

export const MAIN = path.resolve(import.meta.dirname, '../../cli/main.ts')

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

export function holdfast(words: string[], options: { cwd?: string; env?: Record<string, string> } = {}): Promise<Outcome> {
  const env = { PATH: process.env.PATH ?? '', ...options.env }
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...words], { cwd: options.cwd, env, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
    })
  })
}
