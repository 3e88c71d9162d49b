/**
 * Parameters of a StorageClass, a VolumeAttributesClass and a snapshot class: which names are taken, and what each of
 * them is here. One table; docs/kubernetes.md is compared with it. A known name becomes a parameter of `volume create`,
 * whose values the control API checks; a name of a system that people come from becomes one of ours, or is ignored with
 * the reason; anything else is refused with the nearest name there is.
 */
import { nearest, shown } from '../../cluster/api/names.ts'
import { CsiRefusal, invalid } from '../refusal.ts'

export const FILE_SYSTEMS = ['ext4', 'xfs'] as const
export type FileSystem = (typeof FILE_SYSTEMS)[number]

const OWN = 'holdfast.io/'
const KUBERNETES = 'csi.storage.k8s.io/'
const FORMER = 'storageos.com/'

/** Flags of `volume create` that a class may name. */
const FLAGS = [
  'replicas', 'durability', 'block-size', 'on-full', 'io-timeout', 'pool', 'disk-tags', 'encryption', 'cipher',
  'compression', 'min-in-sync', 'failure-mode', 'allow-degraded', 'data-locality', 'read-check',
  'snapshot-schedule', 'qos-iops', 'qos-bandwidth', 'qos-burst',
] as const

/** Those that a VolumeAttributesClass changes while the volume is used. */
export const MUTABLE = [
  'replicas', 'durability', 'min-in-sync', 'failure-mode', 'io-timeout', 'on-full', 'compression', 'data-locality',
  'qos-iops', 'qos-bandwidth', 'qos-burst',
] as const

export type ParameterRow =
  | { kind: 'flag'; flag: string; values?: Readonly<Record<string, string>> }
  | { kind: 'label'; label: string }
  | { kind: 'file-system' }
  /** So many of the replicas may be missing. */
  | { kind: 'tolerance' }
  /** Of another part of Kubernetes' business: nothing is lost. */
  | { kind: 'passed-over' }
  | { kind: 'ignored'; why: string }

const flag = (name: string): ParameterRow => ({ kind: 'flag', flag: name })
const ignored = (why: string): ParameterRow => ({ kind: 'ignored', why })
const NOT_COMPRESSED = { true: 'none', false: 'lz4' } as const
const FOLLOWS = { true: 'best-effort', false: 'disabled' } as const

export const PARAMETERS: Readonly<Record<string, ParameterRow>> = {
  ...Object.fromEntries(FLAGS.map((name) => [`${OWN}${name}`, flag(name)])),
  [`${KUBERNETES}fstype`]: { kind: 'file-system' },
  [`${KUBERNETES}pvc/name`]: { kind: 'label', label: 'csi-pvc' },
  [`${KUBERNETES}pvc/namespace`]: { kind: 'label', label: 'csi-pvc-namespace' },
  [`${KUBERNETES}pv/name`]: { kind: 'label', label: 'csi-pv' },
  fsType: { kind: 'file-system' },
  fstype: { kind: 'file-system' },
  pool: flag('pool'),
  [`${FORMER}replicas`]: flag('replicas'),
  [`${FORMER}encryption`]: flag('encryption'),
  [`${FORMER}failure-mode`]: flag('failure-mode'),
  [`${FORMER}failure.mode`]: flag('failure-mode'),
  [`${FORMER}failure.tolerance`]: { kind: 'tolerance' },
  [`${FORMER}nocompress`]: { kind: 'flag', flag: 'compression', values: NOT_COMPRESSED },
  [`${FORMER}automatic-data-locality`]: { kind: 'flag', flag: 'data-locality', values: FOLLOWS },
  [`${FORMER}topology-aware`]: ignored('copies always go to different zones first'),
  [`${FORMER}topology-key`]: ignored('a node says its zone when it starts (`holdfast node --zone`)'),
  [`${FORMER}nfs-squash`]: ignored('no file system is served over NFS'),
  [`${FORMER}encryption-secret-name`]: ignored('the key comes from the secret that the class names for CSI'),
  [`${FORMER}encryption-secret-namespace`]: ignored('the key comes from the secret that the class names for CSI'),
  [`${FORMER}storageclass`]: ignored('the class of a volume is in its PersistentVolume'),
  [`${FORMER}fenced`]: ignored('it is a label of pods'),
  [`${FORMER}scheduler`]: ignored('it is an annotation of pods'),
  [`${FORMER}computeonly`]: ignored('it is a label of nodes; a node without disks holds no copies'),
  [`${FORMER}throttle`]: ignored('limits are said with holdfast.io/qos-iops and holdfast.io/qos-bandwidth'),
  [`${FORMER}nocache`]: ignored('no cache answers for what is not on disks'),
  [`${FORMER}nowritecache`]: ignored('writes are answered when every copy in sync has them on disk'),
  [`${FORMER}hint.master`]: ignored('the primary is where the pod is'),
  [`${FORMER}hint.replicas`]: ignored('copies are placed by zone, pool and free space'),
}

