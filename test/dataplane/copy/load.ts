/** Random writes or reads of one size at a fixed depth through a device, and what came of it. */
import type { Device } from './hosts.ts'

export interface Load {
  kind: 'write' | 'read'
  seconds: number
  /** Before anything is counted. */
  warmSeconds: number
  depth: number
  blockBytes: number
  sizeBytes: number
}

export interface LoadResult {
  perSecond: number
  /** Of all seconds. */
  total: number
  errors: number
  p50Ms: number
  p99Ms: number
}

const SAMPLES_MAX = 1_000_000

export async function runLoad({ device }: Device, load: Load): Promise<LoadResult> {
  const { kind, seconds, warmSeconds, depth, blockBytes, sizeBytes } = load
  const places = Math.floor(sizeBytes / blockBytes)
  const times: number[] = []
  let errors = 0
  let total = 0
  let count = 0
  let isCounted = false
  let isOver = false
  let under = 0
  let ended = (): void => undefined
  const allEnded = new Promise<void>((resolve) => (ended = resolve))
  const data = Buffer.alloc(blockBytes, 7)
  const into = Buffer.alloc(blockBytes)
  const next = (): void => {
    const begin = performance.now()
    const at = Math.floor(Math.random() * places) * blockBytes
    under++
    const done = (errno: number): void => {
      under--
      total++
      if (errno !== 0) errors++
      if (isCounted) {
        count++
        if (times.length < SAMPLES_MAX) times.push(performance.now() - begin)
      }
      if (!isOver) next()
      else if (under === 0) ended()
    }
    if (kind === 'write') device.write(at, data, false, done)
    else device.read(at, into, done)
  }
  for (let i = 0; i < depth; i++) next()
  await new Promise((resolve) => setTimeout(resolve, warmSeconds * 1000))
  isCounted = true
  const begin = performance.now()
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const took = (performance.now() - begin) / 1000
  const counted = count
  isOver = true
  await allEnded
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.floor(times.length * share)] ?? 0
  return { perSecond: counted / took, total, errors, p50Ms: at(0.5), p99Ms: at(0.99) }
}
