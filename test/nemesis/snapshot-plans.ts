/** Snapshots, group snapshots and clones of volumes under load, read and judged later, and deleted again. */
import { FUA, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Random } from '../sim/random.ts'
import type { Fault } from './fault.ts'
import { idFrom, imageOf, judge, known, onExport } from './kept-snapshots.ts'
import type { KeptSnapshot } from './kept-snapshots.ts'
import type { Scene, SceneVolume } from './scene.ts'

/** Each keeps what is overwritten; the oldest one goes. */
const KEPT_MAX = 2
const CLONE_WRITES = 8
const BLOCKS_NAMED = 10

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

/** A clone is made: of what instant of which volume it is. @returns undefined: it was refused, and is not there */
async function makeClone(scene: Scene, random: Random, name: string): Promise<
  (Pick<KeptSnapshot, 'since' | 'instants'> & { source: string }) | undefined
> {
  const order = (source: string) => async (): Promise<boolean> => {
    const parameters = { 'clone-of': source, replicas: '1' }
    try {
      await scene.ask((control) => control.createVolume({ name, sizeBytes: 0, parameters }))
      return true
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      const look = (control: ControlClient) => control.getVolume({ name })
      return (await known(scene, name, look, 'volume-not-found')) !== undefined
    }
  }
  const kept = scene.snapshots.all.at(-1)
  if (kept !== undefined && random.chance(0.5)) {
    const instant = random.pick(kept.instants)
    const source = `${instant.volume.name}@${kept.name}`
    return (await order(source)()) ? { since: kept.since, instants: [instant], source } : undefined
  }
  const volume = random.pick(scene.volumes)
  const made = await scene.snapshots.during([volume], order(volume.name))
  return made && { ...made, source: volume.name }
}

type Blocks = Map<number, Buffer>

/** Blocks by draw, of bytes by draw. @returns which, and with what */
async function writeSome(scene: Scene, random: Random, name: string, count: number): Promise<Blocks> {
  const written: Blocks = new Map()
  while (written.size < CLONE_WRITES) written.set(random.int(count), Buffer.alloc(BLOCK_BYTES, 1 + random.int(255)))
  await onExport(scene, name, random, async (connection) => {
    for (const [block, data] of written) {
      const answer = await connection.ask({ type: WRITE, flags: FUA, offset: block * BLOCK_BYTES, data })
      if (answer === 'closed') return answer
      if (answer.errno !== 0) throw new Error(`${name}: a write is answered with error ${answer.errno}`)
    }
    return true
  })
  return written
}

async function shows(scene: Scene, random: Random, name: string, blocks: Blocks, words: string): Promise<void> {
  await onExport(scene, name, random, async (connection) => {
    for (const [block, data] of blocks) {
      const answer = await connection.ask({ type: READ, offset: block * BLOCK_BYTES, length: BLOCK_BYTES })
      if (answer === 'closed') return answer
      if (answer.errno !== 0) throw new Error(`${name} ${words}: a read is answered with error ${answer.errno}`)
      if (!answer.data.equals(data)) throw new Error(`${name} ${words}: block ${block} is not what it was`)
    }
    return true
  })
}

function differing(one: Buffer, other: Buffer): string {
  const blocks: number[] = []
  for (let at = 0; at < Math.max(one.length, other.length); at += BLOCK_BYTES) {
    const end = at + BLOCK_BYTES
    if (!one.subarray(at, end).equals(other.subarray(at, end))) blocks.push(at / BLOCK_BYTES)
  }
  return `${blocks.length} blocks are not what they were: ${blocks.slice(0, BLOCKS_NAMED).join(', ')}`
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
      // Also of one that was refused: it may have come since.
      const gone = (control: ControlClient) => control.deleteVolume({ name, force: true, purge: true })
      await known(scene, name, gone, 'volume-not-found')
      return clone && `${name} of ${clone.source}`
    },
  },
]
