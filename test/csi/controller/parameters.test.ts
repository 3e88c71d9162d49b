/** Parameters of classes: ours, Kubernetes', those of manifests that people bring, and what is none. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { volumeCommands } from '../../../cli/volume-commands.ts'
import { CLUSTER_PARAMETERS, KNOWN_PARAMETERS } from '../../../cluster/api/volume-request.ts'
import {
  checkSnapshotParameters, MUTABLE, mutableFlagsOf, PARAMETERS, parametersOf, rowOf,
} from '../../../csi/controller/parameters.ts'
import type { ParameterRow } from '../../../csi/controller/parameters.ts'

t.test('a class of StorageOS works with its provisioner changed', (t) => {
  const given = { fsType: 'ext4', pool: 'default', 'storageos.com/replicas': '2', 'storageos.com/encryption': 'true' }
  t.same(parametersOf(given, {}), {
    flags: { pool: 'default', replicas: '2', encryption: 'true' }, labels: {}, fileSystem: 'ext4', ignored: [],
  })
  t.end()
})

t.test('every name of StorageOS has a row: it is obeyed, or ignored with the reason', (t) => {
  for (const name of [
    'replicas', 'encryption', 'nocompress', 'topology-aware', 'topology-key', 'nfs-squash',
    'encryption-secret-name', 'encryption-secret-namespace', 'storageclass', 'computeonly', 'fenced', 'scheduler',
    'throttle', 'nocache', 'nowritecache', 'hint.master', 'hint.replicas', 'automatic-data-locality',
    'failure-mode', 'failure.mode', 'failure.tolerance',
  ]) t.ok(rowOf(`storageos.com/${name}`), name)
  const given = {
    'storageos.com/nocompress': 'false', 'storageos.com/throttle': 'high', 'storageos.com/fenced': 'true',
  }
  const { flags, ignored } = parametersOf(given, {})
  t.same(flags, { compression: 'lz4' })
  t.match(ignored, [/^storageos.com\/throttle has no effect: .*qos-iops/, /^storageos.com\/fenced has no effect/])
  t.same(parametersOf({ 'storageos.com/nocompress': 'true' }, {}).flags, { compression: 'none' })
  t.throws(() => parametersOf({ 'storageos.com/nocompress': 'yes' }, {}), { code: 3, message: /true or false/ })
  t.end()
})

t.test('failure behaviour by its former names', (t) => {
  const mode = (given: Record<string, string>): string | undefined => parametersOf(given, {}).flags['failure-mode']
  t.equal(mode({ 'storageos.com/failure-mode': 'soft' }), 'soft')
  t.equal(mode({ 'storageos.com/failure-mode': '2' }), '2')
  t.equal(mode({ 'storageos.com/failure.mode': 'alwayson' }), 'alwayson')
  const threshold = { 'storageos.com/failure.mode': 'threshold', 'storageos.com/replicas': '3' }
  t.equal(mode({ ...threshold, 'storageos.com/failure.tolerance': '1' }), '2')
  t.equal(mode({ ...threshold, 'storageos.com/failure.tolerance': '4' }), '0')
  t.throws(() => mode({ ...threshold, 'storageos.com/failure.tolerance': 'x' }), { code: 3, message: /0 to 4/ })
  t.end()
})

t.test('what Kubernetes adds is a label, or its own business', (t) => {
  const { labels, flags, ignored } = parametersOf({
    'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'db',
    'csi.storage.k8s.io/pv/name': 'pvc-1',
    'csi.storage.k8s.io/provisioner-secret-name': 's', 'csi.storage.k8s.io/node-stage-secret-namespace': 'n',
  }, {})
  t.same({ labels, flags, ignored }, {
    labels: { 'csi-pvc': 'data', 'csi-pvc-namespace': 'db', 'csi-pv': 'pvc-1' }, flags: {}, ignored: [],
  })
  checkSnapshotParameters({
    'csi.storage.k8s.io/volumesnapshot/name': 'x', 'csi.storage.k8s.io/volumesnapshotcontent/name': 'y',
    'csi.storage.k8s.io/snapshotter-secret-name': 'z',
  })
  t.throws(() => checkSnapshotParameters({ incremental: 'true' }), { code: 3, message: /"incremental" is not known/ })
  t.end()
})

t.test('an unknown name is refused with the nearest one, also without its prefix', (t) => {
  const refused = (given: Record<string, string>, message: RegExp): void => {
    t.throws(() => parametersOf(given, {}), { code: 3, message })
  }
  refused({ 'holdfast.io/replica': '2' }, /"holdfast.io\/replica" is not known: did you mean holdfast.io\/replicas\?/)
  refused({ durabilty: 'durable' }, /did you mean holdfast.io\/durability\?/)
  refused({ 'storageos.com/replcas': '2' }, /did you mean storageos.com\/replicas\?/)
  refused({ numberOfReplicas: '3' }, /is not known: known are holdfast.io\/replicas, /)
  refused({ constructor: '1' }, /is not known/)
  refused({ 'holdfast.io/clone-of': 'x' }, /is not known/)
  refused({ fsType: 'ntfs' }, /file system "ntfs" is not one of ext4 and xfs/)
  t.end()
})

t.test('two names of one thing say the same, or are refused', (t) => {
  const twice = {
    'holdfast.io/replicas': '2', 'storageos.com/replicas': '2', fsType: 'xfs', 'csi.storage.k8s.io/fstype': 'xfs',
  }
  t.same(parametersOf(twice, {}).flags, { replicas: '2' })
  const differing = { 'holdfast.io/replicas': '2', 'storageos.com/replicas': '1' }
  t.throws(() => parametersOf(differing, {}), { code: 3, message: /replicas is given twice, as "2" and by .* as "1"/ })
  t.throws(() => parametersOf({ ...twice, fsType: 'ext4' }, {}), { code: 3 })
  t.end()
})

t.test('what an attributes class changes wins over the storage class, and is few', (t) => {
  const class1 = { 'holdfast.io/replicas': '1', 'holdfast.io/pool': 'fast' }
  const mutable = { 'holdfast.io/replicas': '2', 'holdfast.io/qos-iops': '500' }
  t.same(parametersOf(class1, mutable).flags, { replicas: '2', pool: 'fast', 'qos-iops': '500' })
  const message = /holdfast.io\/pool is fixed .*holdfast.io\/replicas, /
  t.throws(() => mutableFlagsOf({ 'holdfast.io/pool': 'x' }, 2), { code: 3, message })
  const slip = { code: 3, message: /did you mean holdfast.io\/qos-iops\?/ }
  t.throws(() => mutableFlagsOf({ 'holdfast.io/qos-iop': '5' }, 2), slip)
  t.throws(() => mutableFlagsOf({ 'csi.storage.k8s.io/fstype': 'xfs' }, 2), { code: 3 })
  t.end()
})

t.test('an attributes class is read as a storage class is', (t) => {
  t.same(mutableFlagsOf({ 'storageos.com/nocompress': 'false' }, 2), { compression: 'lz4' })
  const twice = { 'holdfast.io/replicas': '2', 'storageos.com/replicas': '1' }
  t.throws(() => mutableFlagsOf(twice, 2), { code: 3, message: /replicas is given twice/ })
  const threshold = { 'storageos.com/failure.mode': 'threshold', 'storageos.com/failure.tolerance': '2' }
  t.same(mutableFlagsOf(threshold, 3), { 'failure-mode': '1' }, 'of the replicas that the volume has')
  t.same(mutableFlagsOf({ ...threshold, 'holdfast.io/replicas': '4' }, 3), { replicas: '4', 'failure-mode': '2' })
  const flags = (given: Record<string, string>, mutable: Record<string, string>) => parametersOf(given, mutable).flags
  const [mode, least] = [{ 'holdfast.io/failure-mode': 'hard' }, { 'holdfast.io/min-in-sync': '2' }]
  t.same(flags(least, mode), { 'failure-mode': 'hard' }, 'one of two ways to say it')
  t.same(flags(mode, least), { 'min-in-sync': '2' })
  t.end()
})

t.test('every flag is one of `volume create`, and every one of the API can be named', (t) => {
  const flags = Object.values(PARAMETERS).flatMap((row) => (row.kind === 'flag' ? [row.flag] : []))
  const create = volumeCommands({}).find(({ words }) => words === 'volume create')!
  // Who may have a volume attached, and what it is made of, CSI says itself.
  const ofCsi = ['attach-mode', 'clone-of']
  for (const name of [...KNOWN_PARAMETERS, ...CLUSTER_PARAMETERS]) {
    t.equal(flags.includes(name), !ofCsi.includes(name), name)
  }
  const byParam = ['min-in-sync', 'allow-degraded', 'data-locality', 'read-check']
  for (const name of flags) t.ok(Object.hasOwn(create.options, name) || byParam.includes(name), name)
  t.end()
})

t.test('docs/kubernetes.md has this table', (t) => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../../../docs/kubernetes.md'), 'utf8')
  const told = page.split('\n').filter((line) => /^\| `/.test(line))
  for (const [name, row] of Object.entries(PARAMETERS)) t.ok(told.includes(line(name, row)), line(name, row))
  t.end()
})

function line(name: string, row: ParameterRow): string {
  const live = row.kind === 'flag' && name.startsWith('holdfast.io/') && MUTABLE.some((one) => one === row.flag)
  return `| \`${name}\` | ${meaning(row)} | ${live ? 'yes' : ''} |`
}

function meaning(row: ParameterRow): string {
  switch (row.kind) {
    case 'flag': {
      const values = Object.entries(row.values ?? {}).map(([from, to]) => `${from}: ${to}`).join(', ')
      return `\`--${row.flag}\`${values === '' ? '' : ` (${values})`}`
    }
    case 'label': return `label \`${row.label}\``
    case 'tolerance': return 'with `threshold`: how many replicas may be missing'
    case 'file-system': return 'file system: ext4 or xfs'
    case 'passed-over': return 'nothing'
    case 'ignored': return `ignored: ${row.why}`
  }
}
