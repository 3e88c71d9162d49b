/**
 * An error at the n-th read, write, sync or index operation, for each n in turn (reliability.md 3.4, C5): the disk that
 * failed says so, nothing on it is acknowledged any more and its sync is never tried again, the volumes of the other
 * disk go on, one failed read does no harm, and after a restart everything that was acknowledged is there.
 *
 * Two disks: volume `a` lies on the first one, where the error is, `b` on the second, `wide` on both. After the work
 * the process is killed, or the power is cut and only what was synced is left. In the second part the error comes while
 * a killed store opens, once or at one place for good, and the start after that one has to find everything.
 *
 * CRASH_ALL=1 takes every n, else a selection that is spread over all of them.
 */
import t from 'tap'
import type { DiskPort } from '../../engine/ports.ts'
import type { StoreDisk } from '../../engine/volume/store-disks.ts'
import { fsck } from '../sim/fsck.ts'
import { StoreWorld } from '../sim/store-world.ts'
import { freeze, openStore, ScriptedWork, thaw, workVolume, type Frozen } from './scripted-work.ts'

// The machine may be busy, and all states take minutes.
t.setTimeout(1_800_000)

const ALL = process.env.CRASH_ALL === '1'
const STATES_EACH = 20
const SLICE_BLOCKS = 262144
const OPERATIONS = ['read', 'write', 'sync', 'batch', 'get', 'range', 'clear'] as const
type Operation = (typeof OPERATIONS)[number]
const TAGS = [['one'], ['two']]

/** What the engine knew and did afterwards, as seen at its door. */
interface Door {
  /** It was told of a failed write or sync. */
  told: boolean
  syncsAfter: number
  writesAfter: number
}

/** The first disk behind a door that watches. */
function watched(disk: StoreDisk, i: number, door: Door): StoreDisk {
  if (i > 0) return disk
  const port = disk.context.disk
  const tell = (done: (ok: boolean) => void) => (ok: boolean) => {
    if (!ok) door.told = true
    done(ok)
  }
  const through: DiskPort = {
    sizeBytes: port.sizeBytes,
    tryRead: (offset, into) => port.tryRead(offset, into),
    read: (offset, into, done) => port.read(offset, into, done),
    readMedium: (offset, length, done) => port.readMedium(offset, length, done),
    write: (offset, buffers, done) => {
      if (door.told) door.writesAfter++
      return port.write(offset, buffers, tell(done))
    },
    sync: (done) => {
      if (door.told) door.syncsAfter++
      port.sync(tell(done))
    },
    dropCache: (done) => port.dropCache(done),
  }
  return { ...disk, context: { ...disk.context, disk: through } }
}

/** The first disk, of which the place of the n-th read can never be read. */
function withBadPlace(disk: StoreDisk, i: number, n: number): StoreDisk {
  if (i > 0) return disk
  const port = disk.context.disk
  let reads = 0
  let bad: [from: number, end: number] | undefined
  const through: DiskPort = {
    sizeBytes: port.sizeBytes,
    tryRead: () => false,
    read: (offset, into, done) => {
      const end = offset + into.byteLength
      if (++reads === n) bad = [offset, end]
      const isBad = bad !== undefined && offset < bad[1] && end > bad[0]
      port.read(offset, into, (ok) => done(ok && !isBad))
    },
    readMedium: (offset, length, done) => port.readMedium(offset, length, done),
    write: (offset, buffers, done) => port.write(offset, buffers, done),
    sync: (done) => port.sync(done),
    dropCache: (done) => port.dropCache(done),
  }
  return { ...disk, context: { ...disk.context, disk: through } }
}

const EMPTY: Frozen = {
  options: new StoreWorld({
    seed: 1, disks: 2, segments: 12, segmentBytes: 64 * 1024, checkpointBytes: 128 * 1024, pendingMax: 60, pagesMax: 3,
  }).options,
  disks: [],
  indexes: [],
}

function emptyWorld(): StoreWorld {
  const { disks, indexes } = new StoreWorld(EMPTY.options)
  const frozen = {
    ...EMPTY,
    disks: disks.map((disk) => disk.image({ kind: 'all' })),
    indexes: indexes.map((index) => index.image({ kind: 'all' })),
  }
  // Every read goes through the port that can fail.
  return thaw(frozen, { seed: 1, tryReadMissChance: 1 })
}

const newWork = (): ScriptedWork =>
  new ScriptedWork(1, [
    workVolume('a', 1, [[0, 20]], ['one']),
    workVolume('b', 1, [[0, 20]], ['two']),
    workVolume('wide', 2048, [[0, 6], [SLICE_BLOCKS, 6]]),
  ])

/** How often each operation is done on the first disk and its index. */
function countsOf(world: StoreWorld): Record<Operation, number> {
  const { read, write, sync } = world.disks[0]!.counts
  const { batch, get, range, clear } = world.indexes[0]!.counts
  return { read, write, sync, batch, get, range, clear }
}

function failAt(world: StoreWorld, operation: Operation, n: number): void {
  if (operation === 'read' || operation === 'write' || operation === 'sync') world.disks[0]!.failAt(operation, n)
  else world.indexes[0]!.failAt(operation, n)
}

/** The last ones lie behind the last checkpoint that is asked for. */
const ROUNDS = 28

