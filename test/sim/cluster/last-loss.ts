/**
 * The end of a run, where a seed says so: some blocks are damaged on every copy, which no protocol could mend (the
 * atlas allows it nowhere else). Everybody is there and says so: reads of them, and narrow writes that want the rest of
 * one, are answered `damaged`, and soon; others are served. While one of the nodes stands still, which may lead, they
 * wait: it may have it. Half of the time a copy is made anew meanwhile (last-fill.ts). Then each is healed, by a write,
 * a trim, or a medium that gives back what it had on one of the copies, and is read as it should be by whoever reads
 * next.
 */
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { Random } from '../random.ts'
import { replay } from './checker/history.ts'
import { fillPastLost } from './last-fill.ts'
import { ask, expect, narrow, overwrite, read } from './last-requests.ts'
import type { Rotten } from './node-disk.ts'
import type { SimClient } from './sim-client.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'
import { waitFor } from './world-wait.ts'

const LOST_MOST = 3

export interface Lost {
  lba: number
  stamp: number
  of: Map<SimNode, Rotten>
}

/** @returns how many blocks were lost */
export function loseSome(world: World, nodes: readonly SimNode[]): number {
  const { members, attach } = world.store.current.config
  const client = [...world.clients.values()].find(({ session }) => session !== undefined)
  const isWhole = nodes.length === Object.keys(members).length && nodes.every(({ role }) => role !== 'fenced')
  if (!world.swarm.losesAtEnd || client === undefined || !isWhole || attach.mode === 'read-only') return 0
  world.mayLose = true
  // A session that broke, or is not the holder's any more, hears of it only now.
  const isServed = ask(world, client, read(0)).result === 'ok'
  const random = new Random(`last loss ${world.swarm.seed} ${world.volumeId}`)
  // What was written last may not be applied everywhere yet; and nothing lands elsewhere any more.
  for (const node of nodes) node.disk.landWrites()
  // A client here is not told that the volume grew, as a daemon tells its frontends: it knows what it opened.
  const endLba = (client.frontend?.sizeBytes ?? 0) / BLOCK_BYTES
  const blocks = [...replay(world.judge.committed.log).state.blocks]
  const heads = blocks.filter(([lba, { kind }]) => kind === 'write' && lba < endLba)
  const lost: Lost[] = []
  for (const [lba, { seq, stamp }] of random.shuffle(heads)) {
    if (!isServed || lost.length >= LOST_MOST) break
    const of = new Map<SimNode, Rotten>()
    for (const node of nodes) {
      const rotten = waitFor<Rotten | undefined>(world, (done) => node.disk.rotHead(random, lba, done))
      if (rotten !== undefined) of.set(node, rotten)
    }
    if (of.size === nodes.length && [...of.values()].every((one) => one.seq === seq)) lost.push({ lba, stamp, of })
    else for (const { mark } of of.values()) mark.undo()
  }
  const other = heads.find(([lba]) => !lost.some((one) => one.lba === lba))
  for (const one of lost) look(world, client, one, random)
  if (lost.length > 0 && other !== undefined) expect(world, client, read(other[0]), 'ok', other[1].stamp)
  const all = [...lost]
  const hasWiped = fillPastLost(world, client, lost, nodes)
  const [first] = lost
  const mayPause = first !== undefined && nodes.length > 1 && random.chance(0.5)
  // Whoever was away for long may have been wiped to be filled: then its medium has nothing to give back.
  if (mayPause) waitForOne(world, client, first.lba, random.pick([...nodes]))
  for (const one of lost) heal(world, client, one, random.pick(mayPause || hasWiped ? MADE_ANEW : HEALED))
  world.mayLose = false
  // What snapshots still show of it.
  for (const { of } of all) for (const { mark } of of.values()) mark.undo()
  return all.length
}

function look(world: World, client: SimClient, { lba }: Lost, random: Random): void {
  for (let reads = random.pick([1, 1, 2]); reads > 0; reads--) expect(world, client, read(lba), 'damaged')
  if (random.chance(0.3)) expect(world, client, narrow(lba), 'damaged')
}

/** A node stands still for longer than the others put up with; nobody may speak for it. */
function waitForOne(world: World, client: SimClient, lba: number, node: SimNode): void {
  const { graceMs, evictAfterMs } = world.swarm
  node.pause()
  const { tag } = client.begin(read(lba))
  const answer = (): string | undefined => world.users.heard.get(`${client.name} ${tag}`)
  const untilMs = world.clock.nowMs() + 2 * (graceMs + evictAfterMs)
  while (answer() === undefined && world.clock.nowMs() < untilMs && world.clock.step());
  const result = answer()
  if (result !== undefined && result !== 'timeout') {
    const message = `a read of block ${lba} was ${result} while ${node.name}, a member, stood still`
    world.judge.report([{ checker: 'lost-blocks', message }])
  }
  node.resume()
  expect(world, client, read(lba), 'damaged')
}

const HEALED = ['write', 'trim', 'back', 'back'] as const
const MADE_ANEW = ['write', 'trim'] as const

function heal(world: World, client: SimClient, { lba, stamp, of }: Lost, how: (typeof HEALED)[number]): void {
  if (how === 'back') {
    const random = new Random(`given back ${world.swarm.seed} ${lba}`)
    random.pick([...of.values()]).mark.undo()
    expect(world, client, read(lba), 'ok', stamp)
    return
  }
  overwrite(world, client, lba, how)
}
