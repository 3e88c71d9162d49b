/**
 * `npm run e2e:kube`: against real parts of Kubernetes, which are built first where they are not there (Go is needed;
 * minutes, once). What it runs skips itself in `npm test`.
 */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { build, missing } from './kube-binaries.ts'
import type { Program } from './kube-binaries.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const PROGRAMS: Program[] = ['etcd', 'kube-apiserver', 'helm']
const TESTS = ['test/conformance/cluster-store/kubernetes.test.ts', 'test/kube', 'test/charts']

for (const program of PROGRAMS) {
  if (missing(program) === false) continue
  console.log(`building ${program} ...`)
  build(program)
}
const env = { ...process.env, HOLDFAST_E2E_KUBE: '1' }
const { status } = spawnSync('bin/node24', ['--dev', 'test/run.ts', ...TESTS], { cwd: ROOT, env, stdio: 'inherit' })
process.exitCode = status ?? 1
