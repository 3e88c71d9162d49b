/** Stops, kills and power cuts in a run: what is left is opened, and compared with what was answered. */
import { SimClock } from '../clock.ts'
import { SimDisk, type CrashChoice } from '../disk.ts'
import { SimIndex, type IndexImage } from '../index.ts'
import { Random } from '../random.ts'
import { StoreWorld } from '../store-world.ts'
import { watchAppends } from './run-appends.ts'
import { checkStore, compareAll, readAll, settle } from './run-checks.ts'
import { writeSome } from './run-requests.ts'
import { readViewAnew, rebaseViews } from './run-views.ts'
import { storeRequest } from './run-volumes.ts'
import type { ImageChoice, StoreRun } from './store-run.ts'
import { ModelError, VolumeModel } from './volume-model.ts'

/** An opening takes some hundred turns. */
const OPEN_TURNS_MAX = 300_000

export function openStore(run: StoreRun): void {
  run.counts.opens++
  run.world.start()
  run.world.clock.runUntil(() => run.world.store !== undefined, OPEN_TURNS_MAX)
  run.counts.rebuilds += run.world.events.filter(({ message }) => message.includes('rebuilt')).length
  watchAppends(run)
}

export function stopStore(run: StoreRun, x: number): void {
  settle(run)
  keepStale(run)
  run.stopping = true
  const late = run.pickVolume(x)
  if (late !== undefined && x % 2 === 0) writeSome(run, late, x, x)
  storeRequest<void>(
    run,
    (reply) => run.world.store!.stop(reply),
    () => {},
  )
  settle(run)
  run.stopping = false
  // A store that was stopped needs nothing that is not on the medium; and nothing of it is lost, written back or not.
  for (const { model } of run.volumes) model.durableSeq = model.lastSeq
  replaceWorld(
    run,
    () => ({ kind: 'synced' }),
    () => 'synced',
    false,
  )
  comeBack(run)
}

export function crash(run: StoreRun, x: number, y: number, z: number, kill: boolean): void {
  const random = new Random(`crash ${x} ${y} ${z}`)
  keepStale(run)
  for (let depth = 0; ; depth++) {
    run.counts.crashes++
    replaceWorld(
      run,
      (disk) => (kill ? 'kill' : random.pick([...disk.crashChoices(random, 8)])),
      () => random.pick(['all', 'synced', 'subset', 'all', 'synced', 'lost', 'stale', 'damaged'] as const),
      kill,
    )
    if (depth >= 3 || !random.chance(0.35)) break
    // The next one comes while the store opens.
    run.world.start()
    for (let turns = random.int(random.pick([20, 200, 1000])); turns > 0 && run.world.store === undefined; turns--)
      run.world.clock.step()
    kill = random.chance(0.3)
  }
  comeBack(run)
}

function keepStale(run: StoreRun): void {
  run.staleIndexes.push(run.world.indexes.map((index) => index.image({ kind: 'synced' })))
  if (run.staleIndexes.length > 4) run.staleIndexes.splice(run.random.int(4), 1)
}

export function replaceWorld(
  run: StoreRun,
  diskChoice: (disk: SimDisk) => CrashChoice | 'kill',
  indexChoice: () => 'all' | 'synced' | 'subset' | 'lost' | 'stale' | 'damaged',
  kill: boolean,
): void {
  const { world, random } = run
  const disks = world.disks.map((disk) => {
    const choice = kill ? 'kill' : diskChoice(disk)
    return choice === 'kill' ? disk.kill() : disk.crash(choice)
  })
  const indexes = world.indexes.map((index, i) => {
    const choice = indexChoice()
    const fresh = (image?: IndexImage): SimIndex => {
      index.crash({ kind: 'synced' })
      return new SimIndex({
        clock: world.clock,
        random: random.fork('index'),
        ...(image === undefined ? {} : { image: image.clone() }),
      })
    }
    if (choice === 'lost' || choice === 'stale' || choice === 'damaged') run.indexGone = true
    if (choice === 'lost') return fresh()
    if (choice === 'stale')
      return fresh(run.staleIndexes.length === 0 ? undefined : random.pick(run.staleIndexes)[i])
    const next = index.crash(
      choice === 'subset' ? { kind: 'subset', seed: random.u32() } : { kind: choice === 'all' ? 'all' : 'synced' },
    )
    if (choice === 'damaged') next.damage()
    return next
  })
  world.clock.dropAll()
  run.underWay = 0
  run.world = new StoreWorld(world.options, { disks, indexes, clock: world.clock, random: world.random })
}

