/**
 * The interfaces of what the control API tells and the messages of proto/holdfast/v1 are the same: names, and what a
 * message with nothing set looks like. Also that field numbers are given once.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { METHODS, METHOD_NAMES, services } from '../../../cluster/api/definition.ts'
import { PROTO_FOLDER } from '../../../cluster/api/proto.ts'
import type { Disk, Node, Status } from '../../../cluster/api/node-messages.ts'
import type { Snapshot, SnapshotGroup } from '../../../cluster/api/snapshot-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'

const VOLUME: Record<keyof Volume, true> = {
  name: true, id: true, sizeBytes: true, replicas: true, durability: true,
  durabilityNext: true, encryption: true, epoch: true, health: true,
  healthReason: true, minInSync: true, blockSizeBytes: true, copies: true, frontends: true, nbd: true, usedBytes: true,
  logicalBytes: true, holds: true,
  pool: true, diskTags: true, onFull: true, ioTimeoutMs: true, seq: true, commitSeq: true, heldRequests: true,
  keptMs: true, attach: true, snapshots: true, qos: true, newestSnapshot: true, newestSnapshotAtMs: true,
  snapshotSchedule: true, hydration: true, compression: true, cipher: true, keyId: true, labels: true,
  allowedNodes: true, allowedZones: true, dataLocality: true, failureMode: true,
  readCheck: true, awaitsCopy: true,
}
const SNAPSHOT: Record<keyof Snapshot, true> = {
  volume: true, volumeId: true, name: true, id: true, seq: true, sizeBytes: true, createdAtMs: true, labels: true,
  group: true,
  exclusiveBytes: true, exclusiveAtMs: true,
}
const GROUP: Record<keyof SnapshotGroup, true> = {
  name: true, id: true, state: true, createdAtMs: true, labels: true, snapshotId: true, members: true,
}
const DISK: Record<keyof Disk, true> = {
  path: true, pool: true, capacityBytes: true, freeBytes: true, state: true, reason: true, uuid: true, tags: true,
  reserveBytes: true, checksumErrors: true, node: true,
}
const NODE: Record<keyof Node, true> = {
  name: true, state: true, zone: true, pid: true, disks: true, id: true, clusterId: true, instanceId: true,
  version: true, nodeVersion: true, uptimeMs: true, workers: true, rssBytes: true, ioFlusher: true, listening: true,
  folder: true, protocol: true, isElected: true,
}
const STATUS: Record<keyof Status, true> = {
  clusterId: true, health: true, nodes: true, volumes: true, volumesHealthy: true, capacityBytes: true, freeBytes: true,
  usedBytes: true, sessions: true, problems: true, limits: true, snapshots: true, newestSnapshotAtMs: true,
  copiesNeverScrubbed: true, oldestScrubAtMs: true, oldestScrubVolume: true, oldestScrubNode: true,
  copiesScrubbing: true, scrubPercent: true, hydrating: true, sharedSlices: true,
}

function fieldsOf(method: keyof typeof METHODS): string[] {
  const [service, rpc] = METHODS[method]
  const { responseSerialize, responseDeserialize } = services()[service]![rpc]!
  return Object.keys(responseDeserialize(responseSerialize({})) as object).sort()
}

t.test('messages have the fields of their interfaces', async (t) => {
  t.same(fieldsOf('getVolume'), Object.keys(VOLUME).sort())
  t.same(fieldsOf('getSnapshot'), Object.keys(SNAPSHOT).sort())
  t.same(fieldsOf('getGroup'), Object.keys(GROUP).sort())
  t.same(fieldsOf('addDisk'), Object.keys(DISK).sort())
  t.same(fieldsOf('getNode'), Object.keys(NODE).sort())
  t.same(fieldsOf('status'), Object.keys(STATUS).sort())
})

t.test('every RPC is a method and the reverse', async (t) => {
  const rpcs = Object.entries(services()).flatMap(([service, definition]) =>
    Object.keys(definition).map((rpc) => `${service}.${rpc}`))
  t.same(METHOD_NAMES.map((method) => METHODS[method].join('.')).sort(), rpcs.sort())
})

t.test('field numbers are given once a message', async (t) => {
  for (const file of readdirSync(path.join(PROTO_FOLDER, 'holdfast/v1'))) {
    const text = readFileSync(path.join(PROTO_FOLDER, 'holdfast/v1', file), 'utf8')
    for (const [, message = '', body = ''] of text.matchAll(/message (\w+) \{([^}]*)\}/g)) {
      const numbers = [...body.matchAll(/= (\d+);/g)].map(([, number]) => number)
      t.equal(new Set(numbers).size, numbers.length, message)
    }
  }
})
