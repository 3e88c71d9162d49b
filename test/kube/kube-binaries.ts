/**
 * Programs of Kubernetes for tests, built once from the pinned Go modules in test/kube/tools and kept in the user's
 * cache: `npm run e2e:kube` builds what is missing, other tests use what is there and say so when it is not.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'

const TOOLS = path.join(import.meta.dirname, 'tools')

/** Program -> package. */
export const PACKAGES = {
  etcd: 'go.etcd.io/etcd/server/v3',
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
  'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
  'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
  'csi-provisioner': 'github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner',
  'csi-attacher': 'github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher',
  'csi-resizer': 'github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer',
  'csi-snapshotter': 'github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter',
  'snapshot-controller': 'github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller',
  helm: 'helm.sh/helm/v3/cmd/helm',
} as const

export type Program = keyof typeof PACKAGES

/** Of the versions that are pinned: another set of them is another folder. */
function folder(): string {
  const pinned = createHash('sha256').update(readFileSync(path.join(TOOLS, 'go.mod'))).digest('hex').slice(0, 12)
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache')
  return path.join(cache, 'holdfast', `kube-${pinned}`)
}

/** Where it is, or would be. */
export const pathOf = (program: Program): string => path.join(folder(), program)

/** Why these cannot be run here, or false. */
export function missing(...programs: Program[]): string | false {
  const lacking = programs.filter((program) => !existsSync(pathOf(program)))
  return lacking.length === 0 ? false : `${lacking.join(', ')}: not built here (npm run e2e:kube builds it)`
}

/** The same of what takes minutes: a part of `npm run e2e:kube` alone. */
export const leftOut = (...programs: Program[]): string | false =>
  process.env.HOLDFAST_E2E_KUBE === '1' ? missing(...programs) : 'a part of npm run e2e:kube'

/** Minutes for the first one. @throws when Go or its modules cannot be had */
export function build(program: Program): void {
  if (missing(program) === false) return
  mkdirSync(folder(), { recursive: true })
  const output = `${pathOf(program)}.${process.pid}`
  const flags = ['build', '-trimpath', '-buildvcs=false', '-ldflags=-s -w', '-o', output, PACKAGES[program]]
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly' }
  const { status, error } = spawnSync('go', flags, { cwd: TOOLS, env, stdio: 'inherit' })
  if (status !== 0) throw new Error(`${program} was not built: ${error?.message ?? `go ended with ${status}`}`)
  spawnSync('mv', [output, pathOf(program)])
}
