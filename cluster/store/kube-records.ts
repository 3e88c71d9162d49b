/**
 * How an entry of the cluster store looks as a custom resource of Kubernetes (csi/kube/SPEC.md section 2): `Record`,
 * whose name is the key in hexadecimal, so that a list is in the order of keys, and whose first segment is a label, so
 * that a list or watch of a prefix is of those.
 *
 * Invariant: an object whose name and key do not belong together is no entry, whoever put it there.
 */
import { assert } from '../../engine/assert.ts'
import { isRecord } from '../../engine/value-shape.ts'
import type { Json } from './json-value.ts'
import { KEY_PATTERN } from './cluster-store.ts'
import type { Entry, Version } from './cluster-store.ts'

export const GROUP = 'holdfast.io'
export const API_VERSION = `${GROUP}/v1`
export const KIND = 'Record'
export const PLURAL = 'records'
const SEGMENT_LABEL = `${GROUP}/segment`
/** A name has at most 253 characters, and the first letter says what it is. */
export const KUBE_KEY_BYTES_MAX = 126
const LABEL_VALUE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** Where the API has them. */
export const recordsPath = (namespace: string): string =>
  `/apis/${API_VERSION}/namespaces/${encodeURIComponent(namespace)}/${PLURAL}`

/** @throws by an assert for a key that is too long: keys are made of names and ids, which are bounded */
export function objectName(key: string): string {
  assert(key.length <= KUBE_KEY_BYTES_MAX, 'a key fits the name of an object')
  return `k${Buffer.from(key).toString('hex')}`
}

/** Of an object as it is put. @param version  of the one in whose place it is put */
export function objectOf(key: string, value: Uint8Array, version: Version | undefined): Json {
  const segment = segmentOf(key)
  const { uid, resourceVersion } = version === undefined ? {} : partsOf(version)
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: {
      name: objectName(key),
      ...(segment === undefined ? {} : { labels: { [SEGMENT_LABEL]: segment } }),
      ...(uid === undefined ? {} : { uid, resourceVersion }),
    },
    spec: { key, value: Buffer.from(value).toString('base64') },
  }
}

/** Undefined: it is none of ours. */
export function entryOf(object: Json): Entry | undefined {
  const { metadata, spec } = object
  if (!isRecord(metadata) || !isRecord(spec)) return undefined
  const { name, uid, resourceVersion } = metadata
  const { key, value } = spec
  if (typeof key !== 'string' || key.length > KUBE_KEY_BYTES_MAX || !KEY_PATTERN.test(key)) return undefined
  if (name !== objectName(key)) return undefined
  if (typeof value !== 'string' || typeof uid !== 'string' || typeof resourceVersion !== 'string') return undefined
  return { key, value: Buffer.from(value, 'base64'), version: `${uid} ${resourceVersion}` as Version }
}

/** Which object a version is of, and as of when. */
export function partsOf(version: Version): { uid: string; resourceVersion: string } {
  const [uid = '', resourceVersion = ''] = version.split(' ')
  return { uid, resourceVersion }
}

/** Of the objects whose keys begin with that; undefined: they have no label in common. */
export function selectorOf(prefix: string): string | undefined {
  const segment = prefix.includes('/') ? segmentOf(prefix) : undefined
  return segment === undefined ? undefined : `${SEGMENT_LABEL}=${segment}`
}

function segmentOf(key: string): string | undefined {
  const segment = key.split('/', 1)[0]!
  return LABEL_VALUE.test(segment) ? segment : undefined
}

export const resourceVersionOf = (object: Json): string => {
  const { metadata } = object
  return isRecord(metadata) && typeof metadata.resourceVersion === 'string' ? metadata.resourceVersion : ''
}