/** With a secret's name or namespace in them; the sidecars take them out where they use them. */
const SECRET_NAMES = /^csi\.storage\.k8s\.io\/[a-z-]+-secret-(name|namespace)$/
/** What the snapshotter adds about its own objects. */
const SNAPSHOT_NAMES = /^csi\.storage\.k8s\.io\/volume(group)?snapshot(content)?\/(name|namespace)$/

export function rowOf(name: string): ParameterRow | undefined {
  if (Object.hasOwn(PARAMETERS, name)) return PARAMETERS[name]
  return SECRET_NAMES.test(name) ? { kind: 'passed-over' } : undefined
}

/**
 * Of a label or annotation of a PVC: StorageOS took parameters there too, before those of the class. Here a class is
 * the administrator's word, which whoever may make a claim does not change.
 * @returns why it has no effect; undefined: it is none of those
 */
export function whyIgnoredOfClaim(name: string): string | undefined {
  const row = name.startsWith(FORMER) ? rowOf(name) : undefined
  if (row === undefined) return undefined
  return row.kind === 'ignored' ? row.why : 'it is read of a class only; name one that says it'
}

export interface Parameters {
  /** Of `volume create`. */
  flags: Record<string, string>
  labels: Record<string, string>
  fileSystem: FileSystem | undefined
  /** Sentences about what was taken without effect. */
  ignored: string[]
}

/**
 * @param mutable  of a VolumeAttributesClass; it wins over the StorageClass
 * @throws CsiRefusal INVALID_ARGUMENT
 */
export function parametersOf(
  given: Readonly<Record<string, string>>, mutable: Readonly<Record<string, string>>,
): Parameters {
  const found = nothing()
  const from = new Map<string, string>()
  for (const [name, value] of Object.entries(given)) take(found, from, name, value)
  settleThreshold(found.flags, from, REPLICAS_USUAL)
  const { flags } = found
  const changed = mutableFlagsOf(mutable, Number(flags['replicas'] ?? REPLICAS_USUAL))
  // Two ways to say one thing, of which the API takes one.
  if (changed['failure-mode'] !== undefined) delete flags['min-in-sync']
  if (changed['min-in-sync'] !== undefined) delete flags['failure-mode']
  Object.assign(flags, changed)
  return found
}

const REPLICAS_USUAL = 2
const nothing = (): Parameters => ({ flags: {}, labels: {}, fileSystem: undefined, ignored: [] })

