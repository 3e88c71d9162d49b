/**
 * One watch of a Kubernetes API, from one resourceVersion on until it ends: events in order, one JSON object a line. It
 * does not begin anew by itself: who called knows up to where he was told, and whether he has to list again.
 *
 * It ends after a while without a word, though it looks open: the API sends bookmarks at least each minute or so.
 */
import { StringDecoder } from 'node:string_decoder'
import { parsed } from './api-client.ts'
import type { ApiClient } from './api-client.ts'

const SILENCE_MS = 150_000
/** The API ends a watch by itself after this, so that no node keeps one open over a change of who serves. */
const WHOLE_SECONDS = 300
const LINE_LENGTH_MAX = 8 * 1024 * 1024

export interface ApiEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  object: Record<string, unknown>
}

export type WatchEnd =
  /** What comes next is not kept any more: list again. */
  | 'gone'
  /** It may be begun again from the last resourceVersion that was told. */
  | { reason: string; isTold?: true }

export interface WatchOptions {
  path: string
  query?: Record<string, string>
  resourceVersion: string
  /** After which a stream that says nothing has ended; unset: longer than between two bookmarks. */
  silenceMs?: number | undefined
  onEvent(event: ApiEvent): void
  /** Once, unless it was closed. */
  onEnd(end: WatchEnd): void
}

/** @returns closes it: neither events nor its end are told after that */
export function watchApi(client: ApiClient, options: WatchOptions): () => void {
  const { path, query, resourceVersion, silenceMs = SILENCE_MS, onEvent, onEnd } = options
  const abort = new AbortController()
  let isOver = false
  const end = (how: WatchEnd): void => {
    if (isOver) return
    isOver = true
    clearTimeout(silence)
    abort.abort()
    onEnd(how)
  }
  const silence = setTimeout(() => end({ reason: 'it said nothing for too long' }), silenceMs)
  const asked = {
    ...query, watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: String(WHOLE_SECONDS), resourceVersion,
  }
  void client.open({ method: 'GET', path, query: asked }, abort.signal).then((opened) => {
    if (!opened.ok) return end({ reason: opened.failure.reason })
    const { response } = opened
    const status = response.statusCode
    if (status !== 200) return end(status === 410 ? 'gone' : { reason: `status ${status}` })
    const decoder = new StringDecoder('utf8')
    let rest = ''
    response.on('data', (piece: Buffer) => {
      silence.refresh()
      const lines = (rest + decoder.write(piece)).split('\n')
      rest = lines.pop()!
      for (const text of lines) if (!isOver) take(text)
      if (rest.length > LINE_LENGTH_MAX) end({ reason: 'an event is too long' })
    })
    response.on('error', (error) => end({ reason: error.message }))
    response.on('close', () => end({ reason: 'it was closed' }))
  })
  const take = (text: string): void => {
    if (text === '') return
    const { type, object } = parsed(text) ?? {}
    if (typeof object !== 'object' || object === null) return end({ reason: 'an event cannot be read' })
    if (isType(type)) return onEvent({ type, object: object as Record<string, unknown> })
    end((object as { code?: unknown }).code === 410 ? 'gone' : { reason: 'it told an error', isTold: true })
  }
  return () => {
    isOver = true
    clearTimeout(silence)
    abort.abort()
  }
}

const TYPES = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'] as const
const isType = (type: unknown): type is ApiEvent['type'] => TYPES.includes(type as ApiEvent['type'])
