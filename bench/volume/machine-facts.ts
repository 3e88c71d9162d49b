/** Where a run took place: what a reader needs to judge its figures. Nothing that names the machine. */
import { spawnSync } from 'node:child_process'
import os from 'node:os'

const root = new URL('../..', import.meta.url).pathname

function output(command: string, ...args: string[]): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', cwd: root })
  return `${stdout ?? ''}${stderr ?? ''}`.trim()
}

export interface MachineFacts {
  commit: string
  date: string
  lines: string[]
}

/** @param dir  where the volumes and files of the run lie */
export function machineFacts(dir: string): MachineFacts {
  const changed = output('git', 'status', '--porcelain', '--untracked-files=no', '--', 'engine', 'dataplane', 'cluster')
  const commit = output('git', 'rev-parse', '--short', 'HEAD') + (changed === '' ? '' : ', with changes not committed')
  const [cpu] = os.cpus()
  const { type, device } = fileSystemOf(dir)
  const version = (tool: string): string => /\d+\.\d+(?:\.\d+)?/.exec(output(tool, '--version'))?.[0] ?? 'missing'
  return {
    commit,
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    lines: [
      `${os.availableParallelism()} cores (${cpu?.model.trim() || os.arch()}), ${gib(os.totalmem())} GiB memory, ` +
        `Linux ${/^[\d.]+/.exec(os.release())![0]}, load ${os.loadavg()[0]!.toFixed(1)} before the run`,
      `volumes and files on ${type} on ${device}`,
      `Node ${process.versions.node}, fio ${version('fio')}, qemu-nbd ${version('qemu-nbd')}, ` +
        `nbdkit ${version('nbdkit')}, Ceph ${version('ceph-osd')}`,
    ],
  }
}

const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(0)

export function fileSystemOf(dir: string): { type: string; device: string } {
  const [source = '', type = 'unknown'] = output('findmnt', '-no', 'SOURCE,FSTYPE', '-T', dir).split(/\s+/)
  const device = source.replace(/^\/dev\//, '').replace(/\[.*/, '')
  return { type, device: device || 'unknown' }
}

/** Why figures of this place would say nothing; undefined when they would. */
export function whyMeaningless(dir: string): string | undefined {
  const { type } = fileSystemOf(dir)
  if (['tmpfs', 'ramfs'].includes(type)) return `${dir} is on ${type}, where a sync costs nothing; give --dir on a disk`
  if (['fuse', 'nfs', 'nfs4', '9p'].includes(type)) return `${dir} is on ${type}; give --dir on a local disk`
  return undefined
}
