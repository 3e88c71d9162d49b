/**
 * The one page an operator reads first: the worst health, what is wrong, why, what happens next, and whether each node
 * may be rebooted now. A pure function of what was observed.
 */
import { LONE_NODE } from './cluster-limits.ts'
import type { Disk, Node, Problem, Status, StatusNode } from './node-messages.ts'
import type { Volume } from './volume-messages.ts'

const HEALTH_ORDER: readonly Volume['health'][] = ['healthy', 'degraded', 'at-risk', 'suspended', 'faulted']
/** Below this share of free space a disk is named before writes have to be held. */
const POOL_LOW_FRACTION = 0.1

const NEXT: Record<Exclude<Volume['health'], 'healthy'>, string> = {
  degraded: 'a copy is missing and is being replaced',
  'at-risk': 'one copy is left; it is being copied, do not stop its node',
  suspended: 'its I/O is held and goes on by itself once the reason is gone',
  faulted: 'its lost parts answer EIO; the rest is served',
}

const ROOM_NEXT = 'delete or trim data, or add a disk with `holdfast disk add`'

function nextOf({ health, healthReason }: Volume): string {
  if (health === 'healthy') return ''
  return health === 'suspended' && healthReason.includes('pool-full') ? `${ROOM_NEXT}; ${NEXT.suspended}` : NEXT[health]
}

function volumeProblems(volumes: Volume[]): Problem[] {
  const problems: Problem[] = []
  for (const volume of volumes) {
    const { name, health, healthReason, heldRequests } = volume
    if (health === 'healthy') continue
    const held = heldRequests === 0 ? '' : `, ${heldRequests} request(s) held`
    problems.push({ what: `volume ${name}`, why: `${health}: ${healthReason}${held}`, next: nextOf(volume) })
  }
  return problems
}

function diskProblems(disks: Disk[]): Problem[] {
  const problems: Problem[] = []
  for (const disk of disks) {
    const what = `disk ${disk.path}`
    if (disk.state === 'failed') {
      const next = 'replace it; its slices answer EIO, other disks go on'
      problems.push({ what, why: `failed: ${disk.reason}`, next })
    }
    if (disk.checksumErrors > 0) {
      const why = `${disk.checksumErrors} stored block(s) failed their checksum`
      problems.push({ what, why, next: '`holdfast verify` with the node stopped shows the extent; plan to replace it' })
    }
    if (disk.state === 'online' && disk.freeBytes < disk.capacityBytes * POOL_LOW_FRACTION) {
      const percent = Math.floor((disk.freeBytes * 100) / Math.max(1, disk.capacityBytes))
      problems.push({ what, why: `${percent} % of pool ${disk.pool} is free on it`, next: ROOM_NEXT })
    }
  }
  return problems
}

/** Every volume of a single node has its only copy there. */
function safeToReboot(volumes: Volume[]): Pick<StatusNode, 'safeToReboot' | 'because'> {
  if (volumes.length === 0) return { safeToReboot: true, because: 'it holds no volume' }
  const used = volumes.filter(({ frontends }) => frontends.length > 0).map(({ name }) => name)
  if (used.length === 0) {
    return { safeToReboot: true, because: 'no volume on it is in use; they are away until it is back' }
  }
  const named = used.slice(0, 3).join(', ') + (used.length > 3 ? ` and ${used.length - 3} more` : '')
  return { safeToReboot: false, because: `it has the only copy of ${named}, in use now` }
}

export function statusPage(node: Node, volumes: Volume[], sessions: number): Status {
  const { disks } = node
  const sum = (pick: (disk: Disk) => number) => disks.reduce((total, disk) => total + pick(disk), 0)
  const problems = [...volumeProblems(volumes), ...diskProblems(disks)]
  if (disks.length === 0) {
    problems.push({ what: `node ${node.name}`, why: 'it has no disk', next: 'add one with `holdfast disk add PATH`' })
  }
  const worst = Math.max(0, ...volumes.map(({ health }) => HEALTH_ORDER.indexOf(health)))
  return {
    clusterId: node.clusterId,
    health: HEALTH_ORDER[worst]!,
    nodes: [{ name: node.name, state: node.state, ...safeToReboot(volumes) }],
    volumes: volumes.length,
    volumesHealthy: volumes.filter(({ health }) => health === 'healthy').length,
    capacityBytes: sum(({ capacityBytes }) => capacityBytes),
    freeBytes: sum(({ freeBytes }) => freeBytes),
    usedBytes: volumes.reduce((total, { usedBytes }) => total + usedBytes, 0),
    snapshots: 0,
    newestSnapshotAtMs: 0,
    // A node by itself has no other copy to repair from, and does not scrub.
    copiesNeverScrubbed: 0,
    oldestScrubAtMs: 0,
    oldestScrubVolume: '',
    oldestScrubNode: '',
    copiesScrubbing: 0,
    scrubPercent: 0,
    hydrating: 0,
    sharedSlices: 0,
    sessions,
    problems,
    limits: [LONE_NODE],
  }
}
