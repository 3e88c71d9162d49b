/**
 * Events on objects of Kubernetes: what `kubectl describe` shows of them. What is told goes into a bounded queue and is
 * put by one call at a time, so that whoever tells waits for nothing, and fails of nothing.
 *
 *   told -> the same was told before: counted, put again when the last one is 30 s old -> else a new Event
 *   -> at most 5 a second after the first 50 -> put; the API is silent: three tries, then it is left out, and counted
 *
 * Bounded: what waits, what is remembered for counting, the length of a note, the rate.
 */
import { randomBytes } from 'node:crypto'
import { segment } from '../../cluster/kubernetes/api-client.ts'
import type { ApiClient, ApiFailure } from '../../cluster/kubernetes/api-client.ts'

const WAITING_MAX = 500
const KNOWN_MAX = 1000
const NOTE_LENGTH_MAX = 1000
/** Of a name of an object, in which that of an event begins. */
const NAME_LENGTH_MAX = 200
const AT_ONCE = 50
const PER_SECOND = 5
const COUNTED_EVERY_MS = 30_000
/** The API forgets them after an hour; what is told again later is told anew. */
const COUNTED_FOR_MS = 30 * 60_000
const TRIES = 3
const AGAIN_MS = 1000
const CALL_MS = 5000
const LOGGED_EVERY_MS = 60_000

/** Of the cluster itself: the Events lie in namespace `default`. */
export interface EventTarget {
  apiVersion: string
  kind: string
  /** Empty or missing: an object without one. */
  namespace?: string
  name: string
  uid?: string
}

export interface ToldEvent {
  about: EventTarget
  type: 'Normal' | 'Warning'
  /** One word, e.g. `VolumeFenced`. */
  reason: string
  /** A sentence: what happened, and what follows. */
  note: string
}

export interface EventRecorderOptions {
  client: Pick<ApiClient, 'call'>
  /** E.g. `holdfast-controller`. */
  component: string
  /** Of the process: its host, or pod. */
  instance: string
  /** Once a minute at most, when Events could not be put. */
  log(line: string): void
  /** Monotonic, and since 1970. */
  nowMs?(): number
  wallMs?(): number
  pause?(ms: number): Promise<void>
}

interface Known {
  told: ToldEvent
  count: number
  firstAtMs: number
  lastAtMs: number
  /** By the monotonic clock, when it was put last; -Infinity: never. */
  putAtMs: number
  /** Of the object in the API, while there is one. */
  name: string
  isWaiting: boolean
}

export class EventRecorder {
  readonly #options: EventRecorderOptions
  /** In the order in which they were told last. */
  readonly #known = new Map<string, Known>()
  readonly #waiting: Known[] = []
  #sending: Promise<void> | undefined
  #room = AT_ONCE
  #roomAtMs: number
  #isClosed = false
  #leftOut = 0
  #loggedAtMs = -Infinity

  constructor(options: EventRecorderOptions) {
    this.#options = options
    this.#roomAtMs = this.#nowMs()
  }

  /** How many were left out: no room, or the API did not take them. */
  get leftOut(): number {
    return this.#leftOut
  }

  /** Waits for nothing, and never throws. */
  tell(told: ToldEvent): void {
    if (this.#isClosed) return
    const key = JSON.stringify([told.about, told.type, told.reason, told.note])
    const [nowMs, atMs] = [this.#nowMs(), this.#wallMs()]
    let known = this.#known.get(key)
    this.#known.delete(key)
    if (known === undefined || nowMs - known.putAtMs > COUNTED_FOR_MS) {
      // One that waits is not put twice; it was never put, or long ago.
      if (known?.isWaiting !== true) {
        known = { told, count: 0, firstAtMs: atMs, lastAtMs: atMs, putAtMs: -Infinity, name: '', isWaiting: false }
      }
    }
    known.count++
    known.lastAtMs = atMs
    this.#known.set(key, known)
    if (this.#known.size > KNOWN_MAX) this.#known.delete(this.#known.keys().next().value!)
    if (known.isWaiting || nowMs - known.putAtMs < COUNTED_EVERY_MS) return
    if (this.#waiting.length >= WAITING_MAX) return this.#leaveOut('too many wait')
    known.isWaiting = true
    this.#waiting.push(known)
    this.#begin()
  }

  /** What waits is put, for so long at most; nothing is told after it. */
  async close(withinMs = 2000): Promise<void> {
    this.#isClosed = true
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, withinMs)))
    await Promise.race([this.#sending, late])
    clearTimeout(timer)
    this.#waiting.length = 0
  }

  #begin(): void {
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined
      if (this.#waiting.length > 0) this.#begin()
    })
  }

  async #send(): Promise<void> {
    for (let known = this.#waiting.shift(); known !== undefined; known = this.#waiting.shift()) {
      await this.#rate()
      known.isWaiting = false
      known.putAtMs = this.#nowMs()
      const failure = await this.#put(known)
      if (failure !== undefined) this.#leaveOut(failure.reason)
    }
  }

