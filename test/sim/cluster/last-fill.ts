/**
 * A copy is made anew, and filled, while blocks are lost on all the others (engine/replication/SPEC.md D8): it comes
 * into the set, and reads of them fail from whoever leads then. Meanwhile nothing happens, a member that may have them
 * stands still, one of them is written anew, a medium gives one back, or who fills dies. Who stands still may be the
 * only one that has a block (D9): then the filling goes past it, the copy knows whom it waits for, also when it starts
 * anew, and once that one is there the block is read as it should be.
 */
import { awaitedMembers } from '../../../engine/replication/kept-marks.ts'
import { Random } from '../random.ts'
import { mayWriteBack } from './durability-focus.ts'
import type { Lost } from './last-loss.ts'
import { expect, overwrite, patienceMs, read } from './last-requests.ts'
import type { SimClient } from './sim-client.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

const MEANWHILE = ['nothing', 'stand-still', 'kept', 'kept', 'write', 'back', 'death'] as const

/**
 * What is healed meanwhile is taken from the list; what the new copy has in place of its former one cannot come back.
 * @returns whether others may have been filled anew, too
 */
export function fillPastLost(world: World, client: SimClient, lost: Lost[], nodes: readonly SimNode[]): boolean {
  const random = new Random(`last fill ${world.swarm.seed} ${world.volumeId}`)
  const { config } = world.store.current
  const isSpare = config.inSync.length > Math.max(1, config.minInSync)
  if (lost.length === 0 || !isSpare || nodes.length < 2 || !random.chance(0.5)) return false
  const replicas = random.shuffle(nodes.filter(({ name }) => name !== config.primary))
  const [filled, other] = [replicas[0]!, replicas[1]]
  const primary = nodes.find(({ name }) => name === config.primary)!
  // What was not synced is written out by the kernel as it was, rotten or not.
  const mayDie = !mayWriteBack(world.swarm)
  const meanwhile = random.pick(MEANWHILE.filter((one) =>
    one === 'stand-still' || one === 'kept' ? other !== undefined : one !== 'death' || mayDie))
  const isStill = meanwhile === 'stand-still' || meanwhile === 'kept'
  const formerId = filled.disk.copyId
  world.trace.note('operator', 'last fill', 0, 0, filled.name, () => `of ${filled.name}, ${meanwhile}`)
  if (meanwhile === 'kept') lost[0]!.of.get(other!)!.mark.undo()
  if (isStill) other!.pause()
  world.operator.replace(filled)
  const isNew = (): boolean => {
    const copyId = world.store.current.config.members[filled.name]?.copyId
    return copyId !== undefined && copyId !== formerId && filled.disk.copyId === copyId
  }
  const isIn = (): boolean => isNew() && world.store.current.config.inSync.includes(filled.name)
  pass(world, () => isNew() && filled.openCopy?.consistency.state === 'filling')
  // It was taken in again as it was, before it was to be erased.
  if (!isNew()) {
    other?.resume()
    if (meanwhile === 'kept') lost.shift()
    return true
  }
  for (const { of } of lost) of.delete(filled)
  if (isStill) {
    pass(world, isIn)
    if (isIn()) looksForKept(world, filled, other!, random)
    else complain(world, `${filled.name} is not filled while ${other!.name}, a member, stands still`)
    other!.resume()
  } else if (meanwhile === 'write') overwrite(world, client, lost.shift()!.lba, 'write')
  else if (meanwhile === 'back') random.pick([...lost[0]!.of.values()]).mark.undo()
  else if (meanwhile === 'death') {
    primary.kill()
    pass(world, () => random.chance(0.001))
    primary.start()
  }
  if (!isIn()) pass(world, isIn)
  const hasWiped = isStill || meanwhile === 'death'
  if (!isIn()) {
    complain(world, `${filled.name} is not filled past ${lost.length} lost blocks (${meanwhile})`)
    return hasWiped
  }
  if (random.chance(0.5)) {
    pass(world, () => filled.role === 'replica')
    world.operator.handOver(filled.name)
    pass(world, () => filled.role === 'primary')
  }
  if (meanwhile === 'back' || meanwhile === 'kept') {
    const [first] = lost.splice(0, 1)
    expect(world, client, read(first!.lba), 'ok', first!.stamp)
  }
  for (const { lba } of lost) expect(world, client, read(lba), 'damaged')
  return hasWiped
}

/** E5 of the control plane goes by what the copy says, in whichever process. */
function looksForKept(world: World, filled: SimNode, other: SimNode, random: Random): void {
  const isAwaited = (): boolean => filled.openCopy !== undefined && awaitedMembers(filled.openCopy).includes(other.name)
  if (random.chance(0.5)) {
    filled.kill()
    filled.start()
  }
  pass(world, isAwaited)
  if (!isAwaited()) complain(world, `${filled.name} does not say that it waits for ${other.name}`)
}

/** Until it is so, or long enough. */
function pass(world: World, isSo: () => boolean): void {
  const untilMs = world.clock.nowMs() + 4 * patienceMs(world)
  while (!isSo() && world.clock.nowMs() < untilMs && world.clock.step());
}

const complain = (world: World, message: string): void =>
  world.judge.report([{ checker: 'lost-blocks', message }])
