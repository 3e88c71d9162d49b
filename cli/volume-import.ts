/**
 * `holdfast volume import`: an image in a file becomes a new volume. When it does not come to its end, the volume is
 * deleted again: there is none that is half an image.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { formatSize } from '../cluster/api/amounts.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import { wasNotSent } from '../cluster/api/refusal.ts'
import type { Volume } from '../cluster/api/volume-messages.ts'
import { checkSchedule } from '../cluster/api/schedule-request.ts'
import { checkVolumeName, checkVolumeSize, PARAMETER_PREFIX } from '../cluster/api/volume-request.ts'
import { pause } from '../cluster/pause.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import { MIB } from '../engine/units.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { findEndpoint } from './endpoint.ts'
import { flush, openExport, writeFrom } from './image-file.ts'
import { Interruption } from './interruption.ts'
import { createProgress } from './offline/progress.ts'
import { EXIT_OK } from './output.ts'
import { dataBytesOf, virtualSizeOf } from './qemu-img-answers.ts'
import { qemuImg } from './qemu-img.ts'
import { formatOf, nbdSocketOf, nbdUri } from './volume-export.ts'
import type { ImageFormat } from './volume-export.ts'
import { isQcow2, otherFileOf, QCOW2_HEAD_BYTES } from './qcow2-header.ts'
import { makeVolume, newVolumeOf, sizeOf } from './volume.ts'

/** A daemon that was killed is started again sooner. */
const RESTART_MS = 10_000
const LOOK_EVERY_MS = 200
const SCHEDULE_NAMES = ['snapshot-schedule', `${PARAMETER_PREFIX}snapshot-schedule`]

interface Image {
  path: string
  format: ImageFormat
  sizeBytes: number
}

export async function importVolume({ arguments: given, output }: Invocation): Promise<number> {
  const [file, name] = given.positionals as [string, string]
  checkVolumeName(name)
  const what = `the import of ${file}`
  const image = await imageOf(path.resolve(file), formatOf(given.text('format')), what)
  const leastBytes = Math.max(MIB, Math.ceil(image.sizeBytes / MIB) * MIB)
  const wished = given.text('size')
  const sizeBytes = wished === undefined ? leastBytes : sizeOf(wished)
  if (sizeBytes < leastBytes) {
    const least = formatSize(leastBytes)
    throw usageError(`--size ${wished} is less than the image has, ${least}`, 'leave it out, or give more')
  }
  checkVolumeSize(sizeBytes)
  // Drawn here: it is known even where the answer does not come, or is a refusal.
  const volumeId = randomBytes(16).toString('hex')
  const { parameters, ...wish } = await newVolumeOf(given, name, sizeBytes)
  const { schedule, others } = withoutSchedule(parameters)
  const request = { volumeId, ...wish, parameters: others }
  const endpoint = await findEndpoint(given.text('endpoint'))
  const daemon = connectControlApi(endpoint)
  const interruption = new Interruption(what)
  try {
    let volume: Volume | undefined
    interruption.left = [`volume ${name} may be left, and is not whole; `
      + `\`holdfast volume delete ${volumeId} --force --purge\` deletes it`]
    try {
      volume = await makeVolume(given, daemon, request)
      // Refused before it is filled where no volume has one.
      if (schedule !== undefined) await scheduled(daemon, volume.id, 'none')
      const { nbd } = volume
      const at = { socketPath: nbdSocketOf(endpoint.socketPath), what }
      const dataBytes = await filled(volume, image, at, interruption)
      // Not before it is whole: a snapshot of half an image would be kept as one of the volume.
      if (schedule !== undefined) volume = await scheduled(daemon, volume.id, schedule)
      const result = { ...volume, file: image.path, format: image.format, dataBytes }
      output.result(result, () => [
        `volume ${name} has ${image.path}: ${formatSize(sizeBytes)}, of which ${formatSize(dataBytes)} are data`,
        ...nbd.map((uri) => `  ${uri}`),
      ])
      return EXIT_OK
    } catch (error) {
      // A daemon that was killed meanwhile is started again; of one that was never there nothing is asked.
      const isUnsent = volume === undefined && error instanceof HoldfastError && wasNotSent(error)
      await takeBack(daemon, request.volumeId, volume, isUnsent ? 0 : RESTART_MS)
      throw error
    }
  } finally {
    interruption.end()
    daemon.close()
  }
}

/**
 * By its id: the name may be another volume's, before it was made or by now.
 * @param wanted  the id that was asked for
 * @param made    what was answered: a node by itself of a former version draws its own id
 * @param waitMs  for a daemon that does not answer
 * @throws HoldfastError  it is there still
 */
