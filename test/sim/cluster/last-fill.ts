/**
 * A copy is made anew, and filled, while blocks are lost on all the others (engine/replication/SPEC.md D8): it comes
 * into the set, and reads of them fail from whoever leads then. Meanwhile nothing happens, or a member that may have
 * them stands still (then the filling has to wait for it), one of them is written anew, a medium gives one back, or who
 * fills dies.
 */
import { Random } from '../random.ts'
import type { Lost } from './last-loss.ts'
import { expect, overwrite, patienceMs, read } from './last-requests.ts'
import type { SimClient } from './sim-client.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

const MEANWHILE = ['nothing', 'stand-still', 'write', 'back', 'death'] as const

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
  const mayDie = world.swarm.mode === 'durable'
  const meanwhile = random.pick(MEANWHILE.filter((one) =>
    one === 'stand-still' ? other !== undefined : one !== 'death' || mayDie))
  const formerId = filled.disk.copyId
  world.trace.note('operator', 'last fill', 0, 0, filled.name, () => `of ${filled.name}, ${meanwhile}`)
  if (meanwhile === 'stand-still') other!.pause()
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
    return true
  }
  for (const { of } of lost) of.delete(filled)
  if (meanwhile === 'stand-still') {
    pass(world, isIn)
    if (isIn()) complain(world, `${filled.name} was filled while ${other!.name}, a member, stood still`)
    other!.resume()
  } else if (meanwhile === 'write') overwrite(world, client, lost.shift()!.lba, 'write')
  else if (meanwhile === 'back') random.pick([...lost[0]!.of.values()]).mark.undo()
  else if (meanwhile === 'death') {
    primary.kill()
    pass(world, () => random.chance(0.001))
    primary.start()
  }
  if (!isIn()) pass(world, isIn)
  const hasWiped = meanwhile === 'stand-still' || meanwhile === 'death'
  if (!isIn()) {
    complain(world, `${filled.name} is not filled past ${lost.length} lost blocks (${meanwhile})`)
    return hasWiped
  }
  if (random.chance(0.5)) {
    pass(world, () => filled.role === 'replica')
    world.operator.handOver(filled.name)
    pass(world, () => filled.role === 'primary')
  }
  if (meanwhile === 'back') {
    const [first] = lost.splice(0, 1)
    expect(world, client, read(first!.lba), 'ok', first!.stamp)
  }
  for (const { lba } of lost) expect(world, client, read(lba), 'damaged')
  return hasWiped
}

/** Until it is so, or long enough. */
function pass(world: World, isSo: () => boolean): void {
  const untilMs = world.clock.nowMs() + 4 * patienceMs(world)
  while (!isSo() && world.clock.nowMs() < untilMs && world.clock.step());
}

const complain = (world: World, message: string): void =>
  world.judge.report([{ checker: 'lost-blocks', message }])
