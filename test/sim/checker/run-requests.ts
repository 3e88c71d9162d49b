/** Requests of clients in a run: what is asked, and what the model expects of the answer. */
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { ModelledVolume, StoreRun } from './store-run.ts'
import { BLOCK_SECTORS, ModelError, SECTOR_BYTES, stampedBytes } from './volume-model.ts'

export function writeSome(run: StoreRun, volume: ModelledVolume, y: number, z: number): void {
  const [first, sectors] = rangeOf(run, volume, y, z)
  const fua = (z >>> 20) % 8 === 0
  const stamp = run.nextStamp
  run.nextStamp += sectors
  const request = volume.model.begin(first, sectors, stamp)
  const bytes = stampedBytes(stamp, sectors)
  ask(
    run,
    (done) => run.device(volume).write(first * SECTOR_BYTES, bytes, fua, done),
    (errno) => {
      if (errno === 0) volume.model.acked(request, volume.durable || fua)
      else refused(run, volume, errno, () => volume.model.failed(request))
    },
  )
}

export function zeroSome(run: StoreRun, volume: ModelledVolume, y: number, z: number, trim: boolean): void {
  let [first, sectors] = rangeOf(run, volume, y, z)
  const wide = (z >>> 16) % 16
  if (wide < 3) {
    const window = volume.windows[y % volume.windows.length]!
    first = window.first * BLOCK_SECTORS
    sectors = window.count * BLOCK_SECTORS
  } else if (wide === 3) {
    first = 0
    sectors = volume.sizeBytes / SECTOR_BYTES
  }
  const fua = (z >>> 20) % 8 === 0
  const request = volume.model.begin(first, sectors, 0)
  const ended = (errno: number): void => {
    if (errno === 0) volume.model.acked(request, volume.durable || fua)
    else refused(run, volume, errno, () => volume.model.failed(request))
  }
  const device = run.device(volume)
  if (trim) ask(run, (done) => device.trim(first * SECTOR_BYTES, sectors * SECTOR_BYTES, fua, done), ended)
  else
    ask(
      run,
      (done) =>
        device.writeZeroes(first * SECTOR_BYTES, sectors * SECTOR_BYTES, { noHole: (z & 1) === 0, fua }, done),
      ended,
    )
}

export function readSome(run: StoreRun, volume: ModelledVolume, y: number, z: number): void {
  const [first, sectors] = rangeOf(run, volume, y, z)
  const read = volume.model.beginRead()
  const into = new Uint8Array(sectors * SECTOR_BYTES).fill(0xa5)
  ask(
    run,
    (done) => run.device(volume).read(first * SECTOR_BYTES, into, done),
    (errno) => {
      if (errno === 0) volume.model.endRead(read, first, into)
      else refused(run, volume, errno, () => volume.model.dropRead(read))
    },
  )
}

export function askStatus(run: StoreRun, volume: ModelledVolume, y: number, z: number): void {
  const [first, sectors] = (z & 7) === 0 ? [0, volume.sizeBytes / SECTOR_BYTES] : rangeOf(run, volume, y, z)
  const read = volume.model.beginRead()
  run.underWay++
  const { model } = volume
  const { world } = run
  run.device(volume).blockStatus(first * SECTOR_BYTES, sectors * SECTOR_BYTES, 1 + (z % 64), (errno, extents) => {
    if (run.world !== world) return
    run.underWay--
    if (errno !== 0) return refused(run, volume, errno, () => model.dropRead(read))
    const length = extents.reduce((sum, one) => sum + one.lengthBytes, 0)
    if (extents.length === 0 || extents.length > 1 + (z % 64) || length > sectors * SECTOR_BYTES)
      model.fail(`block status of ${sectors} sectors answers ${JSON.stringify(extents)}`)
    model.endStatus(read, first * SECTOR_BYTES, extents)
  })
}

export function flushSome(run: StoreRun, volume: ModelledVolume): void {
  const point = volume.model.flushPoint()
  ask(
    run,
    (done) => run.device(volume).flush(done),
    (errno) => {
      if (errno === 0) volume.model.flushed(point)
      else refused(run, volume, errno, () => {})
    },
  )
}

export function useHealthy(run: StoreRun, volume: ModelledVolume, lba: number): void {
  const { stream } = run.volumeOf(volume).targetOfBlock(lba)
  if (stream.failed) return
  const sector = lba * BLOCK_SECTORS
  const request = volume.model.begin(sector, BLOCK_SECTORS, run.nextStamp)
  const bytes = stampedBytes(run.nextStamp, BLOCK_SECTORS)
  run.nextStamp += BLOCK_SECTORS
  let errno = run.world.await<number>((done) => run.device(volume).write(lba * BLOCK_BYTES, bytes, false, done))
  // It may fail just now.
  if (stream.failed) return volume.model.failed(request)
  if (errno !== 0) volume.model.fail(`block ${lba} on a healthy disk is refused with errno ${errno}`)
  volume.model.acked(request, volume.durable)
  const read = volume.model.beginRead()
  const into = new Uint8Array(BLOCK_BYTES)
  // The fault may be the index's, and come just now; it comes once.
  for (let tries = 0, again = true; tries < 2 && again; tries++, again = errno !== 0)
    errno = run.world.await<number>((done) => run.device(volume).read(lba * BLOCK_BYTES, into, done))
  if (stream.failed) return volume.model.dropRead(read)
  if (errno !== 0) volume.model.fail(`block ${lba} on a healthy disk cannot be read, errno ${errno}`)
  volume.model.endRead(read, sector, into)
}

function ask(run: StoreRun, start: (done: (errno: number) => void) => void, ended: (errno: number) => void): void {
  run.counts.requests++
  run.underWay++
  const { world } = run
  let answered = false
  start((errno) => {
    if (answered) throw new ModelError('a request was answered twice')
    answered = true
    if (run.world !== world) throw new ModelError('a dead store answers')
    run.underWay--
    ended(errno)
  })
}

/** Only a volume that is being deleted or a store that stops may refuse. */
function refused(run: StoreRun, volume: ModelledVolume, errno: number, allowed: () => void): void {
  if (errno === 5 && run.o.faults === true) return allowed()
  if (errno === 108 && (volume.state === 'deleting' || run.stopping)) return allowed()
  volume.model.fail(
    `a request ends with errno ${errno}: ` +
      `${JSON.stringify(run.world.events.filter((e) => e.level === 'error').slice(-3))}`,
  )
}

/** A range of sectors: mostly a few whole blocks, now and then narrow, wide or crossing pages and slices. */
function rangeOf(run: StoreRun, volume: ModelledVolume, y: number, z: number): [first: number, sectors: number] {
  const window = volume.windows[y % volume.windows.length]!
  const at = Math.floor(y / 16) % (window.count * BLOCK_SECTORS)
  let first = at
  let sectors: number
  const shape = z % 20
  const length = Math.floor(z / 32)
  if (shape < 12) {
    first -= first % BLOCK_SECTORS
    sectors = BLOCK_SECTORS * (1 + (length % 6))
  } else if (shape < 18) sectors = 1 + (length % 24)
  else {
    first -= first % BLOCK_SECTORS
    sectors = BLOCK_SECTORS * (1 + (length % window.count))
  }
  sectors = Math.min(sectors, window.count * BLOCK_SECTORS - first)
  return [window.first * BLOCK_SECTORS + first, sectors]
}
