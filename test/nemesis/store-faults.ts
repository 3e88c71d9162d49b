/** Faults of the cluster store (row 22): it dies, stands still, is slow, full, or an old backup of itself. */
import { cpSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from './fault.ts'
import { MOUNT_MISSING } from './small-file-system.ts'
import { inject, straceMissing } from './system-call-faults.ts'

const AWAY_MS = 6000
const SLOW_MS = 5000

/** What lies in a folder, without the folder: it may be a mount point. */
function replaceContent(from: string, to: string): void {
  for (const name of readdirSync(to)) rmSync(path.join(to, name), { recursive: true })
  cpSync(from, to, { recursive: true })
}

export const STORE_FAULTS: readonly Fault[] = [
  {
    row: 22, name: 'the store is killed', kind: 'path',
    async run({ cluster: { storeProcess } }, random) {
      const forMs = random.int(AWAY_MS)
      await storeProcess.kill()
      await sleep(forMs)
      await storeProcess.start()
      return `for ${forMs} ms`
    },
  },
  {
    row: 22, name: 'the store stands still', kind: 'path',
    async run({ cluster: { storeProcess } }, random) {
      const forMs = random.int(AWAY_MS)
      storeProcess.signal('SIGSTOP')
      await sleep(forMs)
      storeProcess.signal('SIGCONT')
      return `for ${forMs} ms`
    },
  },
  {
    row: 22, name: 'the disk of the store is slow', kind: 'path', missing: straceMissing,
    async run({ cluster: { storeProcess: { pid } }, folder }, random) {
      const delayMs = 50 + random.int(1000)
      const what = `delay_enter=${delayMs * 1000}`
      const count = await inject({ pid, calls: 'fdatasync,fsync', what, forMs: SLOW_MS, folder })
      return count === 0 ? undefined : `${count} syncs, ${delayMs} ms each`
    },
  },
  {
    row: 13, name: 'the disk of the store is full', kind: 'media',
    missing: ({ small }) => (small.store === undefined ? MOUNT_MISSING : undefined),
    async run({ cluster: { storeProcess }, small }, random) {
      const forMs = 1000 + random.int(AWAY_MS)
      small.store!.fill()
      // It beats every second; what it cannot store ends it, with a sentence.
      const hasEnded = await Promise.race([storeProcess.ended().then(() => true), sleep(forMs, false)])
      small.store!.free()
      await storeProcess.kill()
      await storeProcess.start()
      return hasEnded ? 'it ended' : `for ${forMs} ms`
    },
  },
  {
    row: 22, name: 'an old backup takes the place of the store', kind: 'media',
    async run(scene) {
      const { storeProcess } = scene.cluster
      const [old, now] = [`${scene.folder}/store.old`, `${scene.folder}/store.now`]
      await storeProcess.kill()
      cpSync(storeProcess.dir, old, { recursive: true })
      await storeProcess.start()
      await scene.progress(20)
      await storeProcess.kill()
      cpSync(storeProcess.dir, now, { recursive: true })
      replaceContent(old, storeProcess.dir)
      await storeProcess.start()
      // Nobody believes it, and nobody needs one.
      await scene.progress(50)
      await storeProcess.kill()
      replaceContent(now, storeProcess.dir)
      await storeProcess.start()
      for (const dir of [old, now]) rmSync(dir, { recursive: true })
      return 'and goes again'
    },
  },
]
