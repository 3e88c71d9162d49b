/** Clones of volumes under load: made, written, read, and compared with what they have to show. */
import { FUA, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Random } from '../sim/random.ts'
import { known, onExport } from './kept-snapshots.ts'
import type { KeptSnapshot } from './kept-snapshots.ts'
import type { Scene } from './scene.ts'

const CLONE_WRITES = 8
const BLOCKS_NAMED = 10

export type Clone = Pick<KeptSnapshot, 'since' | 'instants'> & { source: string }

/** A clone is made: of what instant of which volume it is. @returns undefined: it was refused, and is not there */
export async function makeClone(scene: Scene, random: Random, name: string): Promise<Clone | undefined> {
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

export type Blocks = Map<number, Buffer>

/** Blocks by draw, of bytes by draw. @returns which, and with what */
export async function writeSome(scene: Scene, random: Random, name: string, count: number): Promise<Blocks> {
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

export async function shows(scene: Scene, random: Random, name: string, blocks: Blocks, words: string): Promise<void> {
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

export function differing(one: Buffer, other: Buffer): string {
  const blocks: number[] = []
  for (let at = 0; at < Math.max(one.length, other.length); at += BLOCK_BYTES) {
    const end = at + BLOCK_BYTES
    if (!one.subarray(at, end).equals(other.subarray(at, end))) blocks.push(at / BLOCK_BYTES)
  }
  return `${blocks.length} blocks are not what they were: ${blocks.slice(0, BLOCKS_NAMED).join(', ')}`
}

/** Also of one that was refused: it may have come since. */
export async function purge(scene: Scene, name: string): Promise<void> {
  const gone = (control: ControlClient) => control.deleteVolume({ name, force: true, purge: true })
  await known(scene, name, gone, 'volume-not-found')
}
