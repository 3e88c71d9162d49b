/**
 * What the main thread of the daemon and a data worker say to each other over the worker's message port. The main
 * thread never touches the store: it asks by call, gets exactly one answer per call, and hands over accepted sockets.
 * Messages of one port arrive in order, which is what makes `delete` see every session posted before it.
 */
import type { Detail, ErrorCode } from '../engine/errors.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from '../engine/volume/volume-spec.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import type { NbdSession } from './nbd/listener.ts'

export interface DiskOption {
  path: string
  /** Undefined: the size the file or device has. */
  sizeBytes: number | undefined
  pool: string
  tags: string[]
}

/** `workerData` of a worker. */
export interface WorkerStart {
  disks: PreparedDisk[]
  indexDir: string
  worker: number
  workers: number
  /** One word: how many workers have recovered their streams. */
  barrier: SharedArrayBuffer
}

export interface SessionReport {
  volume: string
  /** The listener's number of it, unique for the life of the daemon. */
  session: number
}

/** Everything the control thread may know of a worker, at one moment. */
export interface WorkerReport {
  volumes: VolumeStatus[]
  disks: DiskStatus[]
  sessions: SessionReport[]
}

/** Calls by name: what goes in, what a success answers. */
export interface WorkerCalls {
  create: { request: { spec: VolumeSpec }; answer: VolumeStatus }
  resize: { request: { name: string; sizeBytes: number }; answer: VolumeStatus }
  /** With `force`, sessions are ended first; without, they are a reason to refuse. */
  delete: { request: { name: string; force: boolean }; answer: undefined }
  report: { request: object; answer: WorkerReport }
  /** All workers at once: each waits for the others. `otherNames` are volumes that other workers serve. */
  'add-disk': { request: { disk: PreparedDisk; otherNames: string[] }; answer: undefined }
  /** Drain sessions for at most `drainMs`, then stop the store. */
  stop: { request: { drainMs: number }; answer: undefined }
}

export type CallName = keyof WorkerCalls
export type CallOf<K extends CallName> = { kind: K } & WorkerCalls[K]['request']
export type AnyCall = { [K in CallName]: CallOf<K> }[CallName]

export interface PackedError {
  code: ErrorCode
  detail: Detail
}

export type Answer<T> = { ok: true; value: T } | { ok: false; error: PackedError }

export type ToWorker =
  | { kind: 'call'; id: number; call: AnyCall }
  | { kind: 'session'; session: NbdSession }

export type FromWorker =
  | { kind: 'opened'; report: WorkerReport }
  | { kind: 'refused'; error: PackedError }
  | { kind: 'answer'; id: number; answer: Answer<unknown> }
  | { kind: 'session-ended'; session: number }
  | {
    kind: 'event'
    level: 'info' | 'warn' | 'error'
    message: string
    fields: Record<string, string | number | boolean>
  }

/** Error objects lose their class between threads; code and detail are all there is to them. */
export function packError({ code, detail }: HoldfastError): PackedError {
  return { code, detail }
}

export function unpackError({ code, detail }: PackedError): HoldfastError {
  return new HoldfastError(code, detail)
}
