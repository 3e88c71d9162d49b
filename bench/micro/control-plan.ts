/**
 * Processor time of one pass of the control plane for 1,000 nodes and 100,000 volumes in three copies: the first one,
 * one in which nothing or little changed, one after a node went down, and what the nodes' answers cost.
 *
 *   node bench/micro/control-plan.ts [DIR] [NODES] [VOLUMES]
 */
import {
  heard,
  newCluster,
  setConfig,
  setNode,
  setNodeStatus,
  setRebuilds,
  setVolume,
} from '../../engine/control/cluster.ts'
import type { Cluster } from '../../engine/control/cluster.ts'
import type { NodeStatus } from '../../engine/control/node-status.ts'
import { newPlanner, planPass } from '../../engine/control/plan.ts'
import { safeToReboot } from '../../engine/control/reboot.ts'
import { statusPage } from '../../engine/control/status-page.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { GIB } from '../../engine/units.ts'
import { paperCopy } from '../scale/paper-records.ts'

const [nodeCount = 1000, volumeCount = 100_000] = process.argv.slice(3).map(Number)
const ZONES = 3
const names = Array.from({ length: nodeCount }, (_, index) => `n${String(index).padStart(4, '0')}`)
const statuses = new Map<string, NodeStatus>()
let nowMs = 1_000_000

function build(): Cluster {
  const cluster = newCluster(0)
  names.forEach((name, index) => {
    setNode(cluster, name, { name, zone: `z${index % ZONES}` }, 0)
    const disk = { uuid: `${name}.d`, path: '/d', pool: 'default', tags: [], state: 'online' as const, reason: '' }
    const capacityBytes = 16 * 1024 * GIB
    const disks = [{ ...disk, capacityBytes, freeBytes: capacityBytes, reserveBytes: 0, checksumErrors: 0 }]
    statuses.set(name, { node: name, instance: name, isOpen: true, disks, copies: [] })
  })
  for (let index = 0; index < volumeCount; index++) {
    const id = `v${String(index).padStart(6, '0')}`
    const nodes = [0, 1, 2].map((copy) => names[(index + copy * 7) % nodeCount]!)
    const spec: VolumeRecord['spec'] = {
      id, name: id, sizeBytes: 10 * GIB, blockSizeBytes: 4096, replicas: 2, durability: 'durable', onFull: 'hold',
      ioTimeoutMs: 0, pool: 'default', diskTags: [],
    }
    const policy = { minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'single' as const, trash: null }
    setVolume(cluster, id, { spec, ...policy }, 'r1')
    const members = Object.fromEntries(
      nodes.map((node) => [node, { copyId: paperCopy(id, node, 'replica').copyId, state: 'in-sync' as const }]),
    )
    const attach = { generation: 0, mode: 'single' as const, holders: {} }
    const [primary] = nodes
    const set = { primary: primary!, inSync: nodes, members, minInSync: 2 }
    setConfig(cluster, id, { volumeId: id, epoch: 1, ...set, attach, nonce: '' }, 'c1')
    for (const [copy, node] of nodes.entries()) {
      statuses.get(node)!.copies.push(paperCopy(id, node, copy === 0 ? 'primary' : 'replica'))
    }
  }
  return cluster
}

/** Time of the processor: a pass waits for nothing. */
function measure<T>(what: string, count: number, run: () => T): T {
  const times: number[] = []
  let result: T | undefined
  for (let round = 0; round < count; round++) {
    const start = process.cpuUsage()
    result = run()
    const { user, system } = process.cpuUsage(start)
    times.push((user + system) / 1000)
  }
  times.sort((a, b) => a - b)
  const [best, middle] = [times[0]!, times[times.length >> 1]!]
  console.log(`${what.padEnd(64)} ${middle.toFixed(3)} ms (best ${best.toFixed(3)})`)
  return result!
}

/** They answer, as they were. */
function answers(cluster: Cluster): void {
  for (const status of statuses.values()) {
    setNodeStatus(cluster, { ...status, copies: status.copies.map((copy) => ({ ...copy })) }, nowMs)
  }
}

console.log(`${nodeCount} nodes, ${volumeCount} volumes in 3 copies`)
const cluster = measure('records and configurations are taken in', 1, build)
measure('every node says all it has for the first time', 1, () => answers(cluster))
const planner = newPlanner(cluster)
const pass = (): number => planPass(planner, nowMs, 'nonce').length
measure('first pass, all volumes', 1, pass)
measure('pass, nothing changed', 50, () => {
  nowMs += 10
  return pass()
})
measure('every node says all it has again', 5, () => answers(cluster))
measure('pass, all volumes again', 3, () => {
  for (const id of cluster.volumes.keys()) cluster.changed.add(id)
  return pass()
})
measure('pass, 100 volumes changed', 50, () => {
  let count = 0
  for (const id of cluster.volumes.keys()) {
    if (count++ === 100) break
    cluster.changed.add(id)
  }
  return pass()
})
measure('status page', 5, () => statusPage(cluster, nowMs))
measure('safe to reboot, one node', 20, () => safeToReboot(cluster, names[0]!, nowMs))
const [lost] = names
for (let second = 0; second < 400; second++) {
  nowMs += 1000
  for (const name of names) if (name !== lost) heard(cluster, name, nowMs)
  if (second < 398) pass()
}
const planned = measure('pass: 300 copies of a node that is gone wait for their turn', 20, () => {
  nowMs += 1
  return planPass(planner, nowMs, 'nonce')
})
for (const action of planned) if (action.type === 'change-rebuilds') setRebuilds(cluster, action.rebuilds, 't1')
measure('pass behind it: 16 are filled', 20, pass)
