/**
 * Where inputs lie while they run: a file that is mapped into the memory of the process that runs them. What stood
 * there when the process ended, by whatever end, its parent reads from the file: which input it was costs two numbers
 * an execution. By the same way the parent says that the process is to end.
 */
import fs from 'node:fs'
import koffi from 'koffi'
import { assert } from '../../engine/assert.ts'

const lib = koffi.load(null)
const callMmap = lib.func('void *mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)')
const PROT_READ_WRITE = 3
const MAP_SHARED = 1

/** Words of the head: runs begun, where the input of the last begins, its length, whether to end. */
const [RUNS, AT, LENGTH, ENDING] = [0, 1, 2, 3]
const HEAD_BYTES = 64

export class InputArena {
  /** Inputs are laid here. */
  readonly bytes: Uint8Array
  readonly #head: Int32Array

  /** Makes the file, or empties it. */
  constructor(file: string, bytes: number) {
    const fd = fs.openSync(file, 'w+')
    fs.ftruncateSync(fd, HEAD_BYTES + bytes)
    const length = HEAD_BYTES + bytes
    const memory = koffi.view(callMmap(null, length, PROT_READ_WRITE, MAP_SHARED, fd, 0), length)
    fs.closeSync(fd)
    this.#head = new Int32Array(memory, 0, HEAD_BYTES / 4)
    this.bytes = new Uint8Array(memory, HEAD_BYTES)
  }

  /** The input at `at` runs from now on. */
  note(at: number, length: number): void {
    this.#head[AT] = at
    this.#head[LENGTH] = length
    this.#head[RUNS]!++
  }

  get isEnding(): boolean {
    return this.#head[ENDING] !== 0
  }
}

/** What another process laid there. */
export class ArenaView {
  readonly #file: string

  constructor(file: string) {
    this.#file = file
    fs.writeFileSync(file, new Uint8Array(HEAD_BYTES))
  }

  runs(): number {
    return this.#read(0, HEAD_BYTES).readInt32LE(4 * RUNS!)
  }

  lastInput(): Uint8Array {
    const head = this.#read(0, HEAD_BYTES)
    return this.#read(HEAD_BYTES + head.readInt32LE(4 * AT!), head.readInt32LE(4 * LENGTH!))
  }

  end(): void {
    const fd = fs.openSync(this.#file, 'r+')
    fs.writeSync(fd, Uint8Array.of(1), 0, 1, 4 * ENDING!)
    fs.closeSync(fd)
  }

  remove(): void {
    fs.rmSync(this.#file, { force: true })
  }

  #read(at: number, length: number): Buffer {
    const fd = fs.openSync(this.#file, 'r')
    const bytes = Buffer.alloc(length)
    const got = fs.readSync(fd, bytes, 0, length, at)
    fs.closeSync(fd)
    assert(got === length, 'the file is as long as it was made')
    return bytes
  }
}
