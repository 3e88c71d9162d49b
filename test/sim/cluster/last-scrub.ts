/**
 * The end of a run: many blocks of many copies are damaged, of each as many as the atlas allows, so that one member of
 * the set has it whole. Then every copy is scrubbed. Nothing may be left that cannot be read, nor counted as such.
 */
import { compareDigests, type SliceDigest } from '../../../engine/volume/digest-comparison.ts'
import { Random } from '../random.ts'
import type { ScrubFound } from './node-disk.ts'
import { mayDamage, noteDamage } from './shared-damage.ts'
import type { SimNode } from './sim-node.ts'
import type { StoredVersion } from './stored-versions.ts'
import type { World } from './world.ts'
import { waitFor } from './world-wait.ts'

/** Versions of a run that are damaged at the most: each is repaired. */
const DAMAGED_MOST = 200
const TRIES_MOST = 20
const TRY_AGAIN_MS = 2000

/** @returns how many versions were damaged */
export function damageMany(world: World, nodes: readonly SimNode[]): number {
  const random = new Random(`last scrub ${world.swarm.seed} ${world.volumeId}`)
  const share = random.pick([0, 0.05, 0.3, 1])
  const sectors = random.pick(['one', 'all'] as const)
  // Nothing was written since everything is well, and repairs are.
  for (const node of nodes) node.disk.landWrites()
  let damaged = 0
  for (const node of random.shuffle([...nodes])) {
    const versions = waitFor<StoredVersion[] | undefined>(world, (done) => node.disk.stored(done))
    for (const version of random.shuffle(versions ?? [])) {
      if (damaged >= DAMAGED_MOST || !random.chance(share)) continue
      if (!mayDamage(world, node.name, version.lba)) continue
      const mark = node.disk.rotVersion(random, version, sectors)
      if (mark === undefined) continue
      noteDamage(world, node.name, mark)
      damaged++
    }
  }
  return damaged
}

export function scrubAll(world: World, nodes: readonly SimNode[]): void {
  const ended = new Map<SimNode, ScrubFound | undefined>()
  for (const node of nodes) scrub(world, node, TRIES_MOST, (found) => void ended.set(node, found))
  while (ended.size < nodes.length && world.clock.step());
  for (const node of nodes) {
    const problem = problemOf(ended.get(node))
    if (problem === undefined) continue
    world.judge.report([{ checker: 'scrub-repairs', message: `the scrub of ${node.name} ${problem}` }])
  }
}

/** All copies show the same, by the digests that they compare (SCRUB.md section 4). */
export function compareAll(world: World, nodes: readonly SimNode[]): void {
  const digests = new Map(nodes.map((node) => [node.name, digestsOf(world, node)] as const))
  const [first, ...others] = nodes.map(({ name }) => name)
  if (first === undefined) return
  const one = digests.get(first)
  for (const name of others) {
    const other = digests.get(name)
    const isSame = (digest: SliceDigest, slice: number): boolean => {
      const there = other?.[slice]
      return there !== undefined && compareDigests(digest, there)?.differing.size === 0
    }
    if (one?.every(isSame) === true && one.length === other?.length) continue
    const message = `${first} and ${name} do not have the same digests`
    world.judge.report([{ checker: 'scrub-repairs', message }])
  }
}

/** One that was let go while it was scrubbed, because it was slow, is filled first. */
function digestsOf(world: World, { disk }: SimNode): SliceDigest[] | undefined {
  for (let tries = 0; tries < TRIES_MOST; tries++) {
    const digests = waitFor<SliceDigest[] | undefined>(world, (done) => disk.digests(done))
    if (digests !== undefined) return digests
    waitFor<void>(world, (done) => world.clock.after(TRY_AGAIN_MS, () => done()))
  }
  return undefined
}

/** One that the schedule began may be under way. */
function scrub(world: World, node: SimNode, tries: number, done: (found: ScrubFound | undefined) => void): void {
  node.disk.scrub('anew', (found) => {
    if (found !== undefined || tries === 0) done(found)
    else world.clock.after(TRY_AGAIN_MS, () => scrub(world, node, tries - 1, done))
  })
}

function problemOf(found: ScrubFound | undefined): string | undefined {
  if (found === undefined) return 'does not come to an end'
  const { damaged, unrepaired, problems } = found
  if (unrepaired > 0) return `leaves ${unrepaired} of ${damaged} damaged blocks`
  return problems > 0 ? `finds ${problems} disagreements of map and segments` : undefined
}
