/**
 * Risk: after a start with another number of data workers a copy is looked for where it is not, or two workers each
 * have a part of it and take the rest for lost.
 */
import path from 'node:path'
import t from 'tap'
import { clock } from '../../dataplane/clock.ts'
import { findHomes, homeOf } from '../../dataplane/copy-homes.ts'
import type { CopyHomes } from '../../dataplane/copy-homes.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import type { PreparedDisk } from '../../dataplane/disk-preparation.ts'
import { openStore } from '../../dataplane/store-shell.ts'
import type { StoreShell } from '../../dataplane/store-shell.ts'
import type { LogPort } from '../../engine/ports.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { hex, specOf } from './copy/hosts.ts'

const log: LogPort = { event: () => undefined }
const idOf = (number: number): string => number.toString(16).padStart(8, '0') + hex().slice(8)

class Disk {
  readonly indexDir: string
  readonly #path: string

  constructor(t: Parameters<typeof temporaryFolder>[0]) {
    const dir = temporaryFolder(t)
    this.#path = path.join(dir, 'disk')
    this.indexDir = path.join(dir, 'index')
  }

  async #prepared<T>(workers: number, run: (disk: PreparedDisk) => Promise<T>): Promise<T> {
    const identity = { nodeName: 'n1', nodeId: '1'.repeat(32), clusterId: 'c'.repeat(32) }
    const option = { path: this.#path, sizeBytes: 512 * MIB, pool: 'default', tags: [] }
    const prepared = prepareDisk(option, identity, workers)
    if (!prepared.ok) throw prepared.error
    return run(prepared.value).finally(() => releaseDisk(prepared.value))
  }

  find(workers: number): Promise<CopyHomes> {
    const { indexDir } = this
    return this.#prepared(workers, (disk) => findHomes({ disks: [disk], indexDir, workers, log }))
  }

  /** All workers of a node open it, one of them is used. */
  use(workers: number, worker: number, run: (shell: StoreShell) => Promise<void>): Promise<void> {
    return this.#prepared(workers, async (disk) => {
      const barrier = new SharedArrayBuffer(4)
      const shells = await Promise.all(Array.from({ length: workers }, async (_, worker) => {
        const { indexDir } = this
        const opened = await openStore({ disks: [disk], indexDir, worker, workers, barrier, clock, log })
        if (!opened.ok) throw opened.error
        return opened.value
      }))
      await run(shells[worker]!)
      for (const shell of shells) await new Promise<void>((resolve) => shell.stop(() => resolve()))
    })
  }
}

function make(shell: StoreShell, id: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const spec = specOf({ id, name: `v${id.slice(7, 8)}` })
    shell.store.createCopy(spec, hex(), (made) => (made.ok ? resolve() : reject(made.error)))
  })
}

/** That ids of its clones have as well. */
const digits = (number: number): string => idOf(number).slice(0, 8)

t.test('copies are where their stream is, whatever the number of workers', async (t) => {
  const disk = new Disk(t)
  const [a, b] = [idOf(0), idOf(1)]
  await disk.use(2, homeOf(a, new Map(), 2), (shell) => make(shell, a))
  await disk.use(2, homeOf(b, new Map(), 2), (shell) => make(shell, b))
  t.same(await disk.find(2), new Map([[a, 0], [digits(0), 0], [b, 1], [digits(1), 1]]))
  t.same(await disk.find(3), new Map([[a, 0], [digits(0), 0], [b, 1], [digits(1), 1]]))
  t.same(await disk.find(1), new Map(), 'one worker has all')
  const c = idOf(3)
  await disk.use(1, 0, (shell) => make(shell, c))
  const homes = await disk.find(2)
  t.equal(homeOf(c, homes, 2), 0, 'not where its id says: it was made by one worker')
  t.equal(homeOf(idOf(3), homes, 2), 0, 'a clone of it is at home with it: only there it can share')
  t.equal(homeOf(idOf(5), homes, 2), 1)
})

function makeAnew({ store }: StoreShell, id: string, sizeBytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    store.removeCopy(id, () => store.createCopy(specOf({ id, name: 'v1', sizeBytes }), hex(), (made) =>
      made.ok ? resolve() : reject(made.error)))
  })
}

t.test('one that fewer workers made anew is found, or the start is refused; nothing is lost', async (t) => {
  const disk = new Disk(t)
  const id = idOf(1)
  await disk.use(2, 1, (shell) => make(shell, id))
  await disk.use(1, 0, (shell) => makeAnew(shell, id, 64 * MIB))
  t.same(await disk.find(2), new Map([[id, 1], [digits(1), 1]]), 'where its slices are')
  await disk.use(1, 0, (shell) => makeAnew(shell, id, 4 * GIB))
  const message = /^volume v1 on 2 data workers, with a copy in streams of 2 of them, is not supported; .* --workers 1$/
  await t.rejects(disk.find(2), { code: 'not-supported', message })
  await disk.use(1, 0, async ({ store }) => {
    t.equal(store.copies().get(id)?.copy.descriptor().spec.sizeBytes, 4 * GIB)
  })
})
