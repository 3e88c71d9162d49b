/**
 * Which branches of which files ran, told by V8 itself: blocks that it counts precisely, in code that is optimised too.
 *
 * A block is what stands behind a condition: a branch, a loop's body, a function. V8 leaves out a block that ran as
 * often as the one around it, and tells neighbours as one, so the list of what there is grows while one looks: a block
 * is known by where it begins, once it did not run. Functions that never ran count as one block.
 *
 * V8 counts only in code that was compiled while it counts, so this begins before anything is loaded that is to be
 * counted, and does not go together with a cache of compiled code (NODE_DISABLE_COMPILE_CACHE=1).
 */
import { Session } from 'node:inspector'
import type { Profiler } from 'node:inspector'
import { pathToFileURL } from 'node:url'
import { assert } from '../../engine/assert.ts'

/** By file, from the root: [where a block begins, whether it ran]. */
export type BlockList = Record<string, Array<[start: number, ran: boolean]>>

/** Of one function, the outermost range first. */
type Ranges = readonly Profiler.CoverageRange[]
export type Told = ReadonlyArray<readonly [file: string, functions: readonly Ranges[]]>

export class BranchCoverage {
  readonly #session = new Session()
  readonly #rootUrl: string
  /** By file, by where the function begins, by where the block begins: whether it ran. */
  readonly #seen = new Map<string, Map<number, Map<number, boolean>>>()

  constructor(root: string) {
    assert(process.env.NODE_DISABLE_COMPILE_CACHE === '1', 'blocks are not counted in code from a cache')
    this.#rootUrl = `${pathToFileURL(root).href}/`
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** What of ours ran since this was asked last. */
  take(): Told {
    const files: Array<[string, Ranges[]]> = []
    // A session of the thread's own answers at once.
    this.#session.post('Profiler.takePreciseCoverage', (error, told) => {
      if (error !== null) throw error
      for (const { url, functions } of told.result) {
        const file = url.startsWith(this.#rootUrl) ? url.slice(this.#rootUrl.length) : ''
        if (isCounted(file)) files.push([file, functions.map(({ ranges }) => ranges)])
      }
    })
    return files
  }

  /** Whether a block ran there, or a function, that in what was added never did. */
  isNew(told: Told): boolean {
    return told.some(([file, functions]) => functions.some((ranges) => {
      if (ranges[0]!.count === 0) return false
      const blocks = this.#seen.get(file)?.get(ranges[0]!.startOffset)
      if (blocks === undefined || !blocks.get(ranges[0]!.startOffset)) return true
      return [...blocks].some(([start, ran]) => !ran && countAt(ranges, start) > 0)
    }))
  }

  add(told: Told): void {
    for (const [file, functions] of told) {
      let ofFile = this.#seen.get(file)
      if (ofFile === undefined) this.#seen.set(file, ofFile = new Map())
      for (const ranges of functions) {
        const { startOffset } = ranges[0]!
        let blocks = ofFile.get(startOffset)
        if (blocks === undefined) ofFile.set(startOffset, blocks = new Map())
        for (const [start, ran] of blocks) if (!ran && countAt(ranges, start) > 0) blocks.set(start, true)
        for (const { startOffset: start, count } of ranges) blocks.set(start, count > 0 || blocks.get(start) === true)
      }
    }
  }

  blocksOf(files: readonly string[]): BlockList {
    return Object.fromEntries(files.map((file) =>
      [file, [...this.#seen.get(file)?.values() ?? []].flatMap((blocks) => [...blocks])]))
  }
}

/** A block that ran as often as the one around it is not told: what counts is the innermost that is. */
function countAt(ranges: Ranges, offset: number): number {
  let innermost: Profiler.CoverageRange | undefined
  for (const range of ranges) {
    if (range.startOffset > offset || range.endOffset <= offset) continue
    if (innermost === undefined || lengthOf(range) <= lengthOf(innermost)) innermost = range
  }
  return innermost?.count ?? 0
}

const lengthOf = ({ startOffset, endOffset }: Profiler.CoverageRange): number => endOffset - startOffset

/** Ours, and what the test of all this plants. */
const isCounted = (file: string): boolean =>
  file.startsWith('test/') ? file.startsWith('test/fuzz/planted/') : file !== '' && !file.startsWith('node_modules/')
