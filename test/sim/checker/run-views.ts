/** Snapshots, clones and rollbacks in a run, and what each view has to show. */
import { crc32c } from '@node-rs/crc32'
import { cloneSnapshot, createSnapshot, deleteSnapshot, rollBack } from '../../../engine/volume/time-travel.ts'
import { readView } from '../../../engine/volume/view-reader.ts'
import type { VolumeStatus } from '../../../engine/volume/volume-spec.ts'
import { cleanNow, lbasOf, readAll, settle } from './run-checks.ts'
import { zeroSome } from './run-requests.ts'
import { addModel, storeRequest } from './run-volumes.ts'
import type { ModelledVolume, StoreRun, ViewModel } from './store-run.ts'
import { BLOCK_SECTORS, stampsOf, VolumeModel } from './volume-model.ts'

export function takeSnapshot(run: StoreRun, volume: ModelledVolume): void {
  if (volume.state !== 'live' || volume.views.length >= 3) return
  const id = `s${run.nextStamp++}`
  storeRequest<number>(
    run,
    (reply) => createSnapshot(run.volumeOf(volume), id, reply),
    (seq) => {
      const view = volume.views.find((one) => one.id === id)
      if (view === undefined || view.seq !== seq)
        return volume.model.fail(`snapshot ${id} was answered without its record`)
      view.created = true
      volume.model.durableSeq = Math.max(volume.model.durableSeq, seq)
    },
  )
}

export function dropSnapshot(run: StoreRun, volume: ModelledVolume, y: number): void {
  const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
  if (volume.state !== 'live' || view === undefined) return
  view.deleting = true
  storeRequest<number>(
    run,
    (reply) => deleteSnapshot(run.volumeOf(volume), view.id, reply),
    (seq) => {
      volume.views = volume.views.filter((one) => one !== view)
      volume.model.durableSeq = Math.max(volume.model.durableSeq, seq)
    },
  )
}

export function rollBackSome(run: StoreRun, volume: ModelledVolume, y: number): void {
  const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
  if (volume.state !== 'live' || view === undefined) return
  rollBackTo(run, volume, view)
}

function rollBackTo(run: StoreRun, volume: ModelledVolume, view: ViewModel): void {
  storeRequest<number>(
    run,
    (reply) => rollBack(run.volumeOf(volume), view.id, reply),
    (seq) => {
      volume.model.ackedSeq = Math.max(volume.model.ackedSeq, seq)
      volume.model.durableSeq = Math.max(volume.model.durableSeq, seq)
    },
  )
}

/**
 * What was written since a snapshot is rolled away, or looked for and brought back: pages are read while they show the
 * one, and have to leave memory before anybody reads them again.
 */
export function undoSome(run: StoreRun, volume: ModelledVolume, y: number, z: number): void {
  const [oldest] = volume.views.filter((one) => one.created && !one.deleting)
  if (volume.state !== 'live') return
  if (oldest === undefined) return takeSnapshot(run, volume)
  takeSnapshot(run, volume)
  settle(run)
  const views = volume.views.filter((one) => one.created && !one.deleting)
  rollBackTo(run, volume, oldest)
  settle(run)
  if (z % 4 !== 0) readAll(run, volume)
  for (const stream of run.world.store!.streams()) stream.makeCheckpoint(() => {})
  settle(run)
  if (z % 3 === 0) cleanNow(run)
  const newest = views.at(-1)!
  if (newest === oldest || volume.state !== 'live') return
  // Pages of others take the places in memory.
  for (const other of run.volumes) if (other !== volume && other.state === 'live') readAll(run, other)
  rollBackTo(run, volume, newest)
  // All of it, before anybody has read any.
  if (y % 2 === 0) zeroSome(run, volume, y, 0x3_0000 | (z & 0xffff), z % 2 === 0)
}

export function cloneSome(run: StoreRun, volume: ModelledVolume, y: number): void {
  const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
  if (volume.state !== 'live' || view === undefined || run.volumes.length >= (run.o.volumesMax ?? 3)) return
  const name = `v${run.nextVolume++}`
  const { sizeBytes } = run.volumeOf(volume)
  const spec = run.world.spec(name, sizeBytes, { durability: volume.durable ? 'durable' : 'writeback' })
  const clone = addModel(run, {
    name,
    id: spec.id,
    windows: volume.windows,
    durable: volume.durable,
    sizeBytes,
    model: new VolumeModel(name, 0, view.content),
  })
  storeRequest<VolumeStatus>(
    run,
    (reply) => cloneSnapshot(run.world.store!, run.volumeOf(volume), view.id, spec, reply),
    () => {
      clone.state = 'live'
      clone.model.durableSeq = Math.max(clone.model.durableSeq, 1)
    },
  )
}

export function readViews(run: StoreRun, volume: ModelledVolume, y: number): void {
  const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
  if (view === undefined || volume.state !== 'live') return
  const lbas = [...view.content.keys()]
  const windowLba = volume.windows[0]!.first
  const lba = lbas.length === 0 ? windowLba : lbas[y % lbas.length]!
  readViewBlock(run, volume, view, lba)
}

/** A snapshot nobody was told of yet may show what is behind a gap: what it shows now it has to show from now on. */
export function readViewAnew(run: StoreRun, volume: ModelledVolume, view: ViewModel): void {
  view.content = new Map()
  for (const lba of lbasOf(run, volume)) {
    const { stream, map } = run.volumeOf(volume).targetOfBlock(lba)
    const bytes = run.world.await<Uint8Array | undefined>((done) =>
      readView({ crc32c, stream, map, viewSeq: view.seq, lba }, done),
    )
    if (bytes === undefined) volume.model.fail(`block ${lba} of snapshot ${view.id} cannot be read`)
    else view.content.set(lba, stampsOf(bytes))
  }
}

export function readViewBlock(run: StoreRun, volume: ModelledVolume, view: ViewModel, lba: number): void {
  const object = run.volumeOf(volume)
  const { stream, map } = object.targetOfBlock(lba)
  const { world } = run
  run.underWay++
  readView({ crc32c, stream, map, viewSeq: view.seq, lba }, (bytes) => {
    if (run.world !== world) return
    run.underWay--
    // Its snapshots go with a volume.
    if (view.deleting || volume.state === 'deleting') return
    if (bytes === undefined) volume.model.fail(`block ${lba} of snapshot ${view.id} cannot be read`)
    run.counts.blocksCompared++
    const wanted = view.content.get(lba) ?? new Uint32Array(BLOCK_SECTORS)
    if (stampsOf(bytes).join() !== wanted.join())
      volume.model.fail(
        `block ${lba} of snapshot ${view.id} (seq ${view.seq}) is ${stampsOf(bytes).join(' ')}, it ` +
          `was ${wanted.join(' ')}`,
      )
  })
}

export function rebaseViews(run: StoreRun, volume: ModelledVolume, candidates: Array<[number, number]>): void {
  const { snapshots } = run.volumeOf(volume).descriptor
  for (const view of volume.views) {
    const there = snapshots.some((one) => one.id === view.id && one.seq === view.seq)
    if (there) {
      if (!candidates.some(([, to]) => to >= view.seq))
        volume.model.fail(`snapshot ${view.id} is there, the state is older`)
      view.deleting = false
    } else if (view.created && !view.deleting) volume.model.fail(`snapshot ${view.id} is gone`)
    else view.deleting = true
  }
  volume.views = volume.views.filter(({ deleting }) => !deleting)
  for (const { id, pinnedBy } of snapshots)
    if (pinnedBy === null && !volume.views.some((view) => view.id === id))
      volume.model.fail(`snapshot ${id} came back`)
}
