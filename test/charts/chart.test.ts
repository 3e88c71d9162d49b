/**
 * The chart as helm renders it: every object is one that the API takes, nobody has rights to all of anything, the data
 * path has no memory limit, and values that are not known are refused.
 */
// test-timeout-seconds: 300
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { OUT_OF_SERVICE, UNREACHABLE } from '../../csi/kube/failover/failover-facts.ts'
import { parseTcpAddress } from '../../dataplane/node-config.ts'
import { missing } from '../kube/kube-binaries.ts'
import { helmTemplate, helmTemplateOf, renderedChart } from '../kube/rendered-chart.ts'
import type { Json } from '../kube/rendered-chart.ts'
import { temporaryFolder } from '../temporary-folder.ts'
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
  'changed blocks, no dashboard': [
    '--set', 'snapshotMetadata.tlsSecret=metadata-tls', '--set', 'snapshotMetadata.caCert=Y2VydA==',
    '--set', 'dashboard.create=false', '--set', 'healthMonitor.create=true',
  ],
}

/** Of the module of external-snapshot-metadata v1.1.0, which is not among those that are fetched here: its fields. */
const METADATA_SERVICE = `
spec:
  group: cbt.storage.k8s.io
  names: {kind: SnapshotMetadataService}
  versions:
    - name: v1beta1
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [address, audience, caCert]
              properties: {address: {type: string}, audience: {type: string}, caCert: {type: string}}
`

