/**
 * The rule of the atlas where clones share blocks: what a block of a volume holds on a node is shown by its clones
 * there, too, and by theirs. It may be damaged when each of them has it whole on another member, and it is damaged for
 * all of them.
 */
import type { Damaged, Mark } from './atlas.ts'
import type { World } from './world.ts'

export function mayDamage(world: World, node: string, what: Damaged): boolean {
  return showing(world, node).every(({ atlas, store }) => atlas.mayDamage(store.current.config, node, what))
}

export function noteDamage(world: World, node: string, mark: Mark): void {
  for (const { atlas } of showing(world, node)) atlas.note(node, mark)
}

function showing(world: World, node: string): World[] {
  return [world, ...clonesOn(world, node)]
}

/** Those of a clone that is deleted may share with what is left of it. */
function clonesOn(world: World, node: string): World[] {
  const clones = world.first.worlds.filter(({ origin }) => origin === world)
  return clones.flatMap((clone) => {
    const isThere = !clone.isDeleted && clone.nodes.get(node)!.disk.copyId !== ''
    return isThere ? showing(clone, node) : clonesOn(clone, node)
  })
}
