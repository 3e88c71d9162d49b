/**
 * Snapshots that were taken while clients wrote and faults went on: what each volume may have held at that instant is
 * known from its client, and what the snapshot shows later, through any node, is held against it.
 *
 * Every order names an id or a name that nobody else uses. So one whose outcome is not known is resolved as a user
 * would: by looking whether it is there.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { PastValue } from '../../cli/load/block-history.ts'
import { contradictions } from '../../cli/load/instant.ts'
import { NbdConnection, READ } from '../../cli/load/nbd-connection.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import type { Random } from '../sim/random.ts'
import type { Scene, SceneVolume } from './scene.ts'

/** Everything is served again after a fault. */
const SERVED_MS = 90_000
const AGAIN_MS = 300
const WORDS_MAX = 5
const READS_AT_ONCE = 4

/** What a volume may have held between two moments. */
export interface Instant {
  volume: SceneVolume
  possible: ReadonlyMap<number, readonly PastValue[]>
}

export interface KeptSnapshot {
  name: string
  /** When it was ordered, by the clock of all clients. */
  since: number
  instants: Instant[]
  isGroup: boolean
  /** By name of the volume. */
  seqs: Map<string, number>
}

export class KeptSnapshots {
  readonly all: KeptSnapshot[] = []
  readonly #scene: Scene
  #names = 0

  constructor(scene: Scene) {
    this.#scene = scene
  }

  /** That nobody had before. */
  name(prefix: string): string {
    return `${prefix}-${++this.#names}`
  }

  /**
   * What the volumes may hold at an instant while something is made.
   * @param make  whether it is there now; decided, whatever it takes
   * @returns undefined: it is not there
   */
  async during(
    volumes: readonly SceneVolume[], make: () => Promise<boolean>,
  ): Promise<Pick<KeptSnapshot, 'since' | 'instants'> | undefined> {
    const begun = volumes.map(({ client }) => client.beginInstant())
    let isMade = false
    let ended: Instant[] = []
    try {
      isMade = await make()
    } finally {
      ended = volumes.map((volume, i) => ({ volume, possible: volume.client.endInstant(begun[i]!) }))
    }
    return isMade ? { since: begun.at(-1)!, instants: ended } : undefined
  }

