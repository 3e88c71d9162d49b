/** Rollbacks of volumes whose clients have left, hydration of clones in use, and scrubs, while other faults go on. */
import { setTimeout as sleep } from 'node:timers/promises'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Random } from '../sim/random.ts'
import { differing, makeClone, purge, shows, writeSome } from './clones.ts'
import type { Fault } from './fault.ts'
import { idFrom, imageOf, judge, known } from './kept-snapshots.ts'
import { allowed } from './plan-faults.ts'
import type { Scene, SceneVolume } from './scene.ts'

/** A hydration goes on whatever is done to its nodes, but for those that are away. */
const HYDRATED_MS = 90_000
/** A scrub that a node left goes on within a minute of its next start, which nobody waits for. */
const SCRUBBED_MS = 20_000
const LOOK_MS = 200

/**
 * Its client has left; what it shows then is what its snapshot showed, and what it showed before is kept.
 * @returns the name of what is kept
 */
async function rollBack(scene: Scene, random: Random, volume: SceneVolume, to: string): Promise<string> {
  const { name } = volume
  const target = await imageOf(scene, `${name}@${to}`, random)
  const keepAs = scene.snapshots.name('r')
  const id = idFrom(random)
  const { generation: before } = (await scene.config(volume)).attach
  const kept = await scene.snapshots.during([volume], async () => {
    const wish = { volume: name, to, keepAs, force: false, id }
    await known(scene, keepAs, (control) => control.rollBackVolume(wish))
    return true
  })
  // These are no breaks of its session.
  volume.generation += (await scene.config(volume)).attach.generation - before
  const image = await imageOf(scene, name, random)
  // What it grew by since then shows nothing.
  const wanted = Buffer.alloc(image.length)
  target.copy(wanted)
  if (!image.equals(wanted)) throw new Error(`${name}, rolled back to ${to}: ${differing(image, wanted)}`)
  const past = await imageOf(scene, `${name}@${keepAs}`, random)
  judge(`${name}@${keepAs}, which keeps what was rolled away,`, kept!, new Map([[name, past]]))
  volume.client.shows(image)
  return keepAs
}

async function forget(scene: Scene, volume: string, name: string): Promise<void> {
  const order = { volume, name, id: '' }
  await known(scene, name, (control) => control.deleteSnapshot(order), 'snapshot-not-found')
}

/** @returns words about what was done */
async function backAndForth(scene: Scene, random: Random, volume: SceneVolume, to: string): Promise<string> {
  const { client, name } = volume
  await client.leave()
  const kept = [await rollBack(scene, random, volume, to)]
  const isUndone = random.chance(0.4)
  if (isUndone) kept.push(await rollBack(scene, random, volume, kept[0]!))
  client.comeBack()
  client.start()
  for (const one of kept) await forget(scene, name, one)
  return `${name} to ${to}${isUndone ? ', and forth again' : ''}`
}

/** Each copy has blocks of its own for all that it shows. */
async function hydrated(scene: Scene, name: string): Promise<void> {
  for (const untilMs = performance.now() + HYDRATED_MS; ; await sleep(LOOK_MS)) {
    const { copies } = await known(scene, name, (control) => control.hydrateVolume({ name }))
    const left = copies.filter(({ sharedSlices, why }) => sharedSlices > 0 || why !== '')
    if (left.length === 0) return
    if (performance.now() > untilMs) throw new Error(`${name} is not hydrated: ${JSON.stringify(left)}`)
  }
}

export const ROLLBACK_PLANS: readonly Fault[] = [
  {
    row: 'snapshots', name: 'volumes are rolled back', kind: 'plan',
    async run(scene, random) {
      if (scene.snapshots.all.length === 0) return undefined
      const { name, instants } = random.pick(scene.snapshots.all)
      const done = await Promise.all(instants.map(({ volume }) => {
        return backAndForth(scene, random.fork(volume.name), volume, name)
      }))
      return done.join(', ')
    },
  },
  {
    row: 'snapshots', name: 'a clone gets blocks of its own while it is used', kind: 'plan',
    async run(scene, random) {
      const name = scene.snapshots.name('h')
      const clone = await makeClone(scene, random, name)
      let words = ''
      if (clone !== undefined) {
        const image = await imageOf(scene, name, random)
        judge(`${name}, a clone of ${clone.source},`, clone, new Map([[clone.instants[0]!.volume.name, image]]))
        const written = await writeSome(scene, random, name, image.length / BLOCK_BYTES)
        for (const [block, data] of written) data.copy(image, block * BLOCK_BYTES)
        const kept = scene.snapshots.all.find((one) => clone.source.endsWith(`@${one.name}`))
        if (kept !== undefined && random.chance(0.5)) {
          await scene.snapshots.remove(kept)
          words = `, whose snapshot is deleted`
        }
        await Promise.all([hydrated(scene, name), shows(scene, random, name, written, 'while it is hydrated')])
        const now = await imageOf(scene, name, random)
        if (!now.equals(image)) throw new Error(`${name}, hydrated: ${differing(now, image)}`)
      }
      await purge(scene, name)
      return clone && `${name} of ${clone.source}${words}`
    },
  },
  {
    row: 'snapshots', name: 'a volume is scrubbed, and its copies are compared', kind: 'plan',
    async run(scene, random) {
      const { name } = random.pick(scene.volumes)
      const look = async () => (await allowed(scene.ask((control) => control.getVolume({ name }))))?.copies ?? []
      const before = new Map((await look()).map(({ node, scrubbedAtMs }) => [node, scrubbedAtMs]))
      const asked = await allowed(scene.ask((control) => control.scrubVolume({ name, isDeep: true })))
      if (asked === undefined || asked.nodes.length === 0) return undefined
      let left: string[] = asked.nodes
      for (const untilMs = performance.now() + SCRUBBED_MS; left.length > 0; await sleep(LOOK_MS)) {
        const copies = await look()
        for (const { node, differences } of copies) {
          if (differences > 0) throw new Error(`${name}: ${node} found ${differences} differences between its copies`)
        }
        const isDone = (of: string): boolean =>
          copies.some(({ node, scrubbedAtMs, isScrubbing }) =>
            node === of && scrubbedAtMs !== before.get(node) && !isScrubbing)
        left = left.filter((node) => !isDone(node))
        if (performance.now() > untilMs) break
      }
      const done = asked.nodes.filter((node) => !left.includes(node))
      return done.length === 0 ? undefined : `${name} on ${done.join(', ')}`
    },
  },
]
