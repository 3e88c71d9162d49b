/**
 * Which requests of a session were applied (SPEC S1): the second leg of exactly-once. Every copy keeps it from the
 * records it applies, it is part of every checkpoint, and so it survives promotion.
 *
 *   applied: all below `floor`, and those in `done`; `ordered` (primary only): in the log, not committed yet
 *
 * Numbers begin at 1 and lie close (`REQUEST_SPAN_MAX`), so `done` stays small. I19.
 */
import { REQUEST_SPAN_MAX } from './frontend-state.ts'
import { countNumbered, enterNumbered, leaveNumbered, noNumbered, numberedAt } from './numbered.ts'
import type { Numbered } from './numbered.ts'
import type { RequestId, Session } from './record.ts'

/** Of a volume. A message that brings them all has room for so many. */
export const WINDOWS_MAX = 65_536

export interface SessionWindow extends Session {
  floor: number
  highest: number
  /** Number -> how many parts it has, then those that were applied. */
  done: Map<number, number[]>
  ordered: Numbered<number[]>
}

/** `[generation, incarnation, floor, highest, [number, count, ...parts][]]` of each session. */
type Encoded = Array<[number, number, number, number, number[][]]>

export function encodeWindows(windows: readonly SessionWindow[]): unknown {
  const encoded: Encoded = []
  for (const { generation, incarnation, floor, highest, done } of windows) {
    // Of a session that wrote nothing there is nothing to know.
    if (highest === 0 && floor === 1) continue
    const beyond: number[][] = []
    if (done.size > 0) for (const [number, parts] of done) beyond.push([number, ...parts])
    encoded.push([generation, incarnation, floor, highest, beyond])
  }
  return encoded
}

export function decodeWindows(encoded: unknown): SessionWindow[] {
  return ((encoded ?? []) as Encoded).map(([generation, incarnation, floor, highest, beyond]) => ({
    generation,
    incarnation,
    floor,
    highest,
    done: new Map(beyond.map(([number, ...parts]) => [number!, parts])),
    ordered: noNumbered(),
  }))
}

export function findWindow(windows: readonly SessionWindow[], session: Session): SessionWindow | undefined {
  for (let i = windows.length - 1; i >= 0; i--) {
    const window = windows[i]!
    if (window.incarnation === session.incarnation && window.generation === session.generation) return window
  }
  return undefined
}

export function windowOf(windows: SessionWindow[], { generation, incarnation }: Session): SessionWindow {
  const found = findWindow(windows, { generation, incarnation })
  if (found !== undefined) return found
  const window: SessionWindow = {
    generation,
    incarnation,
    floor: 1,
    highest: 0,
    done: new Map(),
    ordered: noNumbered(),
  }
  windows.push(window)
  return window
}

/** Whether a request is new, is in the log, or took effect. */
export function fateOf(window: SessionWindow, { request, part }: RequestId): 'new' | 'ordered' | 'applied' {
  if (request < window.floor || window.done.get(request)?.includes(part, 1) === true) return 'applied'
  return numberedAt(window.ordered, request)?.includes(part) === true ? 'ordered' : 'new'
}

export function noteOrdered(window: SessionWindow, { request, part }: RequestId): void {
  const parts = numberedAt(window.ordered, request)
  if (parts === undefined) enterNumbered(window.ordered, request, [part])
  else parts.push(part)
}

export function noteApplied(windows: SessionWindow[], id: RequestId): void {
  const window = windowOf(windows, id)
  const { request, part, parts } = id
  if (countNumbered(window.ordered) > 0) forgetOrdered(window, request, part)
  if (request > window.highest) window.highest = request
  if (request === window.floor && parts === 1) window.floor++
  else if (request >= window.floor) {
    const done = window.done.get(request)
    if (done === undefined) window.done.set(request, [parts, part])
    else if (!done.includes(part, 1)) done.push(part)
  }
  while (window.done.size > 0 && takeWhole(window)) window.floor++
  // What a refused request left open is closed for ever: nobody waits for such a low number any more.
  const lowest = Math.max(id.answeredBelow ?? 0, window.highest - REQUEST_SPAN_MAX)
  if (lowest > window.floor) raiseFloor(window, lowest)
}

/** Whether all parts of the lowest number were applied. */
function takeWhole(window: SessionWindow): boolean {
  const done = window.done.get(window.floor)
  if (done === undefined || done.length - 1 !== done[0]) return false
  window.done.delete(window.floor)
  return true
}

export function raiseFloor(window: SessionWindow, floor: number): void {
  window.floor = floor
  for (const number of window.done.keys()) if (number < floor) window.done.delete(number)
}

function forgetOrdered(window: SessionWindow, request: number, part: number): void {
  const parts = numberedAt(window.ordered, request)
  if (parts === undefined) return
  const at = parts.indexOf(part)
  if (at >= 0) parts.splice(at, 1)
  if (parts.length === 0) leaveNumbered(window.ordered, request)
}