async function takeBack(
  daemon: ControlClient, wanted: string, made: Volume | undefined, waitMs: number,
): Promise<void> {
  for (const untilMs = performance.now() + waitMs; ; await pause(LOOK_EVERY_MS)) {
    try {
      await daemon.deleteVolume({ name: made?.id ?? wanted, force: true, purge: true, keep: '' })
      return
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      if (error.code === 'unreachable' && performance.now() < untilMs) continue
      // Why it was not made, or not answered, says more than that it cannot be deleted.
      if (made !== undefined && error.code !== 'volume-not-found') throw error
      return
    }
  }
}

/** @throws HoldfastError `parameter`: it is no schedule */
function withoutSchedule(
  parameters: Readonly<Record<string, string>>,
): { schedule: string | undefined; others: Record<string, string> } {
  const entries = Object.entries(parameters)
  const isSchedule = ([name]: [string, string]): boolean => SCHEDULE_NAMES.includes(name)
  const given = entries.filter(isSchedule).map(([, text]) => text)
  if (new Set(given).size > 1) throw usageError('the snapshot schedule is given twice', 'give it once')
  for (const text of given) checkSchedule(text)
  return { schedule: given[0], others: Object.fromEntries(entries.filter((one) => !isSchedule(one))) }
}

/** A volume that is whole is not given up because its daemon starts again. */
async function scheduled(daemon: ControlClient, volume: string, schedule: string): Promise<Volume> {
  for (const untilMs = performance.now() + RESTART_MS; ; await pause(LOOK_EVERY_MS)) {
    try {
      return await daemon.setSnapshotSchedule({ volume, schedule })
    } catch (error) {
      const isOver = !(error instanceof HoldfastError) || !ERRORS[error.code].retryable
      if (isOver || performance.now() > untilMs) throw error
    }
  }
}

async function filled(
  { id, sizeBytes }: Volume, image: Image, at: { socketPath: string; what: string }, interruption: Interruption,
): Promise<number> {
  const { socketPath, what } = at
  const progress = createProgress()
  const say = (share: number): void => progress.say(`${what}: ${Math.floor(share * 100)} % of ${formatSize(sizeBytes)}`)
  try {
    if (image.format === 'qcow2') {
      const { signal } = interruption
      // The volume is new: what is zeroes in the image need not be written.
      const words = ['convert', '-p', '-n', '--target-is-zero', '-f', 'qcow2', '-O', 'raw', image.path]
      await qemuImg([...words, nbdUri(socketPath, id)], { onProgress: say, signal, what })
      interruption.check()
      await flushed(socketPath, id, what)
      return await dataOfQcow2(image, interruption, what)
    }
    const connection = await openExport(socketPath, id, what)
    const fd = fs.openSync(image.path, 'r')
    try {
      return await writeFrom(connection, fd, image.path, what, {
        progress: (doneBytes) => say(doneBytes / image.sizeBytes),
        check: () => interruption.check(),
      })
    } finally {
      fs.closeSync(fd)
      await connection.disconnect()
    }
  } finally {
    progress.end()
  }
}

/** `qemu-img` flushes what it wrote, and says nothing when that fails. */
async function flushed(socketPath: string, id: string, what: string): Promise<void> {
  const connection = await openExport(socketPath, id, what)
  try {
    await flush(connection, what)
  } finally {
    await connection.disconnect()
  }
}

/** What it holds that is not zeroes. */
async function dataOfQcow2(image: Image, { signal }: Interruption, what: string): Promise<number> {
  const map = await qemuImg(['map', '--output=json', '-f', 'qcow2', image.path], { signal, what })
  return dataBytesOf(image.path, map)
}

async function imageOf(file: string, format: ImageFormat | undefined, what: string): Promise<Image> {
  let head: Buffer
  let sizeBytes: number
  try {
    const fd = fs.openSync(file, 'r')
    try {
      const stats = fs.fstatSync(fd)
      if (!stats.isFile()) throw new HoldfastError('image-read', { path: file, reason: 'it is no regular file' })
      sizeBytes = stats.size
      head = Buffer.alloc(QCOW2_HEAD_BYTES)
      head = head.subarray(0, fs.readSync(fd, head, 0, head.length, 0))
    } finally {
      fs.closeSync(fd)
    }
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    throw new HoldfastError('image-read', { path: file, reason: (error as NodeJS.ErrnoException).code ?? 'EIO' })
  }
  const is = format ?? (isQcow2(head) ? 'qcow2' : 'raw')
  if (is === 'raw') return { path: file, format: is, sizeBytes }
  const reason = otherFileOf(head)
  if (reason !== undefined) throw new HoldfastError('image-parts', { path: file, reason })
  const told = await qemuImg(['info', '--output=json', '-f', 'qcow2', file], { what })
  return { path: file, format: is, sizeBytes: virtualSizeOf(file, told) }
}
