/**
 * `npm run e2e:kube`: against real parts of Kubernetes, which are built first where they are not there (Go is needed;
 * minutes, once). What it runs skips itself in `npm test`.
 *
 *   npm run e2e:kube                     all of it
 *   npm run e2e:kube -- volumes-of-pods  tests whose path holds that
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { build, missing, PACKAGES } from './kube-binaries.ts'
import type { Program } from './kube-binaries.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const PROGRAMS = Object.keys(PACKAGES) as Program[]
/** Tells at its end how long everything took. */
const STORY = 'test/kube/volumes-of-pods.test.ts'
const TESTS = ['test/conformance/cluster-store/kubernetes.test.ts', 'test/kube', 'test/charts']

for (const program of PROGRAMS) {
  if (missing(program) === false) continue
  console.log(`building ${program} ...`)
  build(program)
}
const env = { ...process.env, HOLDFAST_E2E_KUBE: '1' }
const kept = path.join(ROOT, '.tap/output', `${STORY}.tap`)
rmSync(kept, { force: true })
const tests = process.argv.length > 2 ? process.argv.slice(2) : TESTS
const { status } = spawnSync('bin/node24', ['--dev', 'test/run.ts', ...tests], { cwd: ROOT, env, stdio: 'inherit' })
if (existsSync(kept)) {
  const told = readFileSync(kept, 'utf8').split('\n').map((line) => line.trim())
  for (const line of told) if (/^# (\||volume of class)/.test(line)) console.log(line.slice(2))
}
process.exitCode = status ?? 1
