/**
 * What nodes say of their disks while their cluster store is lost (REBUILD.md): `rebuild-nodes/<name>` of each, and
 * `rebuild-copies/<name>/<volume>` of each copy, in the store that is to take the place of the lost one. `rebuild-ask`
 * is the question they answer, drawn anew by each run of the command.
 */
import { createHash } from 'node:crypto'
import type {
  CopyDescription, DiskDescription, NodeDescription, NotedVolume,
} from '../../engine/control/node-description.ts'
import { isCount, isFlag, isRecord, isText } from '../../engine/value-shape.ts'
import { encodeJson, isNode, isVolumeId, parseRecord } from './json-value.ts'
import type { Json } from './json-value.ts'
import { decodeConfig } from './volume-configs.ts'
import { decodeSpec, decodeVolume } from './volume-records.ts'

export const ASK_KEY = 'rebuild-ask'
export const DESCRIBED_NODE_PREFIX = 'rebuild-nodes/'
export const DESCRIBED_COPY_PREFIX = 'rebuild-copies/'

export const describedNodeKey = (name: string): string => `${DESCRIBED_NODE_PREFIX}${name}`

/** By number: a disk may have the remains of one copy and another one of the same volume. */
export const describedCopyKey = (name: string, index: number): string => `${DESCRIBED_COPY_PREFIX}${name}/${index}`

export const encodeAsk = (ask: string): Uint8Array => encodeJson({ ask })

export function decodeAsk(value: Uint8Array): string | undefined {
  const ask = parseRecord(value)?.ask
  return isText(ask) ? ask : undefined
}

/** A node without its copies, which are in keys of their own. */
export interface DescribedNode extends Omit<NodeDescription, 'copies'> {
  copyCount: number
  /** The question it answers; empty: it has not seen any. */
  ask: string
}

export const encodeDescribedNode = (node: DescribedNode): Uint8Array => encodeJson(node)

export function decodeDescribedNode(name: string, value: Uint8Array): DescribedNode | undefined {
  const found = parseRecord(value)
  if (found === undefined || found.name !== name || !isNode(name)) return undefined
  const { nodeId, clusterId, zone, startNumber, era, met, digest, disks, copyCount, ask } = found
  if (!isText(nodeId) || !isText(clusterId) || !isText(zone) || !isText(digest) || !isText(ask)) return undefined
  if (!isCount(startNumber) || !isCount(era) || !isCount(copyCount) || !isTexts(met)) return undefined
  if (!Array.isArray(disks) || !disks.every(isDisk)) return undefined
  return { name, nodeId, clusterId, zone, startNumber, era, met, digest, disks, copyCount, ask }
}

export const encodeDescribedCopy = (copy: CopyDescription): Uint8Array => encodeJson(copy)

export function decodeDescribedCopy(value: Uint8Array): CopyDescription | undefined {
  const found = parseRecord(value)
  if (found === undefined || !isVolumeId(found.volumeId) || !isText(found.copyId)) return undefined
  const { volumeId, copyId, isErased, failure, isConsistent, isWhole, promise } = found
  if (!isFlag(isErased) || !isText(failure) || !isFlag(isConsistent) || !isFlag(isWhole)) return undefined
  const { lostSlices, lastEpoch, tail, generation, incarnation } = found
  if (![lostSlices, lastEpoch, tail, generation, incarnation].every(isCount)) return undefined
  const spec = decodeSpec(found.spec)
  if (spec === undefined || spec.id !== volumeId) return undefined
  if (!isRecord(promise) || !isCount(promise.epoch) || !isText(promise.primary)) return undefined
  const numbers = { lostSlices, lastEpoch, tail, generation, incarnation } as Record<
    'lostSlices' | 'lastEpoch' | 'tail' | 'generation' | 'incarnation', number>
  const noted = decodeNoted(volumeId, found.noted)
  const { epoch, primary } = promise
  const state = { isErased, failure, isConsistent, isWhole, promise: { epoch, primary } }
  return { volumeId, copyId, ...state, ...numbers, spec, noted }
}

/**
 * Of everything that is said of the copies, in whatever order; not whether they are whole, which a boot of the machine
 * changes and nothing is judged by. What cannot be read, off a disk that somebody made, counts as it is: whoever
 * rebuilds the store refuses that one (`store-record`).
 */
export function digestOf(copies: readonly CopyDescription[]): string {
  const lines = copies.map((copy) => {
    const { isWhole: _, ...rest } = decodeDescribedCopy(encodeDescribedCopy(copy)) ?? copy
    return JSON.stringify(rest)
  })
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex')
}

/** What a copy keeps of the cluster store; what does not decode counts as nothing. */
export function decodeNoted(volumeId: string, noted: unknown): NotedVolume | undefined {
  if (!isRecord(noted)) return undefined
  const as = <T>(value: unknown, decode: (id: string, bytes: Uint8Array) => T | undefined) =>
    isRecord(value) ? decode(volumeId, encodeJson(value)) : undefined
  return { config: as(noted.config, decodeConfig), record: as(noted.record, decodeVolume) }
}

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText)

const isDisk = (value: unknown): value is DiskDescription & Json =>
  isRecord(value) && isText(value.path) && isText(value.failure)
