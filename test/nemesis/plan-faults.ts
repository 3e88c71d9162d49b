/** What an operator does under load: moves, hand-overs, drains, evictions, larger volumes. Refusals are answers too. */
import { setTimeout as sleep } from 'node:timers/promises'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import type { Fault } from './fault.ts'
import { NAMES } from './scene.ts'

const DRAIN_MS = 4000

/** @returns undefined when it was refused */
export async function allowed<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (error instanceof HoldfastError) return undefined
    throw error
  }
}

export const PLAN_FAULTS: readonly Fault[] = [
  {
    row: 'plan', name: 'a copy is moved', kind: 'plan',
    async run(scene, random) {
      const volume = random.pick(scene.volumes)
      const { members } = await scene.config(volume)
      const to = random.pick(NAMES.filter((name) => members[name] === undefined))
      const from = random.pick(Object.keys(members))
      const wish = { name: volume.name, what: 'copy' as const, to, from }
      const moved = await allowed(scene.ask((control) => control.moveVolume(wish)))
      return moved && `${volume.name} from ${from} to ${to}`
    },
  },
  {
    row: 'plan', name: 'a lead is handed over', kind: 'plan',
    async run(scene, random) {
      const volume = random.pick(scene.volumes)
      const { primary, inSync } = await scene.config(volume)
      const to = inSync.find((name) => name !== primary)
      if (to === undefined) return undefined
      const wish = { name: volume.name, what: 'primary' as const, to, from: '' }
      const moved = await allowed(scene.ask((control) => control.moveVolume(wish)))
      return moved && `${volume.name} to ${to}`
    },
  },
  {
    row: 'plan', name: 'a node is drained, and used again', kind: 'plan',
    async run(scene, random) {
      const name = random.pick(NAMES)
      const wish = (isDraining: boolean) =>
        allowed(scene.ask((control) => control.setNodeWish({ name, isCordoned: isDraining, isDraining })))
      const began = await wish(true)
      await sleep(random.int(DRAIN_MS))
      for (const untilMs = performance.now() + 30_000; (await wish(false)) === undefined; await sleep(500)) {
        if (performance.now() > untilMs) throw new Error(`${name} cannot be used again`)
      }
      return began && name
    },
  },
  {
    row: 'plan', name: 'a disk is evicted, and used again', kind: 'plan',
    async run(scene, random) {
      const disks = await allowed(scene.ask((control) => control.listDisks()))
      if (disks === undefined || disks.disks.length === 0) return undefined
      const { uuid, node } = random.pick(disks.disks)
      const wish = (isEvicted: boolean) => allowed(scene.ask((control) => control.setDiskEvicted({ uuid, isEvicted })))
      const began = await wish(true)
      await sleep(random.int(DRAIN_MS))
      for (const untilMs = performance.now() + 30_000; (await wish(false)) === undefined; await sleep(500)) {
        if (performance.now() > untilMs) throw new Error(`the disk of ${node} cannot be used again`)
      }
      return began && `of ${node}`
    },
  },
  {
    row: 28, name: 'a volume grows', kind: 'plan',
    async run(scene, random) {
      const volume = random.pick(scene.volumes)
      const grown = await allowed(scene.ask(async (control) => {
        const { sizeBytes } = await control.getVolume({ name: volume.name })
        return control.resizeVolume({ name: volume.name, sizeBytes: sizeBytes + MIB })
      }))
      return grown && volume.name
    },
  },
  {
    row: 28, name: 'a volume shrinks', kind: 'plan',
    async run(scene, random) {
      const volume = random.pick(scene.volumes)
      const shrunk = await allowed(scene.ask(async (control) => {
        const { sizeBytes } = await control.getVolume({ name: volume.name })
        // By what it has grown: its client writes all it had when that connected.
        if (sizeBytes - MIB < volume.client.sizeBytes) return undefined
        return control.resizeVolume({ name: volume.name, sizeBytes: sizeBytes - MIB, force: true })
      }))
      return shrunk && volume.name
    },
  },
  {
    row: 'plan', name: 'a volume comes and goes', kind: 'plan',
    async run(scene, random) {
      const name = `passing-${random.u32()}`
      const wish = { name, sizeBytes: 4 * MIB, parameters: { replicas: String(random.int(3)) } }
      const made = await allowed(scene.ask((control) => control.createVolume(wish)))
      // What was refused may be there, or come yet.
      const gone = async (): Promise<boolean> => {
        const answer = await scene.ask(async (control) => {
          try {
            await control.deleteVolume({ name, force: true, purge: true })
            return 'deleted'
          } catch (error) {
            return error instanceof HoldfastError ? error.code : Promise.reject(error)
          }
        })
        return answer === 'deleted' || answer === 'volume-not-found'
      }
      for (const untilMs = performance.now() + 30_000; !(await gone()); await sleep(500)) {
        if (performance.now() > untilMs) throw new Error(`volume ${name} cannot be deleted`)
      }
      return made && name
    },
  },
]