function take(found: Parameters, from: Map<string, string>, name: string, value: string): void {
  const row = rowOf(name)
  switch (row?.kind) {
    case undefined: throw unknown(name, Object.keys(PARAMETERS))
    case 'passed-over': return
    case 'ignored': return void found.ignored.push(`${name} has no effect: ${row.why}`)
    case 'label': return void (found.labels[row.label] = value)
    case 'tolerance': return void from.set('tolerance', value)
    case 'file-system':
      checkOnce(from, 'the file system', name, value)
      found.fileSystem = fileSystemOf(value)
      return
    case 'flag': {
      const meant = row.values === undefined ? value : row.values[value]
      if (meant === undefined) {
        throw invalid(`parameter ${name} = ${shown(value)} is not allowed: ${Object.keys(row.values!).join(' or ')}`)
      }
      checkOnce(from, row.flag, name, meant)
      found.flags[row.flag] = meant
    }
  }
}

/** `threshold` of former classes is told with how many may be missing; here it is a number of those that may not. */
function settleThreshold(flags: Record<string, string>, from: ReadonlyMap<string, string>, usual: number): void {
  if (flags['failure-mode'] !== 'threshold') return
  const [replicas, tolerance] = [Number(flags['replicas'] ?? usual), Number(from.get('tolerance') ?? '1')]
  if (!Number.isInteger(tolerance) || tolerance < 0 || tolerance > 4) {
    throw invalid(`parameter ${FORMER}failure.tolerance = ${shown(from.get('tolerance')!)} is not allowed: 0 to 4`)
  }
  flags['failure-mode'] = String(Math.max(0, replicas - tolerance))
}

/** Two names of one thing say the same. */
function checkOnce(from: Map<string, string>, what: string, name: string, value: string): void {
  const other = from.get(what)
  if (other !== undefined && other !== value) {
    throw invalid(`${what} is given twice, as ${shown(other)} and by ${name} as ${shown(value)}: give it once`)
  }
  from.set(what, value)
}

/** @throws CsiRefusal INVALID_ARGUMENT. Empty: whatever is usual. */
export function fileSystemOf(text: string): FileSystem | undefined {
  if (text === '') return undefined
  const known = FILE_SYSTEMS.find((one) => one === text)
  if (known !== undefined) return known
  throw invalid(`file system ${shown(text)} is not one of ${FILE_SYSTEMS.join(' and ')}: say so in the class `
    + '(`csi.storage.k8s.io/fstype`)')
}

/**
 * Of a VolumeAttributesClass.
 * @param replicas  of the volume, unless the class names others
 * @throws CsiRefusal INVALID_ARGUMENT
 */
export function mutableFlagsOf(given: Readonly<Record<string, string>>, replicas: number): Record<string, string> {
  const found = nothing()
  const from = new Map<string, string>()
  for (const [name, value] of Object.entries(given)) {
    const row = rowOf(name)
    if (row?.kind !== 'flag' && row?.kind !== 'tolerance') throw unknown(name, MUTABLE.map((one) => `${OWN}${one}`))
    if (row.kind === 'flag' && !MUTABLE.some((one) => one === row.flag)) {
      throw invalid(`parameter ${name} is fixed when a volume is made; these can be changed: ${names(MUTABLE)}`)
    }
    take(found, from, name, value)
  }
  settleThreshold(found.flags, from, replicas)
  return found.flags
}

const names = (flags: readonly string[]): string => flags.map((one) => `${OWN}${one}`).join(', ')

/** Of a snapshot class: there is nothing to choose. @throws CsiRefusal INVALID_ARGUMENT */
export function checkSnapshotParameters(given: Readonly<Record<string, string>>): void {
  for (const name of Object.keys(given)) {
    if (SECRET_NAMES.test(name) || SNAPSHOT_NAMES.test(name)) continue
    throw invalid(`parameter ${shown(name)} is not known: a snapshot class of this driver has none`)
  }
}

function unknown(name: string, known: readonly string[]): CsiRefusal {
  const bare = name.includes('/') ? name : `${OWN}${name}`
  const meant = nearest(name, known) ?? nearest(bare, known)
  const next = meant === undefined ? `known are ${names(FLAGS)}` : `did you mean ${meant}?`
  return invalid(`parameter ${shown(name)} is not known: ${next}`)
}