  /** @returns why it was not put */
  async #put(known: Known): Promise<ApiFailure | undefined> {
    for (let i = 1; ; i++) {
      const failure = known.name === '' ? await this.#create(known) : await this.#count(known)
      if (failure === undefined) return undefined
      const isPassing = failure.status === 0 || failure.status === 429 || failure.status >= 500
      if (!isPassing || i === TRIES) {
        // The API forgot it, or never had it.
        known.name = ''
        if (failure.status !== 404 || i === TRIES) return failure
        continue
      }
      await this.#pause(AGAIN_MS * i)
    }
  }

  async #create(known: Known): Promise<ApiFailure | undefined> {
    const { told: { about, type, reason, note }, count, firstAtMs, lastAtMs } = known
    const namespace = namespaceOf(about)
    const base = about.name.slice(0, NAME_LENGTH_MAX).replace(/[^a-z0-9]+$/, '')
    const name = `${base === '' ? 'event' : base}.${randomBytes(8).toString('hex')}`
    const { apiVersion, kind, name: object, uid } = about
    const body = {
      apiVersion: 'v1', kind: 'Event', metadata: { namespace, name },
      involvedObject: {
        apiVersion, kind, name: object, ...(isNamespaced(about) ? { namespace } : {}),
        ...(uid === undefined ? {} : { uid }),
      },
      type, reason, message: note.slice(0, NOTE_LENGTH_MAX), count,
      firstTimestamp: time(firstAtMs), lastTimestamp: time(lastAtMs),
      source: { component: this.#options.component, host: this.#options.instance },
    }
    const path = `/api/v1/namespaces/${segment(namespace)}/events`
    const answer = await this.#options.client.call({ method: 'POST', path, body, deadlineMs: CALL_MS })
    if (!answer.ok && answer.failure.status !== 409) {
      // One that may be there is counted on by its name; if it is not, it is put anew.
      if (answer.failure.isUnknown) known.name = name
      return answer.failure
    }
    known.name = name
    return undefined
  }

  async #count({ told: { about }, name, count, lastAtMs }: Known): Promise<ApiFailure | undefined> {
    const path = `/api/v1/namespaces/${segment(namespaceOf(about))}/events/${segment(name)}`
    const body = { count, lastTimestamp: time(lastAtMs) }
    const answer = await this.#options.client.call({ method: 'PATCH', path, body, deadlineMs: CALL_MS })
    return answer.ok ? undefined : answer.failure
  }

  async #rate(): Promise<void> {
    const nowMs = this.#nowMs()
    this.#room = Math.min(AT_ONCE, this.#room + ((nowMs - this.#roomAtMs) / 1000) * PER_SECOND)
    this.#roomAtMs = nowMs
    if (this.#room < 1) {
      await this.#pause(((1 - this.#room) / PER_SECOND) * 1000)
      this.#room = 1
      this.#roomAtMs = this.#nowMs()
    }
    this.#room--
  }

  #leaveOut(reason: string): void {
    this.#leftOut++
    const nowMs = this.#nowMs()
    if (nowMs - this.#loggedAtMs < LOGGED_EVERY_MS) return
    this.#loggedAtMs = nowMs
    this.#options.log(`an Event is left out (${this.#leftOut} so far): ${reason}`)
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? performance.now()
  }

  #wallMs(): number {
    return this.#options.wallMs?.() ?? Date.now()
  }

  #pause(ms: number): Promise<void> {
    return this.#options.pause?.(ms) ?? new Promise((resolve) => setTimeout(resolve, ms).unref())
  }
}

const isNamespaced = ({ namespace }: EventTarget): boolean => namespace !== undefined && namespace !== ''
const namespaceOf = (about: EventTarget): string => (isNamespaced(about) ? about.namespace! : 'default')
const time = (atMs: number): string => new Date(atMs).toISOString()
