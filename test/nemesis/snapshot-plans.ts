/** Snapshots, group snapshots and clones of volumes under load, read and judged later, and deleted again. */
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Random } from '../sim/random.ts'
import { differing, makeClone, purge, shows, writeSome } from './clones.ts'
import type { Fault } from './fault.ts'
import { idFrom, imageOf, judge, known } from './kept-snapshots.ts'
import type { Scene, SceneVolume } from './scene.ts'

/** Each keeps what is overwritten; the oldest one goes. */
const KEPT_MAX = 2

/** @returns words about what was deleted for it, after it was judged once more */
async function makeRoom(scene: Scene, random: Random): Promise<string> {
  const { snapshots } = scene
  const [oldest] = snapshots.all
  if (snapshots.all.length < KEPT_MAX || oldest === undefined) return ''
  await snapshots.judge(oldest, random)
  await snapshots.remove(oldest)
  return `; ${oldest.name} is deleted`
}

async function takeSnapshot(
  scene: Scene, random: Random, volumes: readonly SceneVolume[], isGroup: boolean,
): Promise<string | undefined> {
  const deleted = await makeRoom(scene, random)
  const kept = await scene.snapshots.take(volumes, isGroup, random)
  if (kept === undefined) return undefined
  const isReadNow = random.chance(0.5)
  if (isReadNow) await scene.snapshots.judge(kept, random)
  const of = volumes.map(({ name }) => name).join(' and ')
  return `${kept.name} of ${of}${isReadNow ? ', read at once' : ''}${deleted}`
}

export const SNAPSHOT_PLANS: readonly Fault[] = [
  {
    row: 'snapshots', name: 'a snapshot is taken', kind: 'plan',
    run: (scene, random) => takeSnapshot(scene, random, [random.pick(scene.volumes)], false),
  },
  {
    row: 'snapshots', name: 'a group snapshot is taken', kind: 'plan',
    run(scene, random) {
      const left = random.pick(scene.volumes)
      return takeSnapshot(scene, random, scene.volumes.filter((volume) => volume !== left), true)
    },
  },
  {
    row: 'snapshots', name: 'a clone is made, written, rolled back and deleted', kind: 'plan',
    async run(scene, random) {
      const name = scene.snapshots.name('c')
      const clone = await makeClone(scene, random, name)
      if (clone !== undefined) {
        const image = await imageOf(scene, name, random)
        judge(`${name}, a clone of ${clone.source},`, clone, new Map([[clone.instants[0]!.volume.name, image]]))
        const [base, kept] = [idFrom(random), idFrom(random)]
        const snapshot = { volume: name, name: 'base', labels: {}, id: base }
        await known(scene, name, (control) => control.createSnapshot(snapshot))
        const written = await writeSome(scene, random, name, image.length / BLOCK_BYTES)
        await shows(scene, random, name, written, 'after writes')
        const rollback = { volume: name, to: 'base', keepAs: 'kept', force: true, id: kept }
        await known(scene, name, (control) => control.rollBackVolume(rollback))
        await shows(scene, random, `${name}@kept`, written, 'which keeps what was rolled away')
        const back = await imageOf(scene, name, random)
        if (!back.equals(image)) throw new Error(`${name} after a rollback: ${differing(back, image)}`)
      }
      await purge(scene, name)
      return clone && `${name} of ${clone.source}`
    },
  },
]
