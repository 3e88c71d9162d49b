/**
 * The control API in TypeScript: the messages of proto/holdfast/v1 as they travel through @grpc/proto-loader (camel
 * case, int64 as number: sizes and seqs stay below 2^53), and the three services loaded from those files.
 * A test compares every interface here with its message, so that neither drifts.
 */
import path from 'node:path'
import type { ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { DiskState } from '../../engine/volume/volume-spec.ts'
import type { Durability, OnFull, VolumeHealth } from '../../engine/volume/volume-spec.ts'

export interface CreateVolumeRequest {
  name: string
  sizeBytes: number
  parameters: Record<string, string>
}

export interface Copy {
  node: string
  role: 'primary' | 'replica'
  state: 'in-sync' | 'catching-up' | 'rebuilding' | 'failed'
  lagBytes: number
}

export interface Frontend {
  node: string
  session: string
  generation: number
}

export interface Volume {
  name: string
  id: string
  sizeBytes: number
  replicas: number
  durability: Durability
  encryption: boolean
  epoch: number
  health: VolumeHealth
  healthReason: string
  minInSync: number
  blockSizeBytes: number
  copies: Copy[]
  frontends: Frontend[]
  nbd: string[]
  usedBytes: number
  pool: string
  diskTags: string[]
  onFull: OnFull
  ioTimeoutMs: number
  seq: number
  commitSeq: number
  heldRequests: number
}

export interface AddDiskRequest {
  path: string
  sizeBytes: number
  pool: string
  tags: string[]
}

export interface Disk {
  path: string
  pool: string
  capacityBytes: number
  freeBytes: number
  state: DiskState
  reason: string
  uuid: string
  tags: string[]
  reserveBytes: number
  checksumErrors: number
  node: string
}

export interface Node {
  name: string
  state: 'up' | 'down' | 'cordoned' | 'draining'
  zone: string
  pid: number
  disks: Disk[]
  id: string
  clusterId: string
  instanceId: string
  version: string
  nodeVersion: string
  uptimeMs: number
  workers: number
  rssBytes: number
  ioFlusher: 'set' | 'refused'
  listening: string[]
  folder: string
}

export interface StatusNode {
  name: string
  state: Node['state']
  safeToReboot: boolean
  because: string
}

export interface Problem {
  what: string
  why: string
  next: string
}

export interface Status {
  clusterId: string
  health: VolumeHealth
  nodes: StatusNode[]
  volumes: number
  volumesHealthy: number
  capacityBytes: number
  freeBytes: number
  usedBytes: number
  sessions: number
  problems: Problem[]
}

/** What a daemon answers. A refusal is a rejected promise with a HoldfastError; anything else rejected is a bug. */
export interface ControlApi {
  createVolume(request: CreateVolumeRequest): Promise<Volume>
  listVolumes(): Promise<{ volumes: Volume[] }>
  getVolume(request: { name: string }): Promise<Volume>
  resizeVolume(request: { name: string; sizeBytes: number }): Promise<Volume>
  deleteVolume(request: { name: string; force: boolean }): Promise<object>
  listDisks(): Promise<{ disks: Disk[] }>
  addDisk(request: AddDiskRequest): Promise<Disk>
  adoptDisk(request: { path: string }): Promise<Disk>
  listNodes(): Promise<{ nodes: Node[] }>
  getNode(request: { name: string }): Promise<Node>
  status(): Promise<Status>
}

/** Which RPC each method of ControlApi is. */
export const METHODS = {
  createVolume: ['VolumeService', 'Create'],
  listVolumes: ['VolumeService', 'List'],
  getVolume: ['VolumeService', 'Get'],
  resizeVolume: ['VolumeService', 'Resize'],
  deleteVolume: ['VolumeService', 'Delete'],
  listDisks: ['DiskService', 'List'],
  addDisk: ['DiskService', 'Add'],
  adoptDisk: ['DiskService', 'Adopt'],
  listNodes: ['NodeService', 'List'],
  getNode: ['NodeService', 'Get'],
  status: ['NodeService', 'Status'],
} as const satisfies Record<keyof ControlApi, readonly [service: string, rpc: string]>

export type Method = keyof typeof METHODS

export const METHOD_NAMES = Object.keys(METHODS) as Method[]

export const PROTO_FOLDER = path.resolve(import.meta.dirname, '../../proto')

let loaded: Record<string, ServiceDefinition> | undefined

/** The services by their short name, read from the .proto files once. */
export function services(): Record<string, ServiceDefinition> {
  if (loaded === undefined) {
    const definition = loadSync(['volume', 'disk', 'node'].map((name) => `holdfast/v1/${name}.proto`), {
      includeDirs: [PROTO_FOLDER],
      longs: Number,
      enums: String,
      defaults: true,
      arrays: true,
      objects: true,
    })
    loaded = {}
    for (const service of new Set(Object.values(METHODS).map(([name]) => name))) {
      loaded[service] = definition[`holdfast.v1.${service}`] as ServiceDefinition
    }
  }
  return loaded
}
