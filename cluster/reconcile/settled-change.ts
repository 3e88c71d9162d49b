/**
 * A change of a volume, from a wish to what is known of it (SNAPSHOTS.md T1 to T4), at the elected controller:
 *
 *   look at the primary -> judge -> done, or refused
 *                            | order, only for what was looked at
 *                            v
 *            the primary says that it is made -> done      anything else -> look again, until the time is over
 */
import type { SnapshotAnswer, SnapshotQuery } from '../../engine/control/volume-snapshots.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { RecordId } from '../../engine/replication/record-id.ts'
import type { ControlChange } from '../../engine/replication/record.ts'
import type { ReachedNode } from './action-runner.ts'
import { orderedChange } from './change-order.ts'
import { whyNotServed } from './cluster-view.ts'
import type { Controller } from './controller.ts'

/** Of one question or order to a node, also to our own. */
const CALL_MS = 3_000
/** Then the outcome is not known, or nobody led. */
const SETTLE_MS = 20_000

export interface SettlingOptions {
  controller: Controller
  nowMs(): number
}

/** Of what was asked, for sentences. */
export interface Asked {
  record: VolumeRecord
  /** E.g. `snapshot daily`. */
  what: string
  /** Anew each time: what is known of it may have grown. */
  query(): Omit<SnapshotQuery, 'volumeId'>
}

export type Judged<T> =
  | { done: T }
  | { refused: HoldfastError }
  | {
      order: ControlChange
      unusedSince?: number
      made(seq: number): T
      /** The order was not carried out, and will not be. @returns whether that is the end */
      onRefusal?(error: HoldfastError): boolean
    }

interface Looked {
  answer: SnapshotAnswer
  primary: ReachedNode
  /** Whose it is. */
  node: string
}

type Tried<T> = { ok: true; value: T } | { ok: false; error: HoldfastError }

/** Answers by which a node says that this order was not carried out, and will not be. */
const REFUSALS: ReadonlySet<string> = new Set([
  'change-superseded', 'copy-not-found', 'copy-refused', 'order-refused', 'rollback-in-use', 'snapshot-in-use',
  'volume-occupied',
])

export const isRefusal = ({ code }: HoldfastError): boolean => REFUSALS.has(code)

/** Those that say already what users have to know. */
const TOLD: ReadonlySet<string> = new Set(['rollback-in-use', 'snapshot-in-use', 'volume-occupied'])

/** What nobody can mend by trying again. */
class Final extends HoldfastError {}

/**
 * @throws HoldfastError `change-outcome` when it may have been done, or may be yet; every other one says that it was
 * not, and will not be
 */
export async function settle<T>(
  options: SettlingOptions, asked: Asked, judge: (answer: SnapshotAnswer) => Judged<T> | Promise<Judged<T>>,
): Promise<T> {
  const { controller, nowMs } = options
  const { spec: { name: volume } } = asked.record
  const deadlineMs = nowMs() + SETTLE_MS
  /** What an order named that may be carried out yet. */
  let open: RecordId | undefined
  const outcome = (error: HoldfastError) =>
    new HoldfastError('change-outcome', { what: asked.what, volume, reason: reasonOf(error) })
  for (;;) {
    const looked = await tried(() => look(options, asked))
    let failed = looked.ok ? undefined : looked.error
    let isFinal = failed instanceof Final
    if (looked.ok) {
      const { answer, primary } = looked.value
      const { changed } = answer
      if (open !== undefined && (open.epoch !== changed.epoch || open.seq !== changed.seq)) open = undefined
      const judged = await judge(answer)
      if ('done' in judged) return judged.done
      if ('refused' in judged) throw open === undefined ? judged.refused : outcome(judged.refused)
      const { order: change, unusedSince = 0, made } = judged
      const { calls, addressee } = primary
      const { id: volumeId } = asked.record.spec
      const order = { volumeId, ...addressee, ...orderedChange({ change, expected: changed, unusedSince }) }
      const ordered = await tried(() => within(calls.change(order)))
      if (ordered.ok) return made(ordered.value.seq)
      failed = ordered.error
      if (!isRefusal(failed)) open = changed
      else {
        isFinal = judged.onRefusal?.(failed) === true
        failed = told(failed, volume)
      }
    }
    if (isFinal || nowMs() > deadlineMs || controller.term() === undefined) {
      throw open === undefined ? failed! : outcome(failed!)
    }
    await controller.passed()
  }
}

/** What the primary has now. @throws HoldfastError `volume-unled`, in the end */
export async function lookAt(options: SettlingOptions, asked: Asked): Promise<SnapshotAnswer> {
  return (await lookWhenLed(options, asked)).answer
}

/** The same, and who said it. */
export async function lookWhenLed(options: SettlingOptions, asked: Asked): Promise<Looked> {
  const { controller, nowMs } = options
  const deadlineMs = nowMs() + SETTLE_MS
  for (;;) {
    const looked = await tried(() => look(options, asked))
    if (looked.ok) return looked.value
    const { error } = looked
    if (error instanceof Final || nowMs() > deadlineMs || controller.term() === undefined) throw error
    await controller.passed()
  }
}

/** Once. @throws HoldfastError `volume-unled`, or when who is asked is not elected */
export async function look(
  { controller }: SettlingOptions, { record, query }: Asked,
): Promise<Looked> {
  const term = controller.term()
  if (term === undefined) throw new Final('no-controller', { reason: 'who was asked is not elected' })
  const { id: volumeId, name } = record.spec
  const view = term.cluster.volumes.get(volumeId)
  const unled = (reason: string, isFinal = false) =>
    isFinal ? new Final('volume-unled', { name, reason }) : new HoldfastError('volume-unled', { name, reason })
  if (view?.verdict?.health === 'faulted') throw unled(view.verdict.healthReason, true)
  const node = view?.config?.primary
  const primary = node === undefined ? undefined : controller.reach(term, node)
  if (node === undefined || primary === undefined) throw unled(whyNotServed(view))
  try {
    return { answer: await within(primary.calls.snapshots({ volumeId, ...query() })), primary, node }
  } catch (error) {
    if (error instanceof HoldfastError) throw unled(reasonOf(error))
    throw error
  }
}

/** Who does not answer may have done it. @throws HoldfastError of the call, or `unreachable` */
export async function within<T>(call: Promise<T>, callMs = CALL_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const reason = `no answer in ${callMs / 1000} s`
    const error = new HoldfastError('unreachable', { endpoint: 'its node', source: 'its heartbeat', reason })
    timer = setTimeout(() => reject(error), callMs)
  })
  try {
    return await Promise.race([call, late])
  } finally {
    clearTimeout(timer)
  }
}

async function tried<T>(call: () => Promise<T>): Promise<Tried<T>> {
  try {
    return { ok: true, value: await call() }
  } catch (error) {
    if (error instanceof HoldfastError) return { ok: false, error }
    throw error
  }
}

/** A node's refusal in the words of users, by the name of the volume. */
const told = (error: HoldfastError, name: string): HoldfastError =>
  TOLD.has(error.code) ? new HoldfastError(error.code, { ...error.detail, volume: name })
    : new HoldfastError('volume-unled', { name, reason: reasonOf(error) })

export const reasonOf = ({ detail, message }: HoldfastError): string =>
  typeof detail['reason'] === 'string' ? detail['reason'] : message
