/** Volumes in a run: created, resized and deleted while requests are under way. */
import { BLOCK_BYTES, MIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import type { ModelledVolume, StoreRun, Window } from './store-run.ts'
import { ModelError, VolumeModel } from './volume-model.ts'

export function createVolume(run: StoreRun, x: number, y: number): void {
  const taken = run.volumes.reduce((sum, v) => sum + v.windows.reduce((part, w) => part + w.count, 0), 0)
  const budget = run.blocksBudget - taken
  if (budget < 8 || run.volumes.length >= (run.o.volumesMax ?? 3)) return
  const name = `v${run.nextVolume++}`
  const isWide = run.world.disks.length > 1 || x % 4 === 0
  const sizeBytes = isWide ? (2 + (x % 2)) * 1024 * MIB : (1 + (x % 4)) * MIB
  const windows = makeWindows(run, sizeBytes, Math.min(budget, 16 + (y % 200)), isWide)
  const durable = y % 3 !== 0
  const spec = run.world.spec(name, sizeBytes, {
    durability: durable ? 'durable' : 'writeback',
    blockSizeBytes: y % 2 === 0 ? 512 : 4096,
  })
  const volume = addModel(run, { name, id: spec.id, windows, durable, sizeBytes, model: new VolumeModel(name, 0) })
  storeRequest(
    run,
    (reply) => run.world.store!.createVolume(spec, reply),
    () => {
      volume.state = 'live'
      volume.model.durableSeq = Math.max(volume.model.durableSeq, 1)
    },
  )
}

export function addModel(
  run: StoreRun,
  from: Pick<ModelledVolume, 'name' | 'id' | 'windows' | 'durable' | 'sizeBytes' | 'model'>,
): ModelledVolume {
  const volume: ModelledVolume = { ...from, state: 'creating', resizing: [], views: [] }
  run.volumes.push(volume)
  return volume
}

function makeWindows(run: StoreRun, sizeBytes: number, blocks: number, isWide: boolean): Window[] {
  const sizeBlocks = sizeBytes / BLOCK_BYTES
  if (!isWide) {
    const count = Math.min(blocks, sizeBlocks)
    const half = Math.ceil(count / 2)
    return [
      { first: 0, count: half },
      { first: sizeBlocks - half, count: half },
    ]
  }
  // Across the border of two slices, at the start, at the end.
  const third = Math.ceil(blocks / 3)
  return [
    { first: SLICE_BLOCKS - Math.ceil(third / 2), count: third },
    { first: 256 - Math.ceil(third / 2), count: third },
    { first: sizeBlocks - third, count: third },
  ]
}

export function resizeVolume(run: StoreRun, volume: ModelledVolume, y: number): void {
  if (volume.state !== 'live') return
  const sizeBytes = Math.max(volume.sizeBytes, ...volume.resizing) + (1 + (y % 3)) * MIB
  volume.resizing.push(sizeBytes)
  const { model } = volume
  storeRequest(
    run,
    (reply) => run.world.store!.resizeVolume(volume.name, sizeBytes, reply),
    () => {
      volume.sizeBytes = Math.max(volume.sizeBytes, sizeBytes)
      volume.resizing = volume.resizing.filter((size) => size > volume.sizeBytes)
      if (volume.state === 'live' && run.device(volume).sizeBytes < sizeBytes)
        model.fail('a resize was answered and is not seen')
    },
  )
}

export function deleteVolume(run: StoreRun, volume: ModelledVolume): void {
  if (volume.state !== 'live' || run.volumes.length < 2) return
  // What a clone reads through stays; deleting such an origin is tested by itself.
  volume.state = 'deleting'
  storeRequest(
    run,
    (reply) => run.world.store!.deleteVolume(volume.name, reply),
    () => {
      run.volumes = run.volumes.filter((other) => other !== volume)
    },
  )
}

export function storeRequest<T>(
  run: StoreRun,
  start: (reply: (result: Result<T>) => void) => void,
  done: (value: T) => void,
): void {
  run.underWay++
  const { world } = run
  start((result) => {
    if (run.world !== world) throw new ModelError('a dead store answers')
    run.underWay--
    if (!result.ok) {
      if (run.o.faults === true) return
      throw new ModelError(`the store refuses: ${result.error.message}`)
    }
    done(result.value)
  })
}
