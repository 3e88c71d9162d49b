/**
 * What is changed of a volume that is there, by the names of its parameters (`holdfast volume set`, a
 * VolumeAttributesClass): all that are named, or none. What a volume is for good is refused with the reason.
 */
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { nearest, shown } from './names.ts'
import { checkQos } from './qos-request.ts'
import {
  PARAMETER_PREFIX, checkDataLocality, checkDurability, checkFailureMode, checkIoTimeout, checkMinInSync, checkOnFull,
  checkReplicas, withCompression,
} from './volume-request.ts'

/** Each goes into effect while the volume is in use. */
export const CHANGEABLE = [
  'qos-iops', 'qos-bandwidth', 'qos-burst', 'replicas', 'min-in-sync', 'failure-mode', 'io-timeout', 'on-full',
  'compression', 'data-locality', 'durability',
] as const
type Changeable = (typeof CHANGEABLE)[number]

/** Why others are not, as a sentence behind `instead`. */
const FOR_GOOD: Readonly<Record<string, string>> = {
  'block-size': 'clients were told it: make another volume',
  encryption: 'make another volume with it, and copy the data; `volume rewrap` and `volume rekey` change keys',
  cipher: 'make another volume with it, and copy the data',
  pool: 'its copies lie there: make another volume',
  'disk-tags': 'its copies lie on such disks: make another volume',
  'allow-degraded': 'it says how a volume is made',
  'attach-mode': 'use `holdfast volume attach`',
  'snapshot-schedule': 'use `holdfast snapshot schedule`',
  'clone-of': 'it says what a volume is made of',
  'read-check': 'its copies keep what they were made with',
}

/** Plain names, each once. @throws HoldfastError `parameter` or `not-supported` */
export function changesOf(parameters: Record<string, string>): Map<Changeable, string> {
  const changes = new Map<Changeable, string>()
  for (const [given, value] of Object.entries(parameters)) {
    const name = given.startsWith(PARAMETER_PREFIX) ? given.slice(PARAMETER_PREFIX.length) : given
    const known = CHANGEABLE.find((one) => one === name)
    if (known === undefined && Object.hasOwn(FOR_GOOD, name)) {
      const what = `a change of ${name} of a volume that is there`
      throw new HoldfastError('not-supported', { what, instead: FOR_GOOD[name]! })
    }
    if (known === undefined) {
      const meant = nearest(name, CHANGEABLE)
      const allowed = meant === undefined ? CHANGEABLE.join(', ') : `did you mean ${meant}?`
      throw new HoldfastError('parameter', { parameter: shown(given), value: shown(value), allowed })
    }
    const former = changes.get(known)
    if (former !== undefined && former !== value) {
      const allowed = 'one value, and two were given'
      throw new HoldfastError('parameter', { parameter: name, value: shown(value), allowed })
    }
    changes.set(known, value)
  }
  if (changes.size === 0) {
    throw new HoldfastError('parameter', { parameter: 'parameters', value: 'none', allowed: CHANGEABLE.join(', ') })
  }
  return changes
}

/** @param nodes  how many could hold a copy @throws HoldfastError `parameter`, `too-few-nodes` */
export function withChanges(
  record: VolumeRecord, changes: ReadonlyMap<Changeable, string>, nodes: number,
): VolumeRecord {
  let next = { ...record, spec: specWith(record.spec, changes, nodes) }
  const copies = next.spec.replicas + 1
  const mode = changes.get('failure-mode')
  const least = changes.get('min-in-sync')
  if (mode !== undefined && least !== undefined) {
    const allowed = 'one of the two: failure-mode says how many copies have to be in sync'
    throw new HoldfastError('parameter', { parameter: 'min-in-sync', value: shown(least), allowed })
  }
  if (mode !== undefined) next = { ...next, failureMode: checkFailureMode(mode), minInSync: 0 }
  if (least !== undefined) {
    const { failureMode: _former, ...rest } = next
    next = { ...rest, minInSync: checkMinInSync(least, copies) }
  }
  const locality = changes.get('data-locality')
  if (locality === undefined) return next
  const { dataLocality: _former, ...rest } = next
  const wished = checkDataLocality(locality)
  return wished === 'disabled' ? rest : { ...rest, dataLocality: wished }
}

function specWith(spec: VolumeSpec, changes: ReadonlyMap<Changeable, string>, nodes: number): VolumeSpec {
  const { qos: formerQos, ...rest } = spec
  const limits = {
    iops: changes.get('qos-iops'), bandwidth: changes.get('qos-bandwidth'), burst: changes.get('qos-burst'),
  }
  const qos = Object.values(limits).some((text) => text !== undefined) ? checkQos(limits, formerQos) : formerQos
  const next: VolumeSpec = { ...rest, ...(qos === undefined ? {} : { qos }) }
  const [replicas, ioTimeout, onFull] = [changes.get('replicas'), changes.get('io-timeout'), changes.get('on-full')]
  if (replicas !== undefined) next.replicas = checkReplicas(replicas, nodes)
  if (ioTimeout !== undefined) next.ioTimeoutMs = checkIoTimeout(ioTimeout)
  if (onFull !== undefined) next.onFull = checkOnFull(onFull)
  const durability = changes.get('durability')
  if (durability !== undefined) next.durability = checkDurability(durability)
  const compression = changes.get('compression')
  return compression === undefined ? next : withCompression(next, compression)
}
