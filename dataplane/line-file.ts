/**
 * A file of lines that only grows, mode 0600, with so many predecessors (`FILE.1` is the youngest): those of before go
 * when it is full. Lines are written at once and synchronously, so that the last words of a dying process are there.
 *
 * Invariants: a line that was cut off, by a full file system or the end of a process, takes no other line with it. No
 * predecessor goes but for a file that was filled: not by a rotation that fails, and not for one that somebody moved.
 */
import {
  closeSync, existsSync, fdatasync, fstatSync, openSync, readSync, renameSync, statSync, writeSync,
} from 'node:fs'

type Failure = NodeJS.ErrnoException

export interface LineFileOptions {
  file: string
  rotateBytes: number
  /** Predecessors that are kept. */
  kept: number
  /** Lines may not be on the medium, or the file could not be made a predecessor. */
  onFailed?(error: Failure): void
}

export class LineFile {
  readonly #o: LineFileOptions
  #fd = -1
  #sizeBytes = 0
  #rotateAtBytes = 0
  /** What was written last has no end of line. */
  #isTorn = false
  #isSyncing = false
  #isSyncAsked = false
  /** Descriptors that a sync still needs; it is followed by one of theirs, for what was written since. */
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
      if (this.#sizeBytes >= this.#rotateAtBytes) this.#rotate()
      return this.#isTorn ? Object.assign(new Error('no space'), { code: 'ENOSPC' }) : undefined
    } catch (error) {
      return error as Failure
    }
  }

  /** In the background: what was appended is soon on the medium. */
  sync(): void {
    this.#isSyncAsked = true
    if (this.#isSyncing || this.#fd < 0) return
    this.#isSyncing = true
    this.#isSyncAsked = false
    fdatasync(this.#fd, (error) => {
      this.#isSyncing = false
      for (const fd of this.#leaving.splice(0)) this.#end(fd)
      if (error !== null) this.#o.onFailed?.(error)
      else if (this.#isSyncAsked) this.sync()
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
    this.#rotateAtBytes = this.#o.rotateBytes
    const last = Buffer.from('\n')
    if (this.#sizeBytes > 0) readSync(fd, last, 0, 1, this.#sizeBytes - 1)
    this.#isTorn = last.toString() !== '\n'
  }

  #leave(): void {
    if (this.#fd < 0) return
    if (this.#isSyncing) this.#leaving.push(this.#fd)
    else this.#end(this.#fd)
    this.#fd = -1
  }

  /** Nobody writes to it any more; its last lines may not be on the medium yet. */
  #end(fd: number): void {
    fdatasync(fd, (error) => {
      let failure: Failure | null = error
      try {
        closeSync(fd)
      } catch (error) {
        failure ??= error as Failure
      }
      if (failure !== null) this.#o.onFailed?.(failure)
    })
  }

  /** When it fails the file goes on growing, and it is tried again when as much was added. */
  #rotate(): void {
    const { file, rotateBytes, onFailed } = this.#o
    try {
      if (!this.#isThere()) return this.#leave()
      this.#placeFull()
      renameSync(file, `${file}.0`)
      this.#leave()
      this.#placeFull()
    } catch (error) {
      this.#rotateAtBytes = this.#sizeBytes + rotateBytes
      onFailed?.(error as Failure)
    }
  }

  /** Or somebody moved or removed what is written to, and the next line begins another one. */
  #isThere(): boolean {
    const there = statSync(this.#o.file, { bigint: true, throwIfNoEntry: false })
    const written = fstatSync(this.#fd, { bigint: true })
    return there?.ino === written.ino && there.dev === written.dev
  }

  /** `FILE.0`, if it is there, also of a rotation that did not come to its end, becomes `FILE.1`. */
  #placeFull(): void {
    const { file, kept } = this.#o
    if (!existsSync(`${file}.0`)) return
    // Where there is a gap, none goes beyond.
    let last = 1
    while (last < kept && existsSync(`${file}.${last}`)) last++
    for (let number = last; number > 0; number--) renameSync(`${file}.${number - 1}`, `${file}.${number}`)
  }
}
