/**
 * Who did what that cannot be taken back, and what came of it: calls by which data goes (or will, by a schedule), a
 * volume changes hands by force, a disk is formatted, keys are touched, or somebody gets rights. Two entries a call, so
 * that one which ends the process is there:
 *
 *   asked    before it begins: when, who, by what, from where, and of the request what names its target
 *   ended    the same `id`: `done`, or the code and the sentence of the refusal
 *   denied   somebody known who has no right to it; of the same one and RPC once in 10 s, `untold` for the others
 *
 * What may be asked often is told folded, so that nobody rotates the rest away: `untold` says how many of that caller
 * were not told before.
 *
 * Invariant: of a request the fields of the table alone are told, and none of them is a secret.
 */
import { randomBytes } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import { ToldKinds } from '../../engine/told-kinds.ts'
import type { Caller } from './access.ts'

interface Audited {
  /** Of the request. */
  fields: readonly string[]
  /** Only with it. */
  flag?: string
  /** Only with one of them as its `operation`. */
  operations?: readonly string[]
  /** Nothing is lost by it, or schedules do it too: the same once in an hour, and so many of one caller. */
  isOften?(request: Readonly<Record<string, unknown>>): boolean
}

export const AUDITED: Readonly<Record<string, Audited>> = {
  'VolumeService/Resize': { fields: ['name', 'sizeBytes'], flag: 'force' },
  'VolumeService/Delete': { fields: ['name', 'force', 'purge', 'keep'] },
  'VolumeService/Purge': { fields: ['name'] },
  'VolumeService/GetKeys': { fields: ['name'], isOften: () => true },
  'VolumeService/ChangeKeys': { fields: ['name', 'wrappedBy'] },
  'VolumeService/ForcePromotion': { fields: ['name', 'to'] },
  'VolumeService/Attach': { fields: ['name', 'node', 'mode'], flag: 'force' },
  'VolumeService/Detach': { fields: ['name', 'all'], flag: 'all', isOften: () => true },
  'SnapshotService/Delete': { fields: ['volume', 'name', 'id'] },
  'SnapshotService/SetSchedule': { fields: ['volume', 'schedule'] },
  'SnapshotService/RollBack': { fields: ['volume', 'to', 'keepAs', 'force', 'id'] },
  'GroupService/Delete': { fields: ['name', 'id'] },
  'DiskService/Add': { fields: ['path', 'sizeBytes', 'pool'] },
  'NodeService/Remove': { fields: ['name'] },
  'TokenService/Create': { fields: ['name', 'role', 'validMs'] },
  'TokenService/Revoke': { fields: ['name'] },
  'ClusterService/Change': {
    fields: ['volumeId', 'operation', 'sizeBytes', 'snapshotId', 'toId'],
    operations: ['shrink', 'snapshot-delete', 'rollback'],
    isOften: ({ operation }) => operation === 'snapshot-delete',
  },
  'ClusterService/EraseCopy': { fields: ['volumeId', 'copyId', 'epoch'] },
}

/** A line of the audit log, but for its time and node. */
export type AuditEntry = Readonly<Record<string, string | number | boolean | object>>

export interface AuditPort {
  /** Whatever becomes of it: who asks is not made to wait, and not refused. */
  write(entry: AuditEntry): void
}

export interface From {
  remoteAddress?: string | undefined
  remotePort?: number | undefined
}

const TEXT_MAX = 256
const DENIED_EVERY_MS = 10_000
const FOLD_MS = 3600_000
const FOLD_TOLD_MAX = 256
const FOLD_CALLERS_MAX = 64

interface Fold {
  fromMs: number
  /** By kind, whether one was done. */
  told: Map<string, boolean>
  untold: number
}

const callerKey = ({ by, role, name }: Caller): string => `${by} ${role} ${name}`

export class AuditTrail {
  readonly #port: AuditPort
  readonly #nowMs: () => number
  /** By caller and RPC. */
  readonly #denied = new ToldKinds(DENIED_EVERY_MS)
  /** Of what is asked often, by caller. */
  readonly #folds = new Map<string, Fold>()

  /** @param nowMs  monotonic */
  constructor(port: AuditPort, nowMs = () => performance.now()) {
    this.#port = port
    this.#nowMs = nowMs
  }

