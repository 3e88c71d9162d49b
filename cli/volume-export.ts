/**
 * `holdfast volume export`: what a snapshot shows, into a file, while the volume is in use. Without a snapshot one is
 * made for it, and deleted in the end. The file has its name only when it is whole.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { formatSize } from '../cluster/api/amounts.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import { wasNotSent } from '../cluster/api/refusal.ts'
import { pause } from '../cluster/pause.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { findEndpoint } from './endpoint.ts'
import { openExport, readInto } from './image-file.ts'
import { Interruption } from './interruption.ts'
import { createProgress } from './offline/progress.ts'
import { EXIT_OK } from './output.ts'
import { qemuImg } from './qemu-img.ts'
import { syncFolder } from './whole-write.ts'

/**
 * For so long a snapshot that we have just let go of may be called in use, a daemon that was killed may be away, and a
 * volume may have no primary.
 */
const LET_GO_MS = 15_000
const LOOK_EVERY_MS = 100
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
    interruption.left = [`${image.path} is left, and is not whole: delete it`]
    const isTemporary = wanted === undefined
    const read = async (snapshot: { id: string; name: string }): Promise<number> => {
      const from = { socketPath: nbdSocketOf(endpoint.socketPath), name: `${volumeId}@${snapshot.id}`, what }
      const sizeBytes = await written(image, format, from, interruption)
      image.complete()
      interruption.left.shift()
      const fileBytes = fs.statSync(filePath).blocks * 512
      const result = {
        volume, snapshot: snapshot.name, isTemporary, file: filePath, format, sizeBytes, fileBytes,
      }
      const which = isTemporary ? 'showed when this began' : `showed at snapshot ${wanted}`
      const [size, taken] = [formatSize(sizeBytes), formatSize(fileBytes)]
      output.result(result, () => [`${filePath} has what volume ${volume} ${which}: ${size}, in ${taken} on disk`])
      return EXIT_OK
    }
    try {
      if (!isTemporary) return await read(await daemon.getSnapshot({ volume, name: wanted }))
      const temporary = new TemporarySnapshot({ daemon, volume, volumeId, what })
      interruption.left.push(temporary.left('this ended before it was deleted').message)
      try {
        await temporary.make()
        return await read(temporary)
      } finally {
        image.end()
        const left = await temporary.delete()
        // What became of the file says the status.
        if (left !== undefined) output.error(left)
      }
    } finally {
      image.end()
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
  #isClosed = false

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

  /** Whatever became of it; once more does nothing. */
  end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    fs.closeSync(this.fd)
    if (!this.#isOver) fs.rmSync(this.path, { force: true })
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EIO'

interface TemporaryOptions {
  daemon: ControlClient
  volume: string
  volumeId: string
  what: string
}

/** Its id is drawn here, so that it is known where no answer comes. */
class TemporarySnapshot {
  readonly id = randomUUID().replaceAll('-', '')
  readonly name = temporaryName()
  readonly #options: TemporaryOptions
  #mayBeThere = true

  constructor(options: TemporaryOptions) {
    this.#options = options
  }

  async make(): Promise<void> {
    const { id, name } = this
    const { daemon, volumeId } = this.#options
    try {
      await daemon.createSnapshot({ volume: volumeId, name, labels: LABELS, id })
    } catch (error) {
      const isOpen = error instanceof HoldfastError && OUTCOME_OPEN.includes(error.code) && !wasNotSent(error)
      this.#mayBeThere = isOpen
      throw error
    }
  }

  /** @returns `snapshot-left` when it is not known to be gone */
  async delete(): Promise<HoldfastError | undefined> {
    const { id, name } = this
    const { daemon, volumeId } = this.#options
    if (!this.#mayBeThere) return undefined
    for (const untilMs = performance.now() + LET_GO_MS; ; await pause(LOOK_EVERY_MS)) {
      try {
        await daemon.deleteSnapshot({ volume: volumeId, name, id })
        return undefined
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        if (error.code === 'volume-not-found') return undefined
        if (!ERRORS[error.code].retryable || performance.now() > untilMs) return this.left(error.message)
      }
    }
  }

  left(reason: string): HoldfastError {
    const { volume, what } = this.#options
    return new HoldfastError('snapshot-left', { snapshot: this.name, volume, what, reason })
  }
}

/** Of a call that ended so it is not known whether it did what it was to. */
const OUTCOME_OPEN: readonly string[] = ['unreachable', 'change-outcome']

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
