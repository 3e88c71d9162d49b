/**
 * The course of a run: faults and actions for a while, then none and everything up again, then everything has to become
 * whole, and what is left is checked (run-end.ts). The first volume of a cluster has it for all of them.
 */
import type { Scene } from './aims.ts'
import { beginFault, heal } from './faults.ts'
import { initialAttach } from './first-config.ts'
import { DELETING_MS, GroupTaker } from './group-taker.ts'
import type { PlannedEvent } from './plan.ts'
import { checkEnd, isQuiet } from './run-end.ts'
import { beginScrubs } from './scrub-focus.ts'
import { checkGone } from './volume-deletion.ts'
import { DAMAGING, hasGroups } from './volume-focus.ts'
import type { World } from './world.ts'

/** Of a phase: something feeds itself. */
const STEPS_MAX = 5_000_000

export function run(first: World): void {
  for (const world of first.worlds) begin(world)
  if (hasGroups(first.swarm)) {
    first.groups = new GroupTaker(first)
    first.groups.begin()
  }
  runUntil(first, () => first.clock.nowMs() >= first.swarm.faultsUntilMs)
  if (!first.worlds.some(({ isBeyond }) => isBeyond)) finish(first)
}

/** Everybody starts, the plan is set. */
export function begin(world: World): void {
  for (const node of world.nodes.values()) if (node.isPowered) node.start()
  beginUsers(world)
}

/** Of a volume whose nodes run, or are off. */
export function beginUsers(world: World): void {
  const { swarm, clock } = world
  const { mode, holders } = initialAttach(swarm)
  for (const client of world.clients.values()) {
    const generation = mode === 'open' ? 1 : holders[client.name]
    if (generation !== undefined) world.users.attach(client, generation)
  }
  for (const event of world.plan) {
    clock.after(event.atMs, () => beginOrWait(world, event))
  }
  if (world.swarm.faults.some((kind) => DAMAGING.includes(kind))) replaceLost(world)
  if (world.swarm.isErasing) world.orders.begin()
  beginScrubs(world)
  world.readers.begin()
}

function beginOrWait(world: World, event: PlannedEvent): void {
  const { aim, isAction } = event
  const go = (scene?: Scene) => {
    if (world.isHealed) return
    if (isAction) world.operator.act(event, scene)
    else beginFault(world, event, scene)
  }
  if (aim === undefined) return go()
  world.aims.arm(aim.sign, 3 * world.swarm.graceMs, (scene) => {
    if (aim.afterMs === 0) go(scene)
    else world.clock.after(aim.afterMs, () => go(scene))
  })
}

/** Nothing fails any more; everything has to become whole. */
export function finish(first: World): void {
  const { clock } = first
  for (const world of first.worlds) healAll(world)
  // Clones may come yet.
  const groupsMs = first.groups === undefined ? 0 : DELETING_MS
  const healMs = groupsMs + Math.max(...[...first.worlds, ...first.making].map(healMsOf))
  const healedAtMs = clock.nowMs()
  // Where requests may fail in time each is asked again, perhaps many times: some have to be served all the while.
  const isLate = ({ swarm, users }: World, fromMs = healedAtMs): boolean =>
    clock.nowMs() >= healMs + Math.max(fromMs, swarm.ioTimeoutMs > 0 ? users.servedAtMs : 0)
  const isMaking = (): boolean => first.making.size > 0 && !isLate(first)
  runUntil(first, () => !isMaking() && first.worlds.every((world) => isLate(world) || isQuiet(world)))
  const wereQuiet = new Set(first.hasFailed ? [] : first.worlds.filter(isQuiet))
  const isAnyDeleted = first.worlds.some(({ isDeleted }) => isDeleted)
  for (const { name } of first.hasFailed ? [] : first.making) {
    const message = `clone ${name} is neither made nor given up after ${healMs} ms`
    first.judge.report([{ checker: 'progress', message }])
  }
  // Clones first: what they share and nobody else shows is repaired when they read it.
  const worlds = first.swarm.clones > 0 ? first.worlds.toReversed() : first.worlds
  for (const world of worlds) {
    // The end of another one reads its copies and stops nodes, for long: what was whole before has as long once more.
    const fromMs = wereQuiet.has(world) ? clock.nowMs() : healedAtMs
    runUntil(first, () => isLate(world, fromMs) || isQuiet(world))
    if (!first.hasFailed) checkEnd(world, healMs, isAnyDeleted)
  }
  if (!first.hasFailed && isAnyDeleted) startAnew(first)
}

function healAll(world: World): void {
  heal(world)
  if (world.isDeleted) return
  for (const node of world.nodes.values())
    if (node.disk.copyId === '' && world.isMember(node)) world.operator.replace(node)
}

function healMsOf({ swarm }: Pick<World, 'swarm'>): number {
  const { graceMs, resendMs, evictAfterMs, retryMs, operations, clients, thinkMs } = swarm
  // A client that thinks for long has as much to do as the others.
  const workMs = Math.max(operations * 100, (operations / clients) * thinkMs)
  return 5000 + 40 * (graceMs + resendMs + evictAfterMs + retryMs) + workMs
}

/** What was deleted does not come back with the power. */
function startAnew(first: World): void {
  for (const node of first.nodes.values()) node.losePower(first.position())
  for (const node of first.nodes.values()) node.start()
  const deleted = first.worlds.filter(({ isDeleted }) => isDeleted)
  const untilMs = first.clock.nowMs() + 20_000
  const isOpen = (world: World): boolean => [...world.nodes.values()].every(({ hasNoCopy }) => hasNoCopy)
  // What clones had read is wiped behind the opening, where that was not done.
  const isGone = (world: World): boolean => first.swarm.clones === 0 || checkGone(world, '').length === 0
  runUntil(first, () => first.clock.nowMs() >= untilMs || deleted.every((world) => isOpen(world) && isGone(world)))
  for (const world of deleted) {
    if (!isOpen(world)) world.judge.report([{ checker: 'deleted-is-gone', message: 'a copy came back' }])
    world.judge.report(checkGone(world, 'after a power loss'))
  }
}

/** The control plane: a copy that cannot be opened is given up, and its node gets another one. */
function replaceLost(world: World): void {
  world.clock.after(world.swarm.graceMs, () => {
    for (const node of world.nodes.values()) {
      if (node.disk.wantsRestart) {
        node.kill()
        node.start()
      }
      if (!node.disk.isLost) continue
      world.giveUp(node)
      world.operator.replace(node)
    }
    replaceLost(world)
  })
}

function runUntil(first: World, condition: () => boolean): void {
  // The condition is not free.
  for (let steps = 0; !first.hasFailed; steps++) {
    if (steps % 32 === 0 && condition()) return
    try {
      if (!first.clock.step()) return
    } catch (error) {
      first.failed({ name: 'world' }, error)
    }
    if (steps > STEPS_MAX) first.judge.report([{ checker: 'progress', message: `no end after ${steps} events` }])
  }
}
