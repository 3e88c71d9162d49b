/**
 * A volume is deleted while everything goes on: its users let it go, its time in the trash passes, then its copies are
 * purged (copy-orders.ts), also those of nodes that are away, when they are back. From then on it is asked for nothing
 * but to be gone: no copy comes back, after a power loss either, and its space is given back.
 */
import type { Violation } from './checker/history.ts'
import type { World } from './world.ts'

export function deleteVolume(world: World, trashMs: number): void {
  if (world.isDeleted) return
  world.isDeleted = true
  world.aims.clear()
  for (const client of world.users.frontends) client.detach()
  world.clock.after(trashMs, () => {
    world.trace.note('operator', 'purge')
    world.judge.isOver = true
    world.orders.isPurging = true
  })
}

/** Where something of it is left. */
export function checkGone(world: World, when: string): Violation[] {
  return [...world.nodes.values()].flatMap(({ name, disk }) => {
    const remains = disk.remains()
    return remains === undefined ? [] : [{ checker: 'deleted-is-gone', message: `${name}, ${when}: ${remains}` }]
  })
}
