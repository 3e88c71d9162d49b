/**
 * `holdfast disk ls|add|adopt|evict`. Paths are resolved here, where they were typed; the daemon sees absolute ones.
 */
import path from 'node:path'
import { formatSize } from '../cluster/api/amounts.ts'
import type { Disk } from '../cluster/api/node-messages.ts'
import { checkPool, parseTags } from '../cluster/api/volume-request.ts'
import { parseDiskSize } from '../dataplane/node-config.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK, table } from './output.ts'

export function diskRows(disks: Disk[]): string[][] {
  return disks.map((disk) => [
    disk.path,
    disk.node,
    disk.pool,
    disk.tags.join(',') || '-',
    formatSize(disk.capacityBytes),
    formatSize(disk.freeBytes),
    disk.reason === '' ? disk.state : `${disk.state}: ${disk.reason}`,
    disk.uuid,
  ])
}

export const DISK_HEADER = ['PATH', 'NODE', 'POOL', 'TAGS', 'CAPACITY', 'FREE', 'STATE', 'UUID']

export async function listDisks({ arguments: given, output }: Invocation): Promise<number> {
  const { disks } = await withDaemon(given, (daemon) => daemon.listDisks())
  output.result(disks, () => disks.length === 0 ? ['no disks; `holdfast disk add PATH` adds one']
    : table(DISK_HEADER, diskRows(disks)))
  return EXIT_OK
}

export async function addDisk({ arguments: given, output }: Invocation): Promise<number> {
  const size = given.text('size')
  const disk = await withDaemon(given, (daemon) => daemon.addDisk({
    path: path.resolve(given.positionals[0]!),
    sizeBytes: size === undefined ? 0 : parseDiskSize(size),
    pool: checkPool(given.text('pool')),
    tags: parseTags('tags', given.text('tags') ?? ''),
  }))
  const { node, pool, capacityBytes } = disk
  output.result(disk, () => [
    `disk ${disk.path} is in pool ${pool} of ${node}: ${formatSize(capacityBytes)} for volumes`,
  ])
  return EXIT_OK
}

export async function adoptDisk({ arguments: given, output }: Invocation): Promise<number> {
  const disk = await withDaemon(given, (daemon) => daemon.adoptDisk({ path: path.resolve(given.positionals[0]!) }))
  output.result(disk, () => [
    `disk ${disk.path} belongs to ${disk.node} now; \`holdfast volume ls\` shows what it holds`,
  ])
  return EXIT_OK
}

export async function evictDisk({ arguments: given, output }: Invocation): Promise<number> {
  const isEvicted = !given.flag('undo')
  const disk = await withDaemon(given, (daemon) => daemon.setDiskEvicted({ uuid: given.positionals[0]!, isEvicted }))
  output.result(disk, () => [
    `disk ${disk.path} of ${disk.node} ${isEvicted ? 'is emptied; `holdfast status` shows when' : 'is used again'}`,
  ])
  return EXIT_OK
}
