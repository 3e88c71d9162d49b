/**
 * The checksum of everything stored or sent: crc32c (Castagnoli, RFC 3720 appendix B.4), in native code or not at all.
 *
 * `fast-crc32c` falls back to JavaScript without a word when its native part could not be compiled, and to a table in
 * C++ on a processor without SSE 4.2. Per 4 KiB on one machine: 0.41 us with SSE 4.2, 0.59 us for `@node-rs/crc32`,
 * 7.5 us in JavaScript. So the choice is made by what was loaded, never by timing: fast-crc32c when it runs on SSE 4.2,
 * else the prebuilt `@node-rs/crc32`, else the daemon does not start and says why.
 *
 * Both continue from a former value the same way (`crc32c(b, crc32c(a))` is the checksum of a followed by b) and answer
 * an unsigned 32-bit number; a test holds them against each other.
 */
import { createRequire } from 'node:module'
import { HoldfastError } from '../engine/errors.ts'
import type { Crc32c } from '../engine/ports.ts'

/** The second argument is never left out: the SSE 4.2 one refuses `undefined`. */
export type NativeCrc32c = (bytes: Uint8Array, previous: number) => number

/** How the choice reaches the packages, so that a test can take one away. Each throws when its package is not there. */
export interface ChecksumPackages {
  /** What fast-crc32c calculates with, and the function it would be if it ran on SSE 4.2. */
  fast(): { calculate: NativeCrc32c; sse42: NativeCrc32c | undefined }
  /** `native` tells a loaded machine-code library from the WebAssembly build of the same package. */
  prebuilt(): { crc32c: NativeCrc32c; native: boolean }
}

export type ChecksumChoice =
  | { implementation: 'fast-crc32c' | '@node-rs/crc32'; calculate: NativeCrc32c; reason: string }
  | { implementation: 'none'; reason: string }

const require = createRequire(import.meta.url)

export const INSTALLED: ChecksumPackages = {
  fast() {
    const { calculate } = require('fast-crc32c') as { calculate: NativeCrc32c }
    const insideFast = createRequire(require.resolve('fast-crc32c'))
    let sse42: NativeCrc32c | undefined
    try {
      sse42 = (insideFast('sse4_crc32') as { sse42_crc: NativeCrc32c }).sse42_crc
    } catch {
      sse42 = undefined
    }
    return { calculate, sse42 }
  },
  prebuilt() {
    const { crc32c } = require('@node-rs/crc32') as { crc32c: NativeCrc32c }
    const native = Object.keys(require.cache).some((path) => /crc32[^/]*\.node$/.test(path) && path.includes('node-rs'))
    return { crc32c, native }
  },
}

export function chooseChecksum(packages: ChecksumPackages): ChecksumChoice {
  let missing: string
  try {
    const { calculate, sse42 } = packages.fast()
    if (calculate === sse42) {
      return { implementation: 'fast-crc32c', calculate, reason: 'its native part is loaded and uses SSE 4.2' }
    }
    const native = sse42 !== undefined
    missing = native ? 'this processor has no SSE 4.2 for fast-crc32c' : 'fast-crc32c has no native part here'
  } catch (error) {
    missing = `fast-crc32c did not load (${firstLine(error)})`
  }
  try {
    const { crc32c, native } = packages.prebuilt()
    if (native) {
      return { implementation: '@node-rs/crc32', calculate: crc32c, reason: `${missing}; the prebuilt one is native` }
    }
    missing += ', @node-rs/crc32 loaded without machine code'
  } catch (error) {
    missing += `, @node-rs/crc32 did not load (${firstLine(error)})`
  }
  return { implementation: 'none', reason: missing }
}

const firstLine = (error: unknown): string =>
  String(error instanceof Error ? error.message : error).split('\n', 1)[0] ?? ''

const chosen = chooseChecksum(INSTALLED)

function refuse(): never {
  throw new HoldfastError('checksum-slow', { reason: chosen.reason })
}

const calculate: NativeCrc32c = chosen.implementation === 'none' ? refuse : chosen.calculate

/** crc32c of `bytes`, continued from `previous`. Nothing is allocated; the call itself costs about 0.06 us. */
export const crc32c: Crc32c = (bytes, previous = 0) => calculate(bytes, previous)

/** Throws `checksum-slow` unless a native implementation runs. A daemon calls it before it opens a disk. */
export function requireNativeChecksum(): void {
  if (chosen.implementation === 'none') refuse()
}

/** Which implementation runs and why, for `holdfast doctor` and one line of the log at start. */
export function describeChecksum(): { native: boolean; implementation: string; sentence: string } {
  const native = chosen.implementation !== 'none'
  const what = native ? `crc32c by ${chosen.implementation}` : 'no native crc32c'
  return { native, implementation: chosen.implementation, sentence: `${what}: ${chosen.reason}` }
}
