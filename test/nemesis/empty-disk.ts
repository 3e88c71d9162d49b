/** As an operator would: the disk of a node that is down is exchanged for an empty one of its size; its index goes. */
import { rmSync } from 'node:fs'
import { closeFd } from '../../cluster/libc.ts'
import { createDiskFile } from '../../dataplane/disk/disk-file.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'

export function exchangeDisk({ config, paths }: ClusterNodeProcess): void {
  const { path, sizeBytes } = config.disks[0]!
  rmSync(path, { force: true })
  rmSync(paths.index, { recursive: true, force: true })
  const made = createDiskFile(path, sizeBytes!)
  if (!made.ok) throw made.error
  closeFd(made.value.fd)
}
