/** Where a search begins: on empty disks, or in a volume that serves. */
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import { newLocalCopy, versionText } from './local-copy.ts'
import { FRONTEND, newClient } from './model-client.ts'
import type { Parts } from './parts.ts'
import type { Machine } from './search.ts'

/** Nothing ever happened: the configuration names the first copy, all disks are empty. */
export function startedRow(parts: Parts): Int32Array {
  const { nodes, bounds } = parts
  const { copies } = bounds
  const members = Object.fromEntries(
    nodes.map((node) => [node, { copyId: `copy-${node}`, state: 'in-sync' as const }]),
  )
  const config = {
    volumeId: 'v',
    epoch: 1,
    primary: nodes[0]!,
    inSync: [...nodes],
    members,
    minInSync: bounds.minInSync,
    attach: { generation: 1, mode: 'single' as const, holders: { [FRONTEND]: 1 } },
    removed: false,
    nonce: '',
  }
  const values: VersionedConfig[] = [{ config, version: versionText(1) }]
  const row = new Int32Array(parts.width)
  nodes.forEach((node, i) => {
    row[i] = parts.copyIdOf(newLocalCopy(node))
  })
  row[copies] = parts.clusters.idOf(values, () => values)
  const client = newClient(bounds)
  row[copies + 1] = parts.clients.idOf(client, () => client)
  const nothing = parts.linkIdOf([])
  for (let at = copies + 3; at < parts.width; at++) row[at] = nothing
  return row
}

/** The first copy leads, the others follow, the client is there, nothing is under way: by the first way found. */
export function servingRow(parts: Parts, machine: Pick<Machine, 'successors'>, start: Int32Array): Int32Array {
  const seen = new Set<string>()
  const way: Int32Array[] = [start]
  for (;;) {
    const row = way.at(-1)
    if (row === undefined) throw new Error('the first copy never leads')
    if (isServing(parts, row)) return row
    const options: Int32Array[] = []
    const isPlain = (said: string): boolean =>
      !/^(lost|duplicate)|crashes|[^a]'s swap lands|client: (writes|reads)|unknown|hand-over/.test(said)
    const late: Int32Array[] = []
    machine.successors(row, (next, say) => {
      const said = say()
      if (said === 'time passes') late.push(next.slice())
      else if (isPlain(said)) options.push(next.slice())
    })
    const found = [...options, ...late].find((next) => !seen.has(next.join()))
    if (found === undefined) way.pop()
    else {
      seen.add(found.join())
      way.push(found)
    }
  }
}

function isServing(parts: Parts, row: Int32Array): boolean {
  const copies = parts.nodes.map((_, i) => parts.copies.get(row[i]!))
  const isEmpty = [...row.subarray(parts.bounds.copies + 3)].every(
    (link) => parts.links.get(link).messages.length === 0,
  )
  const [first, ...others] = copies.map(({ copy, summary }) => ({ ...summary, copy }))
  const { tail } = first!
  const isQuiet = copies.every(({ copy }) => copy.store.entries.length === 0)
  const knowsAll = [...(first!.copy.memory?.primary?.peers.values() ?? [])].every(
    ({ storedSeq, toldCommitSeq }) => storedSeq === tail && toldCommitSeq === tail,
  )
  return (
    first!.leadsEpoch > 0 &&
    first!.hasSession &&
    first!.commitSeq === tail &&
    others.every(({ role, commitSeq }) => role === 'replica' && commitSeq === tail) &&
    isEmpty &&
    isQuiet &&
    knowsAll
  )
}