/** Open what the crash left, and compare every volume with its model. */
export function comeBack(run: StoreRun): void {
  openStore(run)
  const isLoose = run.indexGone && (run.world.disks.length > 1 || run.o.faults === true)
  run.indexGone = false
  const problems = run.world.events.filter(({ level }) => level === 'error')
  if (problems.length > 0) throw new ModelError(`the store does not open whole: ${JSON.stringify(problems)}`)
  for (const volume of [...run.volumes]) {
    const status = run.world.store!.volume(volume.name)
    if (status === undefined) {
      if (volume.state === 'live') volume.model.fail('it is gone')
      run.volumes = run.volumes.filter((other) => other !== volume)
      continue
    }
    if (volume.state === 'deleting' && volume.model.durableSeq === Infinity) volume.model.fail('it came back')
    volume.state = 'live'
    if (status.spec.sizeBytes !== volume.sizeBytes && !volume.resizing.includes(status.spec.sizeBytes))
      volume.model.fail(`its size is ${status.spec.sizeBytes}, it was ${volume.sizeBytes}`)
    volume.sizeBytes = status.spec.sizeBytes
    volume.resizing = []
    const observed = readAll(run, volume)
    if (isLoose) {
      volume.model.recoveredLoosely(observed)
      rebaseViews(run, volume, [[volume.model.durableSeq, Infinity]])
      for (const view of volume.views) if (!view.created) readViewAnew(run, volume, view)
    } else rebaseViews(run, volume, volume.model.recovered(observed))
    for (const view of volume.views) view.created = true
    volume.model = new VolumeModel(volume.name, run.volumeOf(volume).commitSeq, observed)
  }
  for (const { spec } of run.world.store!.volumes())
    if (!run.volumes.some(({ name }) => name === spec.name)) throw new ModelError(`volume ${spec.name} came back`)
}

export function shadow(run: StoreRun, x: number, y: number): void {
  const random = new Random(`shadow ${x} ${y}`)
  tryImage(run, {
    random,
    disk: (disk) => random.pick([...disk.crashChoices(random, 8)]),
    index: random.pick(['lost', 'lost', 'all', 'synced']),
    check: true,
    depth: 0,
  })
}

/**
 * Open what a power cut would leave now, beside the run, which goes on undisturbed. With a depth, the power is cut
 * again at disk operations of that opening, and so on.
 */
export function tryImage(run: StoreRun, choice: ImageChoice): void {
  const { random, depth } = choice
  const { world, volumes, random: own, staleIndexes, underWay, counts, indexGone } = run
  counts.images++
  const clock = new SimClock(random.fork('clock'))
  const disks = world.disks.map(
    (disk) =>
      new SimDisk({
        sizeBytes: disk.sizeBytes,
        clock,
        random: random.fork('disk'),
        image: disk.image(choice.disk(disk)),
      }),
  )
  const indexes = world.indexes.map(
    (index) =>
      new SimIndex({
        clock,
        random: random.fork('index'),
        ...(choice.index === 'lost'
          ? {}
          : {
              image: index.image(
                choice.index === 'subset' ? { kind: 'subset', seed: random.u32() } : { kind: choice.index },
              ),
            }),
      }),
  )
  Object.assign(run, {
    world: new StoreWorld({ ...world.options, seed: random.u32() }, { disks, indexes, clock, random }),
    volumes: volumes.map((volume) => ({ ...volume, views: volume.views.map((view) => ({ ...view })) })),
    random,
    underWay: 0,
    indexGone: indexGone || choice.index === 'lost',
    counts: { ...counts },
  })
  try {
    if (depth > 0) {
      let operations = 0
      const stride = choice.stride ?? 1
      for (const disk of disks)
        disk.onOperation = () => {
          if (run.world.store === undefined && operations++ % stride === 0)
            tryImage(run, {
              ...choice,
              depth: depth - 1,
              stride: stride * 3 + 1,
              random: random.fork('deeper'),
              check: false,
            })
        }
    }
    comeBack(run)
    for (const disk of disks) disk.onOperation = undefined
    if (choice.check) {
      checkStore(run)
      compareAll(run)
    }
  } finally {
    counts.images = run.counts.images
    counts.rebuilds = run.counts.rebuilds
    counts.blocksCompared = run.counts.blocksCompared
    Object.assign(run, { world, volumes, underWay, random: own, staleIndexes, indexGone, counts })
  }
}
