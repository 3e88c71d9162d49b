/**
 * Whose the disks of a node are, by their superblocks: a node whose folder is lost, and its cluster store with it, is
 * still itself if its disks say so (cluster/store/REBUILD.md section 1).
 */
import fs from 'node:fs'
import { HoldfastError } from '../engine/errors.ts'
import type { Superblock } from '../engine/log/superblock.ts'
import { readSuperblock } from './disk-preparation.ts'
import type { NodeIdentity } from './node-folder.ts'
import type { DiskOption } from './worker-messages.ts'

/**
 * Undefined: no disk has been anybody's.
 * @param store  where the cluster store is that is empty, for a sentence
 * @throws HoldfastError `disk-lost-cluster` when one belongs to a node of another name, or they belong to several
 */
export function ownerOfDisks(disks: readonly DiskOption[], name: string, store: string): NodeIdentity | undefined {
  let owner: Superblock | undefined
  for (const { path } of disks) {
    const found = fs.existsSync(path) ? readSuperblock(path) : undefined
    if (found === undefined) continue
    const isOther = owner !== undefined && (owner.nodeId !== found.nodeId || owner.clusterId !== found.clusterId)
    if (isOther || found.nodeName !== name) {
      const { nodeName: owner, clusterId: cluster } = found
      throw new HoldfastError('disk-lost-cluster', { disk: path, owner, cluster, node: name, store })
    }
    owner = found
  }
  return owner === undefined ? undefined : { clusterId: owner.clusterId, nodeId: owner.nodeId }
}
