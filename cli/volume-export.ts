/**
 * `holdfast volume export`: what a snapshot shows, into a file, while the volume is in use. Without a snapshot one is
 * made for it, and deleted in the end. The file has its name only when it is whole.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatSize } from '../cluster/api/amounts.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import type { Snapshot } from '../cluster/api/snapshot-messages.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { findEndpoint } from './endpoint.ts'
import { openExport, readInto } from './image-file.ts'
import { Interruption } from './interruption.ts'
import { createProgress } from './offline/progress.ts'
import { EXIT_OK } from './output.ts'
import { qemuImg } from './qemu-img.ts'
import { syncFolder } from './whole-write.ts'

/** For so long a snapshot that we have just let go of may be called in use. */
const LET_GO_MS = 15_000
const LABELS = { 'made-for': 'export' }

export type ImageFormat = 'raw' | 'qcow2'

export function formatOf(text: string | undefined): ImageFormat | undefined {
  if (text === undefined || text === 'raw' || text === 'qcow2') return text
  throw usageError(`image format ${text} is unknown`, 'use raw or qcow2')
}

/** Where the NBD socket of the node is whose control API is asked. */
export const nbdSocketOf = (apiSocket: string): string => path.join(path.dirname(apiSocket), 'nbd.sock')

export const nbdUri = (socketPath: string, name: string): string =>
  `nbd+unix:///${name}?socket=${socketPath.split('/').map(encodeURIComponent).join('/')}`

/** E.g. `export-20261130-054547-1f3c`, UTC. */
function temporaryName(): string {
  const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')
  return `export-${time}-${randomBytes(2).toString('hex')}`
}

export async function exportVolume({ arguments: given, output }: Invocation): Promise<number> {
  const [source, file] = given.positionals as [string, string]
  const format = formatOf(given.text('format')) ?? 'raw'
  const at = source.indexOf('@')
  const [volume, wanted] = at < 0 ? [source, undefined] : [source.slice(0, at), source.slice(at + 1)]
  const filePath = path.resolve(file)
  if (fs.existsSync(filePath)) throw new HoldfastError('file-exists', { path: filePath })
  const endpoint = await findEndpoint(given.text('endpoint'))
  const daemon = connectControlApi(endpoint)
  const what = `the export of volume ${source}`
  const interruption = new Interruption(what)
  try {
    const { id: volumeId } = await daemon.getVolume({ name: volume })
    const image = new PartialFile(filePath)
    const isTemporary = wanted === undefined
    let snapshot: Snapshot | undefined
    try {
      snapshot = isTemporary ? await madeFor(daemon, volume) : await daemon.getSnapshot({ volume, name: wanted })
      const from = { socketPath: nbdSocketOf(endpoint.socketPath), name: `${volumeId}@${snapshot.id}`, what }
      const sizeBytes = await written(image, format, from, interruption)
      image.complete()
      const fileBytes = fs.statSync(filePath).blocks * 512
      const result = { volume, snapshot: snapshot.name, isTemporary, file: filePath, format, sizeBytes, fileBytes }
      const which = isTemporary ? 'showed when this began' : `showed at snapshot ${wanted}`
      const [size, taken] = [formatSize(sizeBytes), formatSize(fileBytes)]
      output.result(result, () => [`${filePath} has what volume ${volume} ${which}: ${size}, in ${taken} on disk`])
      return EXIT_OK
    } finally {
      image.end()
      if (isTemporary && snapshot !== undefined) await deleted(daemon, snapshot)
    }
  } finally {
    interruption.end()
    daemon.close()
  }
}

/** `FILE.partial`, which gets its name when it is whole, or goes. */
export class PartialFile {
  path: string
  readonly fd: number
  readonly #whole: string
  #isOver = false

  /** @throws HoldfastError `file-exists` or `image-write` */
  constructor(whole: string) {
    this.#whole = whole
    this.path = `${whole}.partial`
    try {
      this.fd = fs.openSync(this.path, 'wx+')
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EEXIST') throw new HoldfastError('file-exists', { path: this.path })
      throw new HoldfastError('image-write', { path: this.path, reason: code })
    }
  }

  /** Its name is durable when this is answered. @throws HoldfastError `file-exists` or `image-write` */
  complete(): void {
    if (fs.existsSync(this.#whole)) throw new HoldfastError('file-exists', { path: this.#whole })
    try {
      fs.renameSync(this.path, this.#whole)
      this.path = this.#whole
      syncFolder(path.dirname(this.#whole))
    } catch (error) {
      throw new HoldfastError('image-write', { path: this.#whole, reason: codeOf(error) })
    }
    this.#isOver = true
  }

  /** Whatever became of it. */
  end(): void {
    fs.closeSync(this.fd)
    if (!this.#isOver) fs.rmSync(this.path, { force: true })
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EIO'

const madeFor = (daemon: ControlClient, volume: string): Promise<Snapshot> =>
  daemon.createSnapshot({ volume, name: temporaryName(), labels: LABELS, id: '' })

/** Who reads it is known to the primary: that we do not any more may not have reached it yet. */
async function deleted(daemon: ControlClient, { volume, name, id }: Snapshot): Promise<void> {
  const deadlineMs = performance.now() + LET_GO_MS
  for (;;) {
    try {
      await daemon.deleteSnapshot({ volume, name, id })
      return
    } catch (error) {
      const isInUse = error instanceof HoldfastError && error.code === 'snapshot-in-use'
      if (!isInUse || performance.now() > deadlineMs) throw error
    }
    await sleep(100)
  }
}

interface Source {
  socketPath: string
  name: string
  what: string
}

/** @returns the size of the image */
async function written(
  image: PartialFile, format: ImageFormat, { socketPath, name, what }: Source, interruption: Interruption,
): Promise<number> {
  const progress = createProgress()
  const connection = await openExport(socketPath, name, what)
  const { sizeBytes } = connection
  const say = (share: number): void => progress.say(`${what}: ${Math.floor(share * 100)} % of ${formatSize(sizeBytes)}`)
  try {
    if (format === 'raw') {
      await readInto(connection, image.fd, image.path, what, {
        progress: (doneBytes) => say(doneBytes / sizeBytes),
        check: () => interruption.check(),
      })
    } else {
      const { signal } = interruption
      const words = ['convert', '-p', '-f', 'raw', '-O', 'qcow2', nbdUri(socketPath, name), image.path]
      await qemuImg(words, { onProgress: say, signal, what })
      interruption.check()
      fs.fsyncSync(image.fd)
    }
    return sizeBytes
  } finally {
    progress.end()
    await connection.disconnect()
  }
}
