/** `holdfast node ls|inspect|cordon|uncordon|drain|rm`. */
import { formatDuration, formatSize } from '../cluster/api/amounts.ts'
import type { Node } from '../cluster/api/node-messages.ts'
import type { Invocation } from './command.ts'
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

const WISHES = {
  cordon: { isCordoned: true, isDraining: false, says: 'gets no new copies; those it has stay' },
  uncordon: { isCordoned: false, isDraining: false, says: 'may get new copies again' },
  drain: { isCordoned: true, isDraining: true, says: 'is emptied; `holdfast status` shows what is still there' },
} as const

export function wishOfNode(word: keyof typeof WISHES): (invocation: Invocation) => Promise<number> {
  return async ({ arguments: given, output }) => {
    const { says, ...wish } = WISHES[word]
    const node = await withDaemon(given, (daemon) => daemon.setNodeWish({ name: given.positionals[0]!, ...wish }))
    output.result(node, () => [`node ${node.name} ${says}`])
    return EXIT_OK
  }
}

export async function removeNode({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  await withDaemon(given, (daemon) => daemon.removeNode({ name }))
  output.result({ name, removed: true }, () => [
    `node ${name} is no node of this cluster any more; the copies it had are replaced, and its name is free`,
  ])
  return EXIT_OK
}
