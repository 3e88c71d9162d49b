/**
 * The chart as helm renders it: every object is one that the API takes, nobody has rights to all of anything, the data
 * path has no memory limit, and values that are not known are refused.
 */
// test-timeout-seconds: 300
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { missing } from '../kube/kube-binaries.ts'
import { helmTemplate, renderedChart } from '../kube/rendered-chart.ts'
import type { Json } from '../kube/rendered-chart.ts'
import { Kinds, moduleFolder } from './openapi.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const CHART = path.join(ROOT, 'charts/holdfast')
const skip = missing('helm')

const helm = (...words: string[]) => helmTemplate('storage', ...words)
const rendered = (...words: string[]): Json[] => renderedChart('storage', ...words)

const SETS: Record<string, string[]> = {
  'as it is': [],
  'an etcd, devices, users\' own keys': [
    '--set', 'store=https://etcd.example:2379', '--set', 'node.disks[0].path=/dev/sdb',
    '--set', 'node.disks[0].size=',
    '--set', 'node.disks[0].tags={ssd,nvme}', '--set', 'keyNamespaces={team-a,team-b}', '--set', 'node.workers=4',
  ],
  'all classes, another kubelet': [
    '--set', 'storageClasses.writeback.create=true', '--set', 'storageClasses.default.isDefault=true',
    '--set', 'node.kubeletDir=/var/lib/k0s/kubelet', '--set', 'node.disks[0].path=/mnt/fast/disk0',
    '--set', 'node.disks[1].path=/mnt/fast/disk1', '--set', 'node.disks[1].size=1Gi',
    '--set', 'scheduler.create=true',
    '--set', 'imagePullSecrets[0].name=registry', '--set', 'serviceMonitor.labels.release=prometheus',
  ],
}

t.test('every object is what the API takes', { skip }, async (t) => {
  const kinds = new Kinds()
  kinds.addKubernetes([
    'api__v1_openapi.json', ...['apps', 'batch', 'rbac.authorization.k8s.io', 'storage.k8s.io', 'apiextensions.k8s.io',
      'flowcontrol.apiserver.k8s.io'].map((group) => `apis__${group}__v1_openapi.json`),
  ])
  const snapshots = path.join(moduleFolder('github.com/kubernetes-csi/external-snapshotter/client/v8'), 'config/crd')
  for (const file of readdirSync(snapshots).filter((name) => /^(group)?snapshot\.storage\.k8s\.io_/.test(name))) {
    kinds.addResources(readFileSync(path.join(snapshots, file), 'utf8'))
  }
  for (const [name, words] of Object.entries(SETS)) {
    const objects = rendered(...words)
    t.ok(objects.length > 30, `${name}: ${objects.length} objects`)
    for (const object of objects) {
      // Its resources are Prometheus', whose module has no schema that can be had here.
      if (object.apiVersion === 'monitoring.coreos.com/v1') continue
      t.same(kinds.problems(object), [], `${name}: ${object.kind} ${object.metadata.name}`)
    }
  }
  const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'x' }, spec: { port: 1 } }
  t.match(kinds.problems(service), [/port is not known/])
  t.match(kinds.problems({ apiVersion: 'v1', kind: 'Pod', metadata: {}, spec: {} }), [/containers is missing/])
})

/** Rules that give a right to all of something. */
const wildcards = (objects: readonly Json[]): string[] => objects
  .filter(({ kind }) => kind === 'Role' || kind === 'ClusterRole')
  .flatMap(({ metadata, rules }) => (rules as Json[]).flatMap((rule) =>
    PARTS.filter((part) => (rule[part] ?? []).includes('*')).map((part) => `${metadata.name}: ${part}`)))

const PARTS = ['apiGroups', 'resources', 'verbs', 'resourceNames']

t.test('who may do what', { skip }, async (t) => {
  const objects = rendered(...SETS['an etcd, devices, users\' own keys']!, '--set', 'scheduler.create=true')
  t.same(wildcards(objects), [])
  t.same(wildcards([{ kind: 'Role', metadata: { name: 'x' }, rules: [{ verbs: ['*'] }] }]), ['x: verbs'])
  const readsSecrets = ({ rules }: Json): boolean => rules.some((rule: Json) => rule.resources.includes('secrets'))
  const readers = objects.filter((object) => object.kind === 'ClusterRole' && readsSecrets(object))
  t.same(readers, [], 'nobody reads the Secrets of all namespaces')
  const accounts = objects.filter(({ kind }) => /Deployment|DaemonSet|Job/.test(kind))
    .map(({ spec }) => spec.template.spec.serviceAccountName)
  t.equal(new Set(accounts).size, accounts.length, 'each has a service account of its own')
  const privileged = objects.filter((object) => JSON.stringify(object).includes('"privileged":true'))
  t.same(privileged.map(({ metadata }) => metadata.name), ['holdfast-node'])
})

