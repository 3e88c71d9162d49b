/** What the API shows of a volume: the wish and the observation joined, under the field names scripts rely on. */
import { NO_LIMITS } from '../../engine/volume/qos-limits.ts'
import type { VolumeStatus } from '../../engine/volume/volume-spec.ts'
import type { Frontend, Volume } from './volume-messages.ts'

/** The least number of copies whose acknowledgement a write needs: 1 for one or two copies, 2 for more. */
export function minInSync(replicas: number): number {
  return replicas >= 2 ? 2 : 1
}

export function volumeView(status: VolumeStatus, seen: { node: string; nbd: string[]; frontends: Frontend[] }): Volume {
  const { spec } = status
  return {
    name: spec.name,
    id: spec.id,
    sizeBytes: spec.sizeBytes,
    replicas: spec.replicas,
    durability: spec.durability,
    durabilityNext: '',
    encryption: false,
    cipher: '',
    keyId: '',
    epoch: status.epoch,
    health: status.health,
    healthReason: status.healthReason,
    minInSync: minInSync(spec.replicas),
    blockSizeBytes: spec.blockSizeBytes,
    copies: [{
      node: seen.node,
      role: 'primary',
      state: status.health === 'faulted' ? 'failed' : 'in-sync',
      lagBytes: 0,
      scrubbedAtMs: 0,
      checkedAtMs: 0,
      isScrubbing: false,
      scrubPercent: 0,
      damagedBlocks: 0,
      unrepairedBlocks: 0,
      lostBlocks: 0,
      mapProblems: 0,
      comparedAtMs: 0,
      differences: 0,
      sharedSlices: 0,
      isHydrating: false,
      joining: '',
      isComplete: status.health !== 'faulted',
    }],
    frontends: seen.frontends,
    nbd: seen.nbd,
    usedBytes: status.usedBytes,
    logicalBytes: status.logicalBytes,
    // No device is made of it here, and of a clone its own blocks do not say.
    holds: status.logicalBytes > 0 ? 'data' : '',
    pool: spec.pool,
    diskTags: spec.diskTags,
    onFull: spec.onFull,
    ioTimeoutMs: spec.ioTimeoutMs,
    seq: status.seq,
    commitSeq: status.commitSeq,
    heldRequests: status.heldRequests,
    keptMs: 0,
    attach: { mode: 'open', generation: 0, holders: [] },
    snapshots: 0,
    newestSnapshot: '',
    newestSnapshotAtMs: 0,
    snapshotSchedule: '',
    qos: spec.qos ?? NO_LIMITS,
    compression: spec.compression ?? 'none',
    hydration: '',
    labels: {},
    allowedNodes: [],
    allowedZones: [],
    dataLocality: 'disabled',
    failureMode: '',
    readCheck: 'lease',
    awaitsCopy: false,
  }
}

/** Where NBD clients find a volume: over the unix socket at `socketPath`, and over TCP where a port is open. */
export function nbdUris(
  volume: string,
  at: { socketPath: string; tcp: { host: string; port: number } | undefined; isTls?: boolean },
): string[] {
  const socket = at.socketPath.split('/').map(encodeURIComponent).join('/')
  const uris = [`nbd+unix:///${volume}?socket=${socket}`]
  if (at.tcp !== undefined) {
    const host = at.tcp.host.includes(':') ? `[${at.tcp.host}]` : at.tcp.host
    uris.push(`${at.isTls === true ? 'nbds' : 'nbd'}://${host}:${at.tcp.port}/${volume}`)
  }
  return uris
}
