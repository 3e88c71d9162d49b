/**
 * The pool of a node that leads is full: a volume with its only copy there takes all the room, until writes of another
 * one are held. Then there is room again. Nobody gets an error, and the lead stays where it is (SPEC D6).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdConnection, TRIM, WRITE } from '../../cli/load/nbd-connection.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import type { Fault } from './fault.ts'
import type { Scene, SceneVolume } from './scene.ts'

const ENOSPC = 28
const HELD_MS = 4000
/** The cleaner finds room for a while. */
const FULL_WITHIN_MS = 90_000
const PROGRESS = 20
const BALLAST = 'ballast'

export const FULL_POOL: Fault = {
  row: 13, name: 'the pool of a node that leads is full', kind: 'media',
  async run(scene, random) {
    const { mediaNode: node } = scene
    const there: SceneVolume[] = []
    for (const volume of scene.volumes) {
      if ((await scene.config(volume)).members[node.name] !== undefined) there.push(volume)
    }
    if (there.length === 0) return undefined
    const volume = random.pick(there)
    const heldMs = 1000 + random.int(HELD_MS)
    const isTrimmed = random.chance(0.5)
    const isReplaced = random.chance(0.5)
    await scene.leadBy(volume, node)
    await makeBallast(scene)
    await cordonOthers(scene, true)
    const connection = (await NbdConnection.open(node.paths.nbd, BALLAST, true))!
    const length = await fillUntilHeld(scene, volume, connection)
    if (isReplaced) await cordonOthers(scene, false)
    await sleep(heldMs)
    const { primary } = await scene.config(volume)
    if (isTrimmed) await ask(connection, { type: TRIM, offset: 0, length })
    await connection.disconnect()
    if (isTrimmed) await scene.progress(PROGRESS)
    await scene.ask((control) => control.deleteVolume({ name: BALLAST, force: true, purge: true }))
    if (!isReplaced) await cordonOthers(scene, false)
    await scene.progress(PROGRESS)
    const how = isTrimmed ? 'trimmed' : 'deleted'
    const leads = primary === node.name ? 'which led on' : `which ${primary} led`
    return `${node.name}, by ${Math.round(length / MIB)} MiB, held for ${heldMs} ms, ${how}; ${volume.name}, ${leads}`
  },
}

/** Then nobody takes copies away from the node that gets full, nor replaces those that find no room there. */
async function cordonOthers(scene: Scene, isCordoned: boolean): Promise<void> {
  for (const { name } of scene.nodes.filter((node) => node !== scene.mediaNode)) {
    await scene.ask((control) => control.setNodeWish({ name, isCordoned, isDraining: false }))
  }
}

/** As large as a disk, with its only copy on the node. */
async function makeBallast(scene: Scene): Promise<void> {
  const { mediaNode: node } = scene
  const sizeBytes = node.config.disks[0]!.sizeBytes!
  const parameters = { replicas: '0', 'on-full': 'error' }
  const wish = { name: BALLAST, sizeBytes, parameters }
  const { id } = await scene.ask((control) => control.createVolume(wish))
  await scene.moveHere({ name: BALLAST, id }, node.name)
}

type Request = Parameters<NbdConnection['ask']>[0]

async function ask(connection: NbdConnection, request: Request): Promise<number> {
  const answer = await connection.ask(request)
  if (answer === 'closed') throw new Error('the connection of what fills the pool is closed')
  return answer.errno
}

/** @returns how many bytes it took */
async function fillUntilHeld(scene: Scene, { name }: SceneVolume, connection: NbdConnection): Promise<number> {
  const untilMs = performance.now() + FULL_WITHIN_MS
  let taken = 0
  for (let length = MIB; ; ) {
    const errno = await ask(connection, { type: WRITE, offset: taken, data: Buffer.alloc(length, 1) })
    if (errno === 0) taken += length
    else if (errno !== ENOSPC) throw new Error(`what fills the pool gets errno ${errno}`)
    else if (length > BLOCK_BYTES) length /= 4
    else {
      const { health, heldRequests } = await scene.ask((control) => control.getVolume({ name }))
      if (health === 'suspended' && heldRequests > 0) return taken
      if (performance.now() > untilMs) throw new Error(`${name} is ${health}, although there is no room left`)
    }
  }
}