t.test('the data path', { skip }, async (t) => {
  const node = rendered().find(({ kind }) => kind === 'DaemonSet')!
  const { initContainers, containers, hostNetwork, dnsPolicy, priorityClassName, volumes } = node.spec.template.spec
  const data = containers.find(({ name }: Json) => name === 'data')
  t.equal(data.resources.limits, undefined)
  t.match({ hostNetwork, dnsPolicy, priorityClassName }, {
    hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet', priorityClassName: 'system-node-critical',
  })
  t.equal(node.spec.updateStrategy.type, 'OnDelete')
  const [asked, told] = ['host', 'liveness'].map((one) => containers.find(({ name }: Json) => name === one))
  const { host, port } = asked.livenessProbe.httpGet
  t.ok(told.args.includes(`--http-endpoint=${host}:${port}`), 'who hangs is found by the sidecar that is asked')
  const named = new Set(volumes.map(({ name }: Json) => name))
  for (const { name, volumeMounts = [] } of [...initContainers, ...containers]) {
    for (const mount of volumeMounts) t.ok(named.has(mount.name), `${name} mounts ${mount.name}`)
  }
  const limited = helm('--set', 'node.resources.data.limits.memory=1Gi')
  t.not(limited.status, 0, 'a limit for it is refused')
})

t.test('the scheduler', { skip }, async (t) => {
  const none = rendered().filter(({ metadata }) => /scheduler|extender/.test(metadata.name))
  t.same(none, [], 'only when it is asked for')
  const find = (objects: Json[], kind: string, name: string) =>
    objects.find((object) => object.kind === kind && object.metadata.name === name)!
  for (const secret of ['', 'extender-tls']) {
    const objects = rendered('--set', 'scheduler.create=true', '--set', `extender.tlsSecret=${secret}`)
    const config = parse(find(objects, 'ConfigMap', 'holdfast-scheduler').data['scheduler.yaml'])
    t.match(config, { apiVersion: 'kubescheduler.config.k8s.io/v1', kind: 'KubeSchedulerConfiguration' })
    t.same(config.profiles, [{ schedulerName: 'holdfast-scheduler' }])
    const [extender, ...more] = config.extenders
    t.same(more, [])
    const { port, targetPort } = find(objects, 'Service', 'holdfast-extender').spec.ports[0]
    const scheme = secret === '' ? 'http' : 'https'
    t.match(extender, {
      urlPrefix: `${scheme}://holdfast-extender.storage.svc:${port}`, filterVerb: 'filter',
      prioritizeVerb: 'prioritize', nodeCacheCapable: true, ignorable: true, httpTimeout: '2s',
    })
    t.equal(extender.enableHTTPS, secret === '' ? undefined : true)
    const pod = find(objects, 'Deployment', 'holdfast-controller').spec.template.spec
    const [controller] = pod.containers
    t.match(controller.ports, [{ name: targetPort }])
    t.ok(controller.args.includes(`--extender=0.0.0.0:${controller.ports[0].containerPort}`))
    t.equal(controller.args.includes('--extender-tls=/etc/holdfast/extender'), secret !== '')
    const scheduler = find(objects, 'Deployment', 'holdfast-scheduler').spec.template.spec
    t.match(scheduler.containers[0].image, /\/kube-scheduler:v1\.37\.0$/, 'that of the cluster')
    for (const { volumes, containers } of [pod, scheduler]) {
      const named = new Set(volumes.map(({ name }: Json) => name))
      for (const { volumeMounts } of containers) {
        for (const { name } of volumeMounts) t.ok(named.has(name), name)
      }
    }
    const roles = objects.filter(({ kind, subjects }) => /RoleBinding/.test(kind)
      && subjects.some(({ name }: Json) => name === 'holdfast-scheduler')).map(({ roleRef }) => roleRef.name)
    t.same(roles.sort(), [
      'extension-apiserver-authentication-reader', 'holdfast-scheduler', 'system:kube-scheduler',
      'system:volume-scheduler',
    ])
  }
})

t.test('values that are not known are refused', { skip }, async (t) => {
  const wrongs = [
    'nodes.disks=1', 'store=http://etcd:2379', 'node.ports.peer=0', 'node.disks[0].size=100',
    'node.disks[0].path=/disk0', 'extender.port=0', 'scheduler.replicas=0', 'scheduler.weight=3',
  ]
  for (const wrong of wrongs) {
    t.not(helm('--set', wrong).status, 0, wrong)
  }
})

t.test('alerts are those of the page', async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/metrics.md'), 'utf8').split('## What to alert on')[1]!
  const chart = readFileSync(path.join(CHART, 'templates/alerts.yaml'), 'utf8')
  const rows = [...page.matchAll(/^\| ([^|`]+) \| `([^`]+)`/gm)]
    .map(([, name, expression]) => ({ name: name!.trim(), expression: expression! }))
  t.ok(rows.length > 15)
  for (const { name, expression } of rows) {
    t.match(chart, `summary: "${name}"`)
    if (expression.startsWith('up ')) continue
    t.ok(chart.includes(`expr: ${expression}`) || chart.includes(`expr: '${expression}'`), expression)
  }
  t.equal([...chart.matchAll(/- alert:/g)].length, rows.length)
})
