/**
 * What is kept of a copy whose step met a broken promise of our own code: its state, the event, the stack, in a file of
 * the node's folder. Bytes of blocks are left out: they are the user's, and the copy still has them.
 */
import fs from 'node:fs'
import path from 'node:path'

export interface Evidence {
  volumeId: string
  error: unknown
  event: unknown
  state: unknown
  nowMs: number
}

/** A loop of failures must not fill the disk. */
const FILES_MAX = 100

/** @returns the file, or why there is none */
export function saveEvidence(dir: string, { volumeId, error, event, state, nowMs }: Evidence): string {
  try {
    fs.mkdirSync(dir, { recursive: true })
    if (fs.readdirSync(dir).length >= FILES_MAX) return `not saved: ${dir} has ${FILES_MAX} files already`
    const file = path.join(dir, `copy-${volumeId}-${Date.now()}.json`)
    const stack = error instanceof Error ? error.stack : String(error)
    fs.writeFileSync(file, JSON.stringify({ volumeId, nowMs, stack, event, state }, plain, 1))
    return file
  } catch (problem) {
    return `not saved: ${problem instanceof Error ? problem.message : String(problem)}`
  }
}

function plain(_key: string, value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return { bytes: value.byteLength }
  if (value instanceof Map) return { entries: [...(value as Map<unknown, unknown>)] }
  if (value instanceof Set) return { values: [...(value as Set<unknown>)] }
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}