  /** A call begins. @returns to be told what came of it: undefined, or why not */
  asked(rpc: string, request: object, caller: Caller, from: From): (error?: unknown) => void {
    const audited = Object.hasOwn(AUDITED, rpc) ? AUDITED[rpc]! : undefined
    const given = request as Readonly<Record<string, unknown>>
    const isTold = audited !== undefined && (audited.flag === undefined || given[audited.flag] === true)
      && (audited.operations?.includes(String(given.operation)) ?? true)
    if (!isTold) return () => undefined
    const id = randomBytes(8).toString('hex')
    const startedMs = this.#nowMs()
    const { fields, flag } = audited
    const shown = shownOf(given, flag === undefined ? fields : [...fields, flag])
    const fold = audited.isOften?.(given) === true ? this.#fold(`${rpc} ${JSON.stringify(shown)}`, caller) : undefined
    const isFolded = fold !== undefined && fold.untold === undefined
    const tellAsked = (): void => {
      const folded = fold?.untold === undefined || fold.untold === 0 ? {} : { untold: fold.untold }
      this.#port.write({ stage: 'asked', id, rpc, ...who(caller, from), request: shown, ...folded })
    }
    if (!isFolded) tellAsked()
    return (error) => {
      const isFirstDone = error === undefined && fold?.isFirstDone() === true
      if (isFolded && !isFirstDone) return
      // What was told failed, and this one did not: nobody shall take it for not done.
      if (isFolded) tellAsked()
      const tookMs = Math.round(this.#nowMs() - startedMs)
      this.#port.write({ stage: 'ended', id, rpc, ...who(caller, from), ...outcomeOf(error), tookMs })
    }
  }

  /**
   * @returns how many before it were not told; `untold` undefined: it is not either, unless it is the first one that is
   * done of a kind that was told
   */
  #fold(what: string, caller: Caller): { untold: number | undefined; isFirstDone(): boolean } {
    const nowMs = this.#nowMs()
    for (const [known, { fromMs, untold }] of this.#folds) {
      if (nowMs - fromMs >= FOLD_MS && untold === 0) this.#folds.delete(known)
    }
    // Those beyond share the last place.
    const own = callerKey(caller)
    const key = this.#folds.has(own) || this.#folds.size < FOLD_CALLERS_MAX - 1 ? own : ''
    const fold = this.#folds.get(key) ?? { fromMs: nowMs, told: new Map(), untold: 0 }
    this.#folds.set(key, fold)
    if (nowMs - fold.fromMs >= FOLD_MS) {
      fold.fromMs = nowMs
      fold.told.clear()
    }
    const kind = key === '' ? `${own} ${what}` : what
    const isFirstDone = (): boolean => {
      const isFirst = fold.told.get(kind) === false
      if (isFirst) fold.told.set(kind, true)
      return isFirst
    }
    if (fold.told.has(kind) || fold.told.size >= FOLD_TOLD_MAX) {
      fold.untold++
      return { untold: undefined, isFirstDone }
    }
    fold.told.set(kind, false)
    const { untold } = fold
    fold.untold = 0
    return { untold, isFirstDone }
  }

  denied(rpc: string, caller: Caller, from: From): void {
    if (!Object.hasOwn(AUDITED, rpc)) return
    const untold = this.#denied.tell(`${callerKey(caller)} ${rpc}`, this.#nowMs())
    if (untold === undefined) return
    this.#port.write({ stage: 'denied', rpc, ...who(caller, from), ...(untold > 0 ? { untold } : {}) })
  }
}

function who({ role, name, by, uid }: Caller, { remoteAddress, remotePort }: From): AuditEntry {
  const address = by === 'socket' || remoteAddress === undefined ? {} : { address: `${remoteAddress}:${remotePort}` }
  return { role, name, by, ...(uid === undefined ? {} : { uid }), ...address }
}

function outcomeOf(error: unknown): AuditEntry {
  if (error === undefined) return { outcome: 'done' }
  if (error instanceof HoldfastError) return { outcome: 'failed', code: error.code, reason: error.message }
  return { outcome: 'failed', code: 'bug' }
}

function shownOf(request: Readonly<Record<string, unknown>>, fields: readonly string[]): object {
  const shown: Record<string, string | number | boolean> = {}
  for (const field of fields) {
    const value = request[field]
    if (typeof value === 'string' && value !== '') shown[field] = value.slice(0, TEXT_MAX)
    else if (typeof value === 'number' || value === true) shown[field] = value
  }
  return shown
}
