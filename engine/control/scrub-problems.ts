/** What scrubs of copies found that nobody mended, or that none came to its end, as the status page says it. */
import { someOf } from './amounts.ts'
import { bringBack } from './assess.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { livenessOf } from './node-state.ts'
import { nameOf } from './reboot.ts'
import type { Problem } from './status-page.ts'

export function scrubProblems(cluster: Cluster, nowMs: number): Problem[] {
  const problems: Problem[] = []
  const overdue: string[] = []
  for (const volume of [...cluster.volumes.values()].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))) {
    const lost = lostBlocksOf(cluster, volume)
    if (lost > 0) {
      const why = `${lost} block(s) are lost: no copy can read them, and reads of them fail`
      const next =
        'write them anew from a backup, `holdfast volume rollback` to a snapshot, or delete the files that had them; ' +
        '`holdfast salvage` reads the rest and names what is damaged'
      problems.push({ what: `volume ${nameOf(volume)}`, why, next })
    }
    for (const node of Object.keys(volume.config?.members ?? {}).sort()) {
      const copy = cluster.nodes.get(node)?.copies.get(volume.id)
      if (copy === undefined) continue
      const what = `the copy of volume ${nameOf(volume)} on node ${node}`
      for (const awaited of copy.awaits) {
        const other = cluster.nodes.get(awaited)
        // Who is there answers soon.
        if (other === undefined || livenessOf(other, cluster.options, nowMs) !== 'down') continue
        const why = `it has damaged block(s) that node ${awaited} may have, which is down; reads of them wait for it`
        problems.push({ what, why, next: bringBack(awaited) })
      }
      // What is lost was said.
      if (copy.unrepairedBlocks > lost) {
        const why = `${copy.unrepairedBlocks} damaged block(s) could not be repaired`
        const next = 'a copy that has them may be away, and is asked again; what nobody has is mended by writing it'
        problems.push({ what, why, next })
      }
      if (copy.mapProblems > 0) {
        const why = `its map and its segments do not agree in ${copy.mapProblems} place(s)`
        const next = `\`holdfast volume move\` its copy away from ${node} and keep the log of the daemon: it is a bug`
        problems.push({ what, why, next })
      }
      if (copy.differences > 0) {
        const why = `its copies differ in ${copy.differences} version(s), by the comparison of node ${node}`
        const next = `daemon.log of ${node} names them; nothing is changed: keep all copies, and report it`
        problems.push({ what: `volume ${nameOf(volume)}`, why, next })
      }
      if (copy.isScrubOverdue) overdue.push(`${nameOf(volume)} on ${node}`)
    }
  }
  if (overdue.length > 0) {
    const next = 'they come in their turn, faster with a higher `--scrub-rate`; `holdfast volume scrub NAME --deep` now'
    problems.push({ what: someOf(overdue), why: 'not scrubbed for twice as long as is set', next })
  }
  return problems
}

/** As the copies that are up said: each knows what it was asked for. */
function lostBlocksOf(cluster: Cluster, { id, config }: VolumeView): number {
  const members = Object.keys(config?.members ?? {})
  return Math.max(0, ...members.map((node) => cluster.nodes.get(node)?.copies.get(id)?.lostBlocks ?? 0))
}
