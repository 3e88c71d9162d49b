/**
 * How a run ends: when everything is whole again, and what is checked then. With fewer copies of the set than have to
 * be in it only an operator's force helps, so nothing of its progress is asked, and without any nothing of its content.
 */
import { awaitedMembers } from '../../../engine/replication/kept-marks.ts'
import { checkAnswered } from './checker/acknowledged-is-durable.ts'
import { checkContent, type CopyContent } from './checker/copies-identical.ts'
import { checkCopiesAfterRemoval, checkReadsAfterRemoval } from './checker/nothing-comes-back.ts'
import { checkSessionsInOrder } from './checker/holders.ts'
import { checkInside } from './checker/inside-the-volume.ts'
import { checkProgress } from './checker/progress.ts'
import { checkReadsMatchHistory } from './checker/reads-match-history.ts'
import { loseSome } from './last-loss.ts'
import { compareAll, damageMany, scrubAll } from './last-scrub.ts'
import type { SimNode } from './sim-node.ts'
import { checkGone } from './volume-deletion.ts'
import { visibleAt, type VersionMap } from './version-map.ts'
import type { World } from './world.ts'

/** The nodes that run with the copy they are named with, on a disk that works. */
const healthyOf = (world: World): SimNode[] => {
  const { members } = world.store.current.config
  return [...world.nodes.values()].filter(
    ({ name, disk, process }) => process !== undefined && members[name]?.copyId === disk.copyId && !disk.hasFailed,
  )
}

/** Everybody is answered; every copy is in the set and has applied everything that was ordered, or will be. */
export function isQuiet(world: World): boolean {
  const { inSync } = world.store.current.config
  if (world.operator.isBusy || world.orders.isBusy || world.first.groups?.isBusy === true) return false
  if (world.isHydrated && [...world.nodes.values()].some(({ disk }) => disk.isSharing || disk.isPinned)) return false
  if (world.isDeleted) return world.orders.isPurging && checkGone(world, '').length === 0
  if (world.users.frontends.some((client) => client.session !== undefined && !client.isDone)) return false
  if (!world.readers.isDone) return false
  const tail = world.judge.committed.log.length
  return healthyOf(world).every(({ name, witness, process }) => {
    if (process?.copy.isRecovered !== true || process.queue.some(({ type }) => type === 'command')) return false
    // A member that was filled where it is may still be on its way.
    // One that lost a disk stays in the set until it is heard by who leads (D7).
    const { log, lostSlices } = process.copy
    const isWhole = witness.isConsistent && lostSlices.length === 0 && witness.appliedSeq === tail
    return inSync.includes(name) && isWhole && log.tail === tail
  })
}

/** @param goesOn  after this everybody loses power, and opens what is on the disks */
export function checkEnd(world: World, healMs: number, goesOn: boolean): void {
  const { judge } = world
  const unanswered = [...world.clients.values()].flatMap((client) => client.unanswered)
  const healthy = healthyOf(world).map(({ name }) => name)
  const roles = new Map([...world.nodes].map(([name, { role }]) => [name, role] as const))
  const { config } = world.store.current
  // The set never shrinks below `minInSync` (C2): with fewer of its copies than that only an operator's force helps.
  const there = config.inSync.filter((name) => world.hasCopy(config, name)).length
  const isLost = there === 0
  const isStuck = there < Math.max(1, config.minInSync)
  if (!isStuck && !world.isDeleted) judge.report(checkProgress({ healMs, unanswered, config, healthy, roles }))
  if (world.isDeleted && !isQuiet(world)) {
    const left = [...world.nodes.values()].filter(({ hasNoCopy }) => !hasNoCopy).map(({ name }) => name)
    const message = `the deleted volume is not gone from ${left.join(', ')} after ${healMs} ms`
    judge.report([{ checker: 'progress', message }, ...checkGone(world, 'at the end')])
    return
  }
  if (!isStuck && !world.isDeleted) world.readers.checkDone(healMs)
  judge.isOver = false
  const { operations, lost } = judge
  const history = { operations, lost, eras: judge.committed.eras, bases: judge.stamps.bases }
  judge.report(checkReadsAfterRemoval(history))
  judge.report(checkAnswered(history))
  judge.report(checkReadsMatchHistory(history))
  for (const { log, base } of judge.committed.eras) judge.report(checkInside(log, world.sizeBytes, base))
  const { attachMode } = world.swarm
  if (attachMode !== 'open') judge.report(checkSessionsInOrder(judge.committed.eras, attachMode === 'single'))
  if (isLost || world.isDeleted) return
  if (!isQuiet(world)) {
    if (isStuck) return
    const behind = healthyOf(world).map(({ name, witness }) => `${name} ${witness.appliedSeq}`).join(', ')
    judge.report([{ checker: 'progress', message: `not all applied ${judge.committed.log.length}: ${behind}` }])
    return
  }
  if (!goesOn) loseAtEnd(world, healMs)
  // An opening reads what waits, and would refuse where that was damaged just now.
  if (!goesOn) world.damagedAtEnd = damageMany(world, healthyOf(world))
  scrubAll(world, healthyOf(world))
  compareAll(world, healthyOf(world))
  const copies = healthyOf(world).flatMap((node) => contentOf(world, node) ?? [])
  const { log, base } = judge.committed
  judge.report(checkCopiesAfterRemoval(copies, log, base))
  judge.report(checkContent(copies, log, base))
}

/** What heals it is written, and applied by all, before anything else is looked at. */
function loseAtEnd(world: World, healMs: number): void {
  if (!world.swarm.losesAtEnd) return
  // What rotted before, and nothing read since, would still be rotten when the medium gives it back.
  scrubAll(world, healthyOf(world))
  world.lostAtEnd = loseSome(world, healthyOf(world))
  const untilMs = world.clock.nowMs() + healMs
  while (world.lostAtEnd > 0 && !isQuiet(world) && world.clock.nowMs() < untilMs && world.clock.step());
  // What snapshots show of it is back, but with who was filled meanwhile.
  if (world.lostAtEnd > 0) scrubAll(world, healthyOf(world))
  if (world.lostAtEnd > 0) checkAwaited(world, healMs)
}

/** D9: nothing is lost any more, so nobody has to be kept for what he may have of it, whoever leaves the set next. */
function checkAwaited(world: World, healMs: number): void {
  const awaiting = (): SimNode[] => healthyOf(world).filter(({ openCopy }) =>
    openCopy !== undefined && (openCopy.marks.isMore || awaitedMembers(openCopy).length > 0))
  const untilMs = world.clock.nowMs() + healMs
  while (awaiting().length > 0 && world.clock.nowMs() < untilMs && world.clock.step());
  for (const { name } of awaiting())
    world.judge.report([{ checker: 'lost-blocks', message: `${name} still waits for others, and nothing is lost` }])
}

function contentOf(world: World, { name, disk }: SimNode): CopyContent | undefined {
  let isRead = false
  let held: VersionMap | undefined
  disk.content((versions) => {
    isRead = true
    held = versions
  })
  while (!isRead && world.clock.step());
  const view = held
  if (view === undefined) {
    world.judge.report([{ checker: 'copies-identical', message: `${name} cannot be read` }])
    return undefined
  }
  const at = (point: number) => {
    const blocks = new Map<number, number>()
    for (const lba of view.blocks.keys()) blocks.set(lba, world.codec.stampOf(visibleAt(view, lba, point)))
    return blocks
  }
  const snapshots = new Map(view.snapshots.map(({ id, seq }) => [id, at(seq)] as const))
  return { node: name, head: at(Infinity), snapshots }
}