  /** @returns undefined: it was refused, and is not there */
  async take(volumes: readonly SceneVolume[], isGroup: boolean, random: Random): Promise<KeptSnapshot | undefined> {
    const name = this.name(isGroup ? 'g' : 's')
    const id = idFrom(random)
    const names = volumes.map((volume) => volume.name)
    const made = await this.during(volumes, async () => {
      const order = (control: ControlClient): Promise<object> => isGroup
        ? control.createGroup({ name, volumes: names, labels: {}, id })
        : control.createSnapshot({ volume: names[0]!, name, labels: {}, id })
      try {
        await this.#scene.ask(order)
        return true
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        return isGroup ? this.#isGroupThere(name) : this.#isThere(names[0]!, name)
      }
    })
    if (made === undefined) return undefined
    const seqs = new Map<string, number>()
    for (const volume of names) {
      const { seq } = await known(this.#scene, name, (control) => control.getSnapshot({ volume, name }))
      seqs.set(volume, seq)
    }
    const kept = { name, ...made, isGroup, seqs }
    this.all.push(kept)
    return kept
  }

  /** Nothing is left of it. */
  async remove(kept: KeptSnapshot): Promise<void> {
    const { name, isGroup, instants: [first] } = kept
    const gone = isGroup ? 'group-not-found' : 'snapshot-not-found'
    const order = (control: ControlClient): Promise<object> => isGroup
      ? control.deleteGroup({ name, id: '' })
      : control.deleteSnapshot({ volume: first!.volume.name, name, id: '' })
    await known(this.#scene, name, order, gone)
    this.all.splice(this.all.indexOf(kept), 1)
  }

  /** Reads all of it, through nodes by draw. @throws what no instant explains */
  async judge(kept: KeptSnapshot, random: Random): Promise<void> {
    const images = new Map<string, Buffer>()
    for (const { volume: { name } } of kept.instants) {
      images.set(name, await imageOf(this.#scene, `${name}@${kept.name}`, random))
    }
    judge(kept.name, kept, images)
  }

  async judgeAll(random: Random): Promise<void> {
    for (const kept of this.all) await this.judge(kept, random)
  }

  /** Of the snapshots of a volume that are there, for the comparison of copies. */
  viewsOf(volume: string): Array<{ view: string; viewSeq: number }> {
    return this.all.filter(({ seqs }) => seqs.has(volume))
      .map(({ name, seqs }) => ({ view: `${volume}@${name}`, viewSeq: seqs.get(volume)! }))
  }

  async #isThere(volume: string, name: string): Promise<boolean> {
    const look = (control: ControlClient) => control.getSnapshot({ volume, name })
    return (await known(this.#scene, name, look, 'snapshot-not-found')) !== undefined
  }

  async #isGroupThere(name: string): Promise<boolean> {
    for (const untilMs = performance.now() + SERVED_MS; ; await sleep(AGAIN_MS)) {
      const look = (control: ControlClient) => control.getGroup({ name })
      const group = await known(this.#scene, name, look, 'group-not-found')
      if (group === undefined || group.state === 'made') return group !== undefined
      if (performance.now() > untilMs) throw new Error(`group snapshot ${name} stays ${group.state}`)
    }
  }
}

/** @param images  by name of the volume @throws words about what no instant explains */
export function judge(
  name: string, { since, instants }: Pick<KeptSnapshot, 'since' | 'instants'>, images: ReadonlyMap<string, Buffer>,
): void {
  // What a session that broke took with it, a snapshot of that time may lack.
  const judged = instants.filter(({ volume: { client } }) => client.counts.breaks === 0)
  const wrong = contradictions(since, judged.map(({ volume, possible }) => ({
    name: volume.name, possible, found: volume.client.stampsOf(images.get(volume.name)!, 0),
  })))
  if (wrong.length === 0) return
  throw new Error(`${name} shows what never was, ${wrong.length} blocks: ${wrong.slice(0, WORDS_MAX).join('; ')}`)
}

/** 32 hexadecimal digits. */
export const idFrom = (random: Random): string =>
  Array.from({ length: 4 }, () => random.u32().toString(16).padStart(8, '0')).join('')

/**
 * Asked again until the answer is known: what it asks for can be asked twice.
 * @param expected  code of a refusal that is an answer, too: undefined then
 */
export async function known<T>(
  scene: Scene, what: string, ask: (control: ControlClient) => Promise<T>,
): Promise<T>
export async function known<T>(
  scene: Scene, what: string, ask: (control: ControlClient) => Promise<T>, expected: string,
): Promise<T | undefined>
export async function known<T>(
  scene: Scene, what: string, ask: (control: ControlClient) => Promise<T>, expected?: string,
): Promise<T | undefined> {
  for (const untilMs = performance.now() + SERVED_MS; ; await sleep(AGAIN_MS)) {
    try {
      // The first node that knows it is not there is enough.
      return await scene.ask((control) => ask(control).catch((error: unknown) => {
        if (error instanceof HoldfastError && error.code === expected) return undefined
        throw error
      }))
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      if (performance.now() > untilMs) throw new Error(`${what} after ${SERVED_MS / 1000} s: ${error.message}`)
    }
  }
}

/** Through nodes by draw, another one when one is gone. @throws when it is answered with an error, or not served */
export async function onExport<T>(
  scene: Scene, name: string, random: Random, use: (connection: NbdConnection) => Promise<T | 'closed'>,
): Promise<T> {
  for (const untilMs = performance.now() + SERVED_MS; ; await sleep(AGAIN_MS)) {
    const { paths } = random.pick(scene.nodes)
    const connection = await NbdConnection.open(paths.nbd, name, random.chance(0.5))
    try {
      const result = connection === undefined ? 'closed' : await use(connection)
      if (result !== 'closed') return result
    } finally {
      await connection?.disconnect()
    }
    if (performance.now() > untilMs) throw new Error(`${name} is not served after ${SERVED_MS / 1000} s`)
  }
}

/** All of what an export shows. */
export function imageOf(scene: Scene, name: string, random: Random): Promise<Buffer> {
  return onExport(scene, name, random, async (connection) => {
    const image = Buffer.alloc(connection.sizeBytes)
    const places: number[] = []
    for (let offset = 0; offset < image.length; offset += MIB) places.push(offset)
    const read = async (): Promise<'closed' | undefined> => {
      for (let offset = places.shift(); offset !== undefined; offset = places.shift()) {
        const answer = await connection.ask({ type: READ, offset, length: Math.min(MIB, image.length - offset) })
        if (answer === 'closed') return answer
        if (answer.errno !== 0) throw new Error(`${name}: a read at ${offset} is answered with error ${answer.errno}`)
        answer.data.copy(image, offset)
      }
      return undefined
    }
    const ends = await Promise.all(Array.from({ length: READS_AT_ONCE }, read))
    return ends.includes('closed') ? 'closed' : image
  })
}
