/**
 * The etcd v3 API in TypeScript: the messages of proto/etcd as they travel through @grpc/proto-loader, and the services
 * loaded from those files. 64-bit numbers are decimal text, because cluster ids exceed 2^53; `revisionOf` makes
 * numbers of revisions, which do not.
 */
import path from 'node:path'
import type { ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

/** Keys of Holdfast lie below it. */
export const ROOT_DEFAULT = '/holdfast/'

/** Decimal text of a 64-bit integer. */
export type Integer = string

export interface ResponseHeader {
  clusterId: Integer
  memberId: Integer
  revision: Integer
  raftTerm: Integer
}

export interface KeyValue {
  key: Uint8Array
  createRevision: Integer
  modRevision: Integer
  version: Integer
  value: Uint8Array
  lease: Integer
}

export interface Event {
  type: 'PUT' | 'DELETE'
  kv: KeyValue
}

export interface RangeRequest {
  key: Uint8Array
  rangeEnd: Uint8Array
  limit: Integer
  revision: Integer
  sortOrder: 'NONE' | 'ASCEND' | 'DESCEND'
  sortTarget: 'KEY' | 'VERSION' | 'CREATE' | 'MOD' | 'VALUE'
  serializable: boolean
  keysOnly: boolean
  countOnly: boolean
  minModRevision: Integer
  maxModRevision: Integer
  minCreateRevision: Integer
  maxCreateRevision: Integer
}

export interface RangeResponse {
  header: ResponseHeader
  kvs: KeyValue[]
  more: boolean
  count: Integer
}

export interface PutRequest {
  key: Uint8Array
  value: Uint8Array
  lease: Integer
  prevKv: boolean
  ignoreValue: boolean
  ignoreLease: boolean
}

export interface DeleteRangeRequest {
  key: Uint8Array
  rangeEnd: Uint8Array
  prevKv: boolean
}

export interface DeleteRangeResponse {
  header: ResponseHeader
  deleted: Integer
}

/** `request` and `response` name the member that is set. */
export interface RequestOp {
  request?: 'requestRange' | 'requestPut' | 'requestDeleteRange' | 'requestTxn'
  requestRange?: RangeRequest
  requestPut?: PutRequest
  requestDeleteRange?: DeleteRangeRequest
}

export interface ResponseOp {
  response?: string
  responseRange?: RangeResponse
  responsePut?: { header: ResponseHeader }
  responseDeleteRange?: DeleteRangeResponse
}

export interface Compare {
  result: 'EQUAL' | 'GREATER' | 'LESS' | 'NOT_EQUAL'
  target: 'VERSION' | 'CREATE' | 'MOD' | 'VALUE' | 'LEASE'
  key: Uint8Array
  targetUnion?: 'version' | 'createRevision' | 'modRevision' | 'value' | 'lease'
  version?: Integer
  createRevision?: Integer
  modRevision?: Integer
  rangeEnd: Uint8Array
}

export interface TxnRequest {
  compare: Compare[]
  success: RequestOp[]
  failure: RequestOp[]
}

export interface TxnResponse {
  header: ResponseHeader
  succeeded: boolean
  responses: ResponseOp[]
}

export interface CompactionRequest {
  revision: Integer
  physical: boolean
}

export interface WatchCreateRequest {
  key: Uint8Array
  rangeEnd: Uint8Array
  startRevision: Integer
  progressNotify: boolean
  filters: Array<'NOPUT' | 'NODELETE'>
  prevKv: boolean
  watchId: Integer
  fragment: boolean
}

export interface WatchRequest {
  requestUnion?: 'createRequest' | 'cancelRequest' | 'progressRequest'
  createRequest?: WatchCreateRequest
  cancelRequest?: { watchId: Integer }
  progressRequest?: object
}

export interface WatchResponse {
  header: ResponseHeader
  watchId: Integer
  created: boolean
  canceled: boolean
  compactRevision: Integer
  cancelReason: string
  fragment: boolean
  events: Event[]
}

/** A message as it may be sent: what is left out is 0, empty or false. */
export type Sent<T> = T extends Uint8Array ? T
  : T extends Array<infer E> ? Array<Sent<E>>
  : T extends object ? { [K in keyof T]?: Sent<T[K]> }
  : T

export type EtcdService = 'KV' | 'Watch' | 'Cluster' | 'Maintenance'

let loaded: Record<EtcdService, ServiceDefinition> | undefined

/** The services by name, read from the .proto files once. */
export function etcdServices(): Record<EtcdService, ServiceDefinition> {
  if (loaded !== undefined) return loaded
  const definition = loadSync('etcd/rpc.proto', {
    includeDirs: [path.resolve(import.meta.dirname, '../../proto')],
    longs: String,
    enums: String,
    defaults: true,
    arrays: true,
    objects: true,
    oneofs: true,
  })
  const service = (name: EtcdService) => definition[`etcdserverpb.${name}`] as ServiceDefinition
  const names = ['KV', 'Watch', 'Cluster', 'Maintenance'] as const
  loaded = Object.fromEntries(names.map((name) => [name, service(name)])) as Record<EtcdService, ServiceDefinition>
  return loaded
}

/**
 * A revision, limit or count as a number. No store gets as far as 2^53 revisions; what somebody sends beyond that is
 * taken for the largest number, which is in the future of every store.
 */
export function revisionOf(integer: Integer): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number(integer), Number.MAX_SAFE_INTEGER))
}

/** The end of the range of all keys that begin with `prefix`; one zero byte, no end, when there is none above. */
export function endOfPrefix(prefix: Uint8Array): Uint8Array {
  for (let length = prefix.length; length > 0; length--) {
    if (prefix[length - 1] === 0xff) continue
    const end = Uint8Array.from(prefix.subarray(0, length))
    end[length - 1]!++
    return end
  }
  return Uint8Array.of(0)
}