/** The work with an error; sentences that say what is wrong. */
function runWork(
  operation: Operation | undefined,
  n: number,
): { reached: boolean; world: StoreWorld; problems: string[]; work: ScriptedWork } {
  const problems: string[] = []
  const world = emptyWorld()
  const work = newWork()
  const door: Door = { told: false, syncsAfter: 0, writesAfter: 0 }
  if (operation !== undefined) failAt(world, operation, n)
  openStore(world, { tags: TAGS, change: (disk, i) => watched(disk, i, door) })
  const inOpening = operation !== undefined && countsOf(world)[operation] >= n
  const status = (path = 'disk0') => world.store!.disks().find((disk) => disk.path === path)!
  const failed = (): boolean => status().state === 'failed'
  work.mark = () => failed()
  work.onAnswer = ({ name }, errno, begunFailed) => {
    if (name === 'a' && errno === 0 && begunFailed === true) problems.push('a write after the failure is acknowledged')
    if (name === 'a' && errno === 0 && failed()) problems.push('a write is acknowledged by a failed disk')
    if (name === 'a' && errno !== 0 && !failed()) problems.push(`an online disk answers errno ${errno}`)
    if (name === 'b' && errno !== 0) problems.push(`a write to the other disk ends with errno ${errno}`)
  }
  work.run(world, {
    rounds: ROUNDS,
    eachRound: (round) => {
      if (round % 4 !== 3) return
      const failedBefore = failed()
      const back = work.readBack(world, failedBefore ? work.volumes.slice(1, 2) : work.volumes)
      problems.push(...back.wrong)
      // The index is not read twice: an error there is an error of the request.
      const fromIndex = operation === 'get' || operation === 'range'
      // Nor is a disk that failed while it was read.
      if (back.eio > 0 && !fromIndex && failed() === failedBefore) problems.push(`${back.eio} blocks cannot be read`)
    },
  })
  const reached = operation !== undefined && countsOf(world)[operation] >= n
  if (!reached) return { reached, world, problems, work }
  const mustFail = operation === 'write' || operation === 'sync' || operation === 'batch'
  if (mustFail && !failed()) problems.push('the disk does not say that it failed')
  // A disk that cannot be opened is refused in words; one that is served takes a second look.
  if (operation === 'read' && failed() && !inOpening) problems.push(`one read fails the disk: ${status().reason}`)
  if (failed() && status().reason === '') problems.push('the disk failed without a reason')
  if (status('disk1').state !== 'online') problems.push('the other disk is not online')
  if (door.syncsAfter > 0) problems.push(`${door.syncsAfter} syncs after a failure`)
  if (door.writesAfter > 0) problems.push(`${door.writesAfter} writes after a failure`)
  return { reached, world, problems, work }
}

/** What a start without errors finds. */
function checkRestart(frozen: Frozen, work: ScriptedWork, lost: boolean): string[] {
  const world = thaw(frozen, { seed: 7, lost })
  openStore(world, { tags: TAGS })
  const back = work.readBack(world)
  const problems = back.wrong.map((what) => `after the restart ${what}`)
  if (back.eio > 0) problems.push(`${back.eio} blocks cannot be read after the restart`)
  for (const { path, state, reason } of world.store!.disks())
    if (state !== 'online') problems.push(`after the restart ${path} is refused: ${reason}`)
  return [...problems, ...fsck(world).map((what) => `after the restart: ${what}`)]
}

function spread(total: number): number[] {
  const each = ALL ? 1 : Math.max(1, total / STATES_EACH)
  return Array.from({ length: Math.ceil(total / each) }, (_, i) => 1 + Math.floor(i * each))
}

/** In words whatever goes wrong, an assertion of the engine too. */
function inWords(run: () => string[]): string[] {
  try {
    return run()
  } catch (error) {
    return [(error as Error).message]
  }
}

for (const operation of OPERATIONS)
  t.test(`an error at each ${operation}`, (t) => {
    const calm = runWork(undefined, 0)
    t.same(calm.problems, [], 'nothing is wrong without an error')
    const total = countsOf(calm.world)[operation]
    const wrong: string[] = []
    let reached = 0
    for (const n of spread(total)) {
      const problems = inWords(() => {
        const one = runWork(operation, n)
        if (!one.reached) return one.problems
        reached++
        const { world, work } = one
        return [...one.problems, ...checkRestart(freeze(world, n % 2 === 0 ? 'kill' : 'power'), work, n % 3 === 0)]
      })
      wrong.push(...problems.slice(0, 3).map((what) => `${operation} ${n}: ${what}`))
    }
    t.comment(`${operation}: ${reached} of ${total} places`)
    t.same(wrong.slice(0, 12), [])
    t.end()
  })

for (const lost of [false, true])
  t.test(`an error while a store opens, its index ${lost ? 'lost' : 'there'}`, (t) => {
    const { world, work } = runWork(undefined, 0)
    const frozen = freeze(world, 'kill')
    const calm = thaw(frozen, { seed: 2, lost, tryReadMissChance: 1 })
    openStore(calm, { tags: TAGS })
    const totals = countsOf(calm)
    const wrong: string[] = []
    const tryPlace = (what: string, n: number, operation?: Operation): void => {
      const problems = inWords(() => {
        const world = thaw(frozen, { seed: 2, lost, tryReadMissChance: 1 })
        if (operation !== undefined) failAt(world, operation, n)
        const change = (disk: StoreDisk, i: number) => (operation === undefined ? withBadPlace(disk, i, n) : disk)
        openStore(world, { tags: TAGS, change })
        const back = work.readBack(world)
        const restarted = checkRestart(freeze(world, 'kill'), work, false)
        return [...back.wrong.map((one) => `in the start with the error ${one}`), ...restarted]
      })
      wrong.push(...problems.slice(0, 3).map((one) => `${what} ${n}: ${one}`))
    }
    for (const operation of OPERATIONS) {
      const places = spread(totals[operation])
      for (const n of places) tryPlace(operation, n, operation)
      t.comment(`${operation}: ${places.length} of ${totals[operation]} places`)
    }
    for (const n of spread(totals.read)) tryPlace('bad place of read', n)
    t.same(wrong.slice(0, 12), [])
    t.end()
  })
