/** The disks of a node, of which each data worker tells what it knows of its own streams. */
import type { DiskStatus } from '../engine/volume/volume-spec.ts'

/** Workers share disks: what each holds there and the checksum errors it met are added up. */
export function joinDisks(statuses: Iterable<DiskStatus>): DiskStatus[] {
  const disks = new Map<string, DiskStatus>()
  for (const status of statuses) {
    const known = disks.get(status.path)
    if (known === undefined) {
      disks.set(status.path, { ...status })
      continue
    }
    known.checksumErrors += status.checksumErrors
    // Each worker counts what its own volumes hold.
    known.freeBytes = Math.max(0, known.freeBytes - (status.capacityBytes - status.freeBytes))
    const isWorse = status.state === 'failed' || (status.state === 'suspect' && known.state === 'online')
    if (isWorse) Object.assign(known, { state: status.state, reason: status.reason })
  }
  return [...disks.values()]
}
