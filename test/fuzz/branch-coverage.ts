/**
 * Which branches of which files ran, told by V8 itself: blocks that it counts precisely, in code that is optimised too.
 *
 * A block is what stands behind a condition: a branch, a loop's body, a function. V8 leaves out a block that ran as
 * often as the one around it, and tells neighbours as one, so the list of what there is grows while one looks: a block
 * is known by where it begins, and covered when a run of it was told once. Functions that never ran count as one block.
 *
 * V8 counts only in code that was compiled while it counts, so this begins before anything is loaded that is to be
 * counted, and does not go together with a cache of compiled code (NODE_DISABLE_COMPILE_CACHE=1).
 */
import { Session } from 'node:inspector'
import { pathToFileURL } from 'node:url'
import { assert } from '../../engine/assert.ts'

/** By file, from the root: [where a block begins, whether it ran]. */
export type BlockList = Record<string, Array<[start: number, ran: boolean]>>

export class BranchCoverage {
  readonly #session = new Session()
  readonly #rootUrl: string
  /** By file, by start. */
  readonly #seen = new Map<string, Map<number, boolean>>()

  constructor(root: string) {
    assert(process.env.NODE_DISABLE_COMPILE_CACHE === '1', 'blocks are not counted in code from a cache')
    this.#rootUrl = `${pathToFileURL(root).href}/`
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** What of ours ran since this was asked last. */
  take(): BlockList {
    const blocks: BlockList = {}
    // A session of the thread's own answers at once.
    this.#session.post('Profiler.takePreciseCoverage', (error, told) => {
      if (error !== null) throw error
      for (const { url, functions } of told.result) {
        if (!url.startsWith(this.#rootUrl)) continue
        const file = url.slice(this.#rootUrl.length)
        if (!isCounted(file)) continue
        blocks[file] = functions.flatMap(({ ranges }) =>
          ranges.map(({ startOffset, count }): [number, boolean] => [startOffset, count > 0]))
      }
    })
    return blocks
  }

  /** Whether a block ran there that never ran in what was added. */
  isNew(blocks: BlockList): boolean {
    return Object.entries(blocks).some(([file, list]) => {
      const seen = this.#seen.get(file)
      return list.some(([start, ran]) => ran && seen?.get(start) !== true)
    })
  }

  add(blocks: BlockList): void {
    for (const [file, list] of Object.entries(blocks)) {
      let seen = this.#seen.get(file)
      if (seen === undefined) this.#seen.set(file, seen = new Map())
      for (const [start, ran] of list) seen.set(start, ran || seen.get(start) === true)
    }
  }

  blocksOf(files: readonly string[]): BlockList {
    return Object.fromEntries(files.map((file) => [file, [...this.#seen.get(file) ?? []]]))
  }
}

/** Ours, and what the test of all this plants. */
const isCounted = (file: string): boolean =>
  file.startsWith('test/') ? file.startsWith('test/fuzz/planted/') : !file.startsWith('node_modules/')
