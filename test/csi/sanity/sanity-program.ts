/**
 * csi-sanity, built once from Go modules whose versions and checksums stand beside this file, into a cache outside the
 * tree. Version 5.5.0 speaks CSI v1.12 with GetSnapshot and with volume conditions.
 */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

export const SANITY_VERSION = '5.5.0'
const PACKAGE = 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity'
const BUILD_MS = 20 * 60_000
const RUN_MS = 15 * 60_000

const run = promisify(execFile)

const program = (): string => {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache')
  return path.join(cache, 'holdfast', `csi-sanity-${SANITY_VERSION}`)
}

/** Why it cannot be had here; undefined: it can. Where everything is to be tested that is a failure. */
export function sanityMissing(): string | undefined {
  if (existsSync(program()) || spawnSync('go', ['version']).status === 0) return undefined
  if (process.env.CI === 'true') throw new Error('csi-sanity cannot be built: `go` is not installed')
  return '`go` is not installed (Debian package golang), which builds csi-sanity'
}

/** Its path. A build that is cut off leaves nothing under it. @throws Error with what the compiler said */
export async function sanityProgram(): Promise<string> {
  const at = program()
  if (existsSync(at)) return at
  mkdirSync(path.dirname(at), { recursive: true })
  const unfinished = `${at}.${process.pid}`
  const words = ['-n', '10', 'go', 'build', '-mod=readonly', '-trimpath', '-p', '1', '-o', unfinished, PACKAGE]
  await run('nice', words, { cwd: import.meta.dirname, timeout: BUILD_MS })
  renameSync(unfinished, at)
  return at
}

export interface SanityEnd {
  /** E.g. `Ran 57 of 95 Specs in 15.1 seconds`, and how they ended. */
  ran: number
  passed: number
  failed: number
  pending: number
  skipped: number
  output: string
}

/** @param flags  of csi-sanity and of ginkgo */
export async function runSanity(flags: readonly string[]): Promise<SanityEnd> {
  const words = [...flags, '--ginkgo.no-color']
  const options = { timeout: RUN_MS, maxBuffer: 64 * 1024 * 1024 }
  // That a spec failed is an end, too.
  const done = await run(await sanityProgram(), words, options)
    .catch((error: { stdout?: string; stderr?: string }) => error)
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}`
  const ran = /Ran (\d+) of \d+ Specs/.exec(output)
  const ended = /(\d+) Passed \| (\d+) Failed \| (\d+) Pending \| (\d+) Skipped/.exec(output)
  if (ran === null || ended === null) throw new Error(`csi-sanity came to no end: ${output.slice(-4000)}`)
  const [passed, failed, pending, skipped] = ended.slice(1).map(Number) as [number, number, number, number]
  return { ran: Number(ran[1]), passed, failed, pending, skipped, output }
}
