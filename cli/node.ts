/** `holdfast node ls|inspect`. */
import { formatDuration, formatSize } from '../cluster/api/amounts.ts'
import type { Node } from '../cluster/api/definition.ts'
import type { Invocation } from './commands.ts'
import { DISK_HEADER, diskRows } from './disk.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK, fields, table } from './output.ts'

export async function listNodes({ arguments: given, output }: Invocation): Promise<number> {
  const { nodes } = await withDaemon(given, (daemon) => daemon.listNodes())
  output.result(nodes, () => table(['NAME', 'STATE', 'ZONE', 'PID', 'DISKS', 'CAPACITY', 'FREE'], nodes.map((node) => [
    node.name,
    node.state,
    node.zone || '-',
    String(node.pid),
    String(node.disks.length),
    formatSize(node.disks.reduce((sum, { capacityBytes }) => sum + capacityBytes, 0)),
    formatSize(node.disks.reduce((sum, { freeBytes }) => sum + freeBytes, 0)),
  ])))
  return EXIT_OK
}

function describe(node: Node): string[] {
  return [
    ...fields([
      ['name', node.name],
      ['state', node.state],
      ['zone', node.zone || '-'],
      ['id', node.id],
      ['cluster', node.clusterId],
      ['instance', node.instanceId],
      ['version', `${node.version} (Node ${node.nodeVersion})`],
      ['pid', String(node.pid)],
      ['up', formatDuration(Math.floor(node.uptimeMs / 1000) * 1000)],
      ['workers', String(node.workers)],
      ['memory', `${formatSize(node.rssBytes)} (daemon)`],
      ['io flusher', node.ioFlusher],
      ['folder', node.folder],
      ...node.listening.map((place): [string, string] => ['nbd', place]),
    ]),
    '',
    ...table(DISK_HEADER, diskRows(node.disks)),
  ]
}

export async function inspectNode({ arguments: given, output }: Invocation): Promise<number> {
  const node = await withDaemon(given, (daemon) => daemon.getNode({ name: given.positionals[0]! }))
  output.result(node, () => describe(node))
  return EXIT_OK
}
