/**
 * A file of lines that only grows, mode 0600, with so many predecessors (`FILE.1` is the youngest): those of before go
 * when it is full. Lines are written at once and synchronously, so that the last words of a dying process are there.
 *
 * Invariant: a line that was cut off, by a full file system or the end of a process, takes no other line with it.
 */
import { closeSync, fdatasync, fstatSync, openSync, readSync, renameSync, writeSync } from 'node:fs'

export interface LineFileOptions {
  file: string
  rotateBytes: number
  /** Predecessors that are kept. */
  kept: number
}

type Failure = NodeJS.ErrnoException

export class LineFile {
  readonly #o: LineFileOptions
  #fd = -1
  #sizeBytes = 0
  /** What was written last has no end of line. */
  #isTorn = false
  #isSyncing = false
  #isSyncAsked = false
  /** Descriptors that a sync still needs. */
  readonly #leaving: number[] = []
  #isClosed = false

  constructor(options: LineFileOptions) {
    this.#o = options
  }

  /** @returns why it is not there, or not all of it; undefined: it is in the page cache at least */
  append(line: string): Failure | undefined {
    if (this.#isClosed) return undefined
    try {
      if (this.#fd < 0) this.#open()
      const bytes = Buffer.from(this.#isTorn ? `\n${line}\n` : `${line}\n`)
      const writtenBytes = writeSync(this.#fd, bytes)
      this.#sizeBytes += writtenBytes
      if (writtenBytes > 0) this.#isTorn = writtenBytes < bytes.length
      if (this.#sizeBytes >= this.#o.rotateBytes) this.#rotate()
      return this.#isTorn ? Object.assign(new Error('no space'), { code: 'ENOSPC' }) : undefined
    } catch (error) {
      return error as Failure
    }
  }

  /** In the background: what was appended is soon on the medium. @param failed  it may not be */
  sync(failed: (error: Failure) => void): void {
    this.#isSyncAsked = true
    if (this.#isSyncing || this.#fd < 0) return
    this.#isSyncing = true
    this.#isSyncAsked = false
    fdatasync(this.#fd, (error) => {
      this.#isSyncing = false
      for (const fd of this.#leaving.splice(0)) closeSync(fd)
      if (error !== null) failed(error)
      else if (this.#isSyncAsked) this.sync(failed)
    })
  }

  close(): void {
    this.#isClosed = true
    this.#leave()
  }

  #open(): void {
    const fd = openSync(this.#o.file, 'a+', 0o600)
    this.#fd = fd
    this.#sizeBytes = fstatSync(fd).size
    const last = Buffer.from('\n')
    if (this.#sizeBytes > 0) readSync(fd, last, 0, 1, this.#sizeBytes - 1)
    this.#isTorn = last.toString() !== '\n'
  }

  #leave(): void {
    if (this.#fd < 0) return
    if (this.#isSyncing) this.#leaving.push(this.#fd)
    else closeSync(this.#fd)
    this.#fd = -1
  }

  #rotate(): void {
    const { file, kept } = this.#o
    for (let number = kept - 1; number > 0; number--) {
      try {
        renameSync(`${file}.${number}`, `${file}.${number + 1}`)
      } catch (error) {
        // There are not so many yet.
        if ((error as Failure).code !== 'ENOENT') throw error
      }
    }
    renameSync(file, `${file}.1`)
    this.#leave()
  }
}