t.test('every object is what the API takes', { skip }, async (t) => {
  const kinds = new Kinds()
  kinds.addKubernetes([
    'api__v1_openapi.json', ...['apps', 'batch', 'rbac.authorization.k8s.io', 'storage.k8s.io', 'apiextensions.k8s.io',
      'flowcontrol.apiserver.k8s.io', 'networking.k8s.io'].map((group) => `apis__${group}__v1_openapi.json`),
  ])
  const snapshots = path.join(moduleFolder('github.com/kubernetes-csi/external-snapshotter/client/v8'), 'config/crd')
  for (const file of readdirSync(snapshots).filter((name) => /^(group)?snapshot\.storage\.k8s\.io_/.test(name))) {
    kinds.addResources(readFileSync(path.join(snapshots, file), 'utf8'))
  }
  kinds.addResources(METADATA_SERVICE)
  for (const [name, words] of Object.entries(SETS)) {
    const objects = rendered(...words)
    t.ok(objects.length > 30, `${name}: ${objects.length} objects`)
    for (const object of objects) {
      // Its resources are Prometheus', whose module has no schema that can be had here.
      if (object.apiVersion === 'monitoring.coreos.com/v1') continue
      t.same(kinds.problems(object), [], `${name}: ${object.kind} ${object.metadata.name}`)
    }
  }
  const examples = path.join(ROOT, 'docs/examples')
  for (const file of readdirSync(examples).filter((name) => name.endsWith('.yaml'))) {
    for (const one of parseAllDocuments(readFileSync(path.join(examples, file), 'utf8'))) {
      const object = one.toJS() as Json
      t.same(kinds.problems(object), [], `${file}: ${object.kind}`)
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

t.test('what is there only where it is of use', { skip }, async (t) => {
  const containers = (objects: Json[]): string[] => objects
    .find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'holdfast-controller')!
    .spec.template.spec.containers.map(({ name }: Json) => name)
  const named = (objects: Json[], kind: string): string[] =>
    objects.filter((one) => one.kind === kind).map(({ metadata }) => metadata.name)
  const usual = rendered()
  t.same(containers(usual), [
    'controller', 'liveness', 'provisioner', 'attacher', 'resizer', 'snapshotter',
  ])
  t.same(named(usual, 'ConfigMap'), ['holdfast-dashboard'])
  const blocks = rendered(...SETS['changed blocks, no dashboard']!)
  t.same(containers(blocks).slice(-3), ['snapshotter', 'health-monitor', 'snapshot-metadata'])
  t.same(named(blocks, 'ConfigMap'), [])
  t.same(named(blocks, 'SnapshotMetadataService'), ['csi.holdfast.io'], 'backup software finds it by the driver')
  t.not(helm('--set', 'snapshotMetadata.tlsSecret=x').status, 0, 'it cannot be believed without a CA')
  const reviews = (objects: Json[]): boolean => JSON.stringify(objects).includes('tokenreviews')
  t.same([usual, blocks].map(reviews), [false, true], 'rights come with what uses them')
})

t.test('what is shown after an installation', { skip }, async (t) => {
  const chart = path.join(temporaryFolder(t), 'holdfast')
  cpSync(CHART, chart, { recursive: true })
  const shown = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\n'
    + 'data: {text: {{ include "holdfast/templates/NOTES.txt" . | toJson }}}\n'
  writeFileSync(path.join(chart, 'templates/notes-configmap.yaml'), shown)
  const notes = (...words: string[]): string => {
    const { stdout, stderr } = helmTemplateOf(chart, 'storage', ...words)
    const objects = parseAllDocuments(stdout).map((one) => one.toJS() as Json)
    return objects.find((one) => one?.metadata.name === 'notes')?.data.text ?? stderr
  }
  const claims = (text: string): Json[] => {
    const typed = /<<'END'\n([\s\S]*?)\n {2}END/.exec(text)?.[1]?.replace(/^ {2}/gm, '') ?? ''
    return parseAllDocuments(typed).map((one) => one.toJS() as Json)
  }
  const [claim, pod] = claims(notes())
  t.match(claim, { kind: 'PersistentVolumeClaim', spec: { storageClassName: 'holdfast' } })
  t.equal(pod!.spec.volumes[0].persistentVolumeClaim.claimName, claim!.metadata.name)
  const encrypted = notes('--set', 'storageClasses.default.create=false')
  t.equal(claims(encrypted)[0]!.spec.storageClassName, 'holdfast-encrypted', 'a class that is made')
  const none = notes('--set', 'storageClasses.default.create=false', '--set', 'storageClasses.encrypted.create=false')
  t.match(none, /rollout status/)
  t.notMatch(none, /PersistentVolumeClaim/, 'no claim of a class that is not there')
})

t.test('it is not uninstalled by mistake', { skip }, async (t) => {
  const hooks = rendered().filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'] === 'pre-delete')
  t.same(hooks.map(({ kind }) => kind).sort(), ['ClusterRole', 'ClusterRoleBinding', 'Job', 'ServiceAccount'])
  const job = hooks.find(({ kind }) => kind === 'Job')!
  t.same(job.spec.template.spec.containers[0].args, ['csi', 'may-uninstall'])
  t.notMatch(job.metadata.annotations['helm.sh/hook-delete-policy'], /failed/, 'who refused is there to be read')
  const kept = rendered().filter(({ kind }) => kind === 'CustomResourceDefinition')
  t.same(kept.map(({ metadata }) => metadata.annotations['helm.sh/resource-policy']), ['keep'])
})

t.test('addresses of nodes, also of IPv6', { skip }, async (t) => {
  const node = rendered().find(({ kind }) => kind === 'DaemonSet')!
  const { args } = node.spec.template.spec.containers.find(({ name }: Json) => name === 'data')
  const listens: string[] = args.filter((one: string) => one.startsWith('--listen-'))
  t.equal(listens.length, 3)
  for (const ip of ['10.0.0.7', 'fd00::7']) {
    for (const listen of listens) {
      const [, text] = listen.replace('$(NODE_IP)', ip).split('=')
      t.match(parseTcpAddress(text!), { host: ip, port: /^740[0-2]$/ }, listen)
    }
  }
})

t.test('what pods serve is served with IPv6 too', async (t) => {
  const templates = path.join(CHART, 'templates')
  const args = readdirSync(templates).flatMap((file) => readFileSync(path.join(templates, file), 'utf8').split('\n'))
    .filter((line) => /^\s*- --/.test(line))
  t.ok(args.length > 50)
  t.same(args.filter((line) => /\b0\.0\.0\.0\b/.test(line)), [], 'no address of one family alone')
  const own = args.flatMap((line) => /=(\[\$\(POD_IP\)\]:.*)$/.exec(line)?.[1] ?? [])
  t.equal(own.length, 2, 'metrics and the extender')
  for (const ip of ['10.0.0.7', 'fd00::7']) {
    for (const one of own) {
      const text = one.replace('$(POD_IP)', ip).replace(/\{\{.*\}\}/, '10280')
      t.match(parseTcpAddress(text), { host: ip }, text)
    }
  }
})

t.test('who may ask pods that have a network of their own', { skip }, async (t) => {
  const objects = rendered(...SETS['changed blocks, no dashboard']!, '--set', 'scheduler.create=true')
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy')
  t.same(policies.map(({ spec }) => spec.policyTypes), [['Ingress'], ['Ingress']])
  const pods = objects.filter(({ kind }) => /^(Deployment|Job)$/.test(kind))
  for (const { metadata, spec: { template } } of pods) {
    if (metadata.name === 'holdfast-scheduler') continue
    const [policy, ...more] = policies.filter(({ spec }) => isSelected(spec.podSelector, template.metadata.labels))
    t.ok(policy !== undefined && more.length === 0, `one policy is of ${metadata.name}`)
    const ports: Json[] = template.spec.containers.flatMap((one: Json) => one.ports ?? [])
    const open: string[] = policy!.spec.ingress.flatMap((rule: Json) => rule.ports.map(({ port }: Json) => port))
    t.same(open.sort(), ports.map(({ name }) => name).sort(), `what ${metadata.name} serves is open, and no more`)
  }
  t.same(rendered('--set', 'networkPolicies.create=false').filter(({ kind }) => kind === 'NetworkPolicy'), [])
})

function isSelected({ matchLabels = {}, matchExpressions = [] }: Json, labels: Json): boolean {
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value)
    && matchExpressions.every(({ key, operator, values }: Json) => operator === 'In' && values.includes(labels[key]))
}

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

t.test('a node that failover has tainted takes its pod again, whatever the user lets it tolerate', { skip }, (t) => {
  const dedicated = { key: 'dedicated', operator: 'Exists' }
  const asked: Array<[value: unknown, first: object[]]> =
    [[[dedicated], [dedicated]], [[], []], [null, []], [[{ operator: 'Exists' }], [{ operator: 'Exists' }]]]
  for (const [value, first] of asked) {
    const node = rendered('--set-json', `node.tolerations=${JSON.stringify(value)}`)
      .find(({ kind }) => kind === 'DaemonSet')!
    const ours = [UNREACHABLE, OUT_OF_SERVICE].map((key) => ({ key, operator: 'Exists' }))
    t.same(node.spec.template.spec.tolerations, [...first, ...ours], JSON.stringify(value))
  }
  t.end()
})

t.test('a disk hides nothing that the image needs', { skip }, (t) => {
  for (const folder of [
    '', '/opt', '/opt/holdfast/node_modules', '/usr', '/usr/local', '/usr/lib/x', '/bin', '/lib64', '/etc/holdfast',
    '/proc', '/var', '/mnt/../usr',
  ]) {
    const { status, stderr } = helm('--set', `node.disks[0].path=${folder}/disk0`)
    t.not(status, 0, folder)
    t.match(stderr, /node\.disks: \S+ lies in \/\S*, where the image has its own files: name a file in another/, folder)
  }
  for (const folder of ['/opt/disks', '/mnt', '/data', '/var/lib', '/usr/local/disks', '/library', '/etcetera']) {
    t.equal(helm('--set', `node.disks[0].path=${folder}/disk0`).status, 0, folder)
  }
  t.end()
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
    const served = controller.ports.find(({ name }: Json) => name === targetPort)
    t.ok(controller.args.includes(`--extender=[$(POD_IP)]:${served.containerPort}`))
    t.ok(controller.args.includes('--events'))
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

/** Of rules of a template, those that no value leaves out; as text, since helm is not everywhere. */
function rulesAlways(file: string): Json[] {
  const text = readFileSync(path.join(CHART, 'templates', file), 'utf8').split(/^rules:\n/m)[1]!
  let depth = 0
  const lines = text.split('\n').filter((line) => {
    if (/\{\{-? (if|with|range) /.test(line)) depth++
    const isKept = depth === 0
    if (/\{\{-? end /.test(line)) depth--
    return isKept
  })
  return parse(lines.join('\n')) as Json[]
}

t.test('guards can be taken away when they are turned off', async (t) => {
  const rules = rulesAlways('controller-role.yaml')
  const verbs = (resource: string): string[] =>
    rules.filter(({ resources }) => resources.includes(resource)).flatMap((rule) => rule.verbs as string[]).sort()
  t.same(verbs('deployments'), ['delete', 'list'])
  t.same(verbs('poddisruptionbudgets'), ['delete', 'list'])
  t.same([verbs('daemonsets'), verbs('controllerrevisions'), verbs('pods')], [['get'], ['list'], []], 'and no more')
  const deployment = readFileSync(path.join(CHART, 'templates/controller-deployment.yaml'), 'utf8')
  t.match(deployment, /drainGuard\.enabled \}\}\s+- --drain-guard\s+\{\{- else \}\}\s+- --no-drain-guard\s+\{\{- end/)
})

t.test('guards and replacement are turned off', { skip }, async (t) => {
  const objects = rendered('--set', 'drainGuard.enabled=false', '--set', 'replacement.enabled=false')
  const find = (kind: string): Json =>
    objects.find((object) => object.kind === kind && object.metadata.name === 'holdfast-controller')!
  const args: string[] = find('Deployment').spec.template.spec.containers[0].args
  t.same(args.filter((one) => /guard|replacement/.test(one)), ['--no-drain-guard'])
  const rules: Json[] = find('Role').rules
  t.ok(rules.some(({ resources, verbs }) => resources.includes('poddisruptionbudgets') && verbs.includes('delete')))
  t.notOk(rules.some(({ resources, verbs }) => resources.includes('deployments') && verbs.includes('create')))
})

t.test('values that are not known are refused', { skip }, async (t) => {
  const wrongs = [
    'nodes.disks=1', 'store=http://etcd:2379', 'node.ports.peer=0', 'node.disks[0].size=100',
    'node.disks[0].path=/disk0', 'extender.port=0', 'scheduler.replicas=0', 'scheduler.weight=3',
    'node.resources.host.request.cpu=1', 'controller.tolerations[0].effekt=NoSchedule',
    'dashboard.enabled=true', 'sidecars.healthMonitor=UPPER', 'snapshotMetadata.port=99999',
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

interface Schema {
  type?: string | string[]
  properties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  items?: Schema
  $ref?: string
  allOf?: Schema[]
  anyOf?: Schema[]
  enum?: unknown[]
}

t.test('the schema leaves nothing open', async (t) => {
  const schema = JSON.parse(readFileSync(path.join(CHART, 'values.schema.json'), 'utf8')) as Schema & Json
  const definitions = schema.$defs as Record<string, Schema>
  const open: string[] = []
  const look = (one: Schema, at: string): void => {
    const isNamed = [one.$ref, one.allOf, one.anyOf, one.enum].some((part) => part !== undefined)
    if (one.type === undefined && !isNamed) open.push(`${at}: anything`)
    const { $ref } = one
    if ($ref !== undefined && definitions[$ref.split('/').at(-1)!] === undefined) open.push(`${at}: ${$ref}`)
    if (one.type === 'object') {
      // Helm gives it to every chart.
      const isOpen = one.additionalProperties === undefined || one.additionalProperties === true
      if (isOpen && at !== 'global') open.push(`${at}: any property`)
      for (const [name, part] of Object.entries(one.properties ?? {})) look(part, at === '' ? name : `${at}.${name}`)
    }
    if (one.type === 'array') look(one.items ?? {}, `${at}[]`)
  }
  for (const [name, one] of Object.entries(definitions)) look(one, `$defs.${name}`)
  look(schema, '')
  t.same(open, [])
  const values = parse(readFileSync(path.join(CHART, 'values.yaml'), 'utf8')) as Json
  t.same(Object.keys(values).filter((name) => schema.properties![name] === undefined), [])
})

t.test('the dashboard shows what there is', async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/metrics.md'), 'utf8')
  const metrics = new Map([...page.matchAll(/^\| `(holdfast_\w+)` \| (\w+) \| ([^|]+) \|/gm)]
    .map(([, name, type, labels]) => [name!, { type: type!, labels: labels!.split(',').map((one) => one.trim()) }]))
  t.ok(metrics.size > 30)
  const text = readFileSync(path.join(CHART, 'dashboards/holdfast.json'), 'utf8')
  const { panels } = JSON.parse(text) as { panels: Array<{ title: string; targets?: Array<{ expr: string }> }> }
  const used = /(holdfast_\w+?)(_bucket|_sum|_count)?(?=\W)(\{[^}]*\})?/g
  const wrong = (expr: string): string[] => [...expr.matchAll(used)]
    .flatMap(([, name, suffix = '', selector = '']) => {
      const known = metrics.get(name!)
      if (known === undefined || (suffix !== '') !== (known.type === 'histogram')) return [`${name}${suffix}`]
      const labels = [...selector.matchAll(/(\w+)=/g)].map(([, label]) => label!)
      return labels.filter((label) => !known.labels.includes(label))
    })
  let count = 0
  for (const { title, targets = [] } of panels) {
    for (const { expr } of targets) {
      count++
      t.ok(expr.includes('holdfast_'), `${title}: ${expr}`)
      t.same(wrong(`${expr} `), [], `${title}: ${expr}`)
    }
  }
  t.ok(count > 20, `${count} queries`)
  for (const bad of ['holdfast_nothing', 'holdfast_disk_fsync_seconds', 'holdfast_copy_leads{disk="1"}']) {
    t.not(wrong(`${bad} `).length, 0, `${bad} would be found`)
  }
})
