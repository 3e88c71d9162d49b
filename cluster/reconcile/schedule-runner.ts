/**
 * Snapshots that volumes are wished to get by themselves, made at the elected controller (SNAPSHOTS.md section 6). What
 * nodes report says of most volumes that nothing is missing; what is missing is ordered as a user would, and judged on
 * what the primary has. Nothing is written down: the next controller sees what there is.
 *
 *   turn:  each volume with a schedule -> is one missing? -> make it -> delete what the schedule does not keep
 *                                                             `-> refused: tried again after a while, and told
 */
import { randomUUID } from 'node:crypto'
import type { VolumeView } from '../../engine/control/cluster.ts'
import { retained } from '../../engine/control/retention.ts'
import { SCHEDULED_LABEL, missingTime, scheduledAtMs } from '../../engine/control/snapshot-schedule.ts'
import type { SnapshotSchedule } from '../../engine/control/snapshot-schedule.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { Problem } from '../api/node-messages.ts'
import { primaryCopy, whyNotServed } from './cluster-view.ts'
import type { Controller, Term } from './controller.ts'
import type { SnapshotControl } from './snapshot-control.ts'

/** At the full hour all volumes want one: some at a time, so that users and rebuilds are heard in between. */
const RUNNING_MOST = 4
/** What was refused may need somebody to do something. */
const RETRY_DEFAULT_MS = 30_000
/** One by one; of more than those their number. */
const VOLUMES_NAMED = 8
/** Who was elected a moment ago has not heard of most snapshots yet. */
const INFORMED_MS = 5_000

export interface ScheduleRunnerOptions {
  controller: Controller
  snapshots: SnapshotControl
  nowMs(): number
  /** Since 1970. */
  wallMs(): number
  /** What was refused is tried again after so long. */
  retryMs?: number
  onBug(error: unknown): void
}

interface Job {
  isRunning: boolean
  /** The last time for which this controller has seen one, its own or another's. */
  doneMs: number
  /** One was made since old ones were deleted. */
  isPruneDue: boolean
  triedAtMs: number
  retryAtMs: number
  /** Why it is not as it should be; undefined: it is. */
  problem: string | undefined
}

interface Due {
  job: Job
  record: VolumeRecord
  schedule: SnapshotSchedule
  /** Undefined: only old ones are to be deleted. */
  timeMs: number | undefined
}

export class ScheduleRunner {
  private readonly options: ScheduleRunnerOptions
  /** By volume. */
  private jobs = new Map<string, Job>()
  private term: Term | undefined
  private readonly running = new Set<Promise<void>>()

  constructor(options: ScheduleRunnerOptions) {
    this.options = options
  }

  /** Begins what is missing, and waits for nothing. */
  turn(): void {
    const term = this.options.controller.term()
    if (this.term !== term) {
      this.term = term
      this.jobs = new Map()
    }
    if (term === undefined) return
    const due: Due[] = []
    for (const [volumeId, volume] of term.cluster.volumes) {
      const { record } = volume
      const schedule = record?.trash === null ? record.snapshotSchedule : undefined
      if (schedule === undefined) this.jobs.delete(volumeId)
      else due.push(...this.look(term, volume, record!, schedule))
    }
    for (const volumeId of this.jobs.keys()) if (!term.cluster.volumes.has(volumeId)) this.jobs.delete(volumeId)
    // Those that cannot be done are tried again and again, and hold up nobody else by it.
    due.sort((a, b) => a.job.triedAtMs - b.job.triedAtMs)
    for (const one of due.slice(0, RUNNING_MOST - this.running.size)) this.begin(one)
  }

  /** Of `holdfast status`. */
  problems(): Problem[] {
    const told = [...this.jobs].filter(([, { problem }]) => problem !== undefined).map(([volumeId, { problem }]) => {
      const name = this.term?.cluster.volumes.get(volumeId)?.record?.spec.name ?? volumeId
      const next = `it is tried again by itself; \`holdfast snapshot ls ${name}\` shows what there is`
      return { what: `scheduled snapshots of volume ${name}`, why: problem!, next }
    })
    const rest = told.length - VOLUMES_NAMED
    if (rest <= 0) return told
    const what = `scheduled snapshots of ${rest} more volume(s)`
    const more = { what, why: 'those of the last times are not made', next: 'they are tried again by themselves' }
    return [...told.slice(0, VOLUMES_NAMED), more]
  }

  /** Something is under way. */
  get isBusy(): boolean {
    return this.running.size > 0
  }

  /** @returns what is to be done now, or nothing */
  private look(term: Term, volume: VolumeView, record: VolumeRecord, schedule: SnapshotSchedule): Due[] {
    const { nowMs, wallMs } = this.options
    const job = this.jobOf(volume.id)
    if (job.isRunning || nowMs() < job.retryAtMs) return []
    const primary = primaryCopy(term, volume)
    const timeMs = missingTime(schedule, [job.doneMs, primary?.newestScheduledAtMs ?? 0], wallMs())
    if (timeMs === undefined && !job.isPruneDue) {
      job.problem = undefined
      return []
    }
    if (primary?.role !== 'primary') {
      if (nowMs() - term.cluster.startedAtMs < INFORMED_MS) return []
      const unled = new HoldfastError('volume-unled', { name: record.spec.name, reason: whyNotServed(volume) })
      job.problem = whyNot(unled, timeMs)
      return []
    }
    return [{ job, record, schedule, timeMs }]
  }

  private begin(due: Due): void {
    const { job } = due
    job.isRunning = true
    job.triedAtMs = this.options.nowMs()
    const run = this.run(due).catch(this.options.onBug)
    const ended: Promise<void> = run.then(() => {
      job.isRunning = false
      this.running.delete(ended)
    })
    this.running.add(ended)
  }

  private jobOf(volumeId: string): Job {
    const known = this.jobs.get(volumeId)
    if (known !== undefined) return known
    const never = { triedAtMs: -Infinity, retryAtMs: -Infinity }
    const made = { isRunning: false, doneMs: 0, isPruneDue: false, ...never, problem: undefined }
    this.jobs.set(volumeId, made)
    return made
  }

  private async run({ job, record, schedule, timeMs }: Due): Promise<void> {
    let failed = timeMs === undefined ? undefined : await tried(() => this.make(record, timeMs))
    if (failed === undefined && timeMs !== undefined) {
      job.doneMs = timeMs
      job.isPruneDue = true
    }
    // Also when there is no room for another one: deletions may give some.
    if (failed === undefined || failed.code === 'snapshot-limit') {
      const unpruned = await tried(() => this.prune(record, schedule))
      if (unpruned === undefined) job.isPruneDue = false
      failed ??= unpruned
    }
    job.problem = failed === undefined ? undefined : whyNot(failed, job.isPruneDue ? undefined : timeMs)
    const { nowMs, retryMs = RETRY_DEFAULT_MS } = this.options
    job.retryAtMs = failed === undefined ? -Infinity : nowMs() + retryMs
  }

  /** T10: one of that name is that of another try, unless a hand made it. */
  private async make(record: VolumeRecord, timeMs: number): Promise<void> {
    const { snapshots, wallMs } = this.options
    const name = nameOf(timeMs)
    const title = { name, createdAtMs: wallMs(), labels: { [SCHEDULED_LABEL]: String(timeMs) } }
    try {
      await snapshots.make(record, randomUUID().replaceAll('-', ''), title)
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'snapshot-exists') throw error
      const { labels } = await snapshots.get({ volume: record.spec.name, name })
      if (scheduledAtMs(labels) !== timeMs) throw error
    }
  }

  /** T13. One that is read stays, and goes behind a later one. */
  private async prune(record: VolumeRecord, { keep }: SnapshotSchedule): Promise<void> {
    const { snapshots } = this.options
    const scheduled = (await snapshots.all(record)).filter(({ labels }) => scheduledAtMs(labels) !== undefined)
    const kept = retained(scheduled, keep)
    for (const { id, name } of scheduled) {
      if (kept.has(id)) continue
      const failed = await tried(async () => void (await snapshots.remove(record, name, id)))
      if (failed !== undefined && failed.code !== 'snapshot-in-use') throw failed
    }
  }
}

/** E.g. `scheduled-20261130-140000`, UTC. */
const nameOf = (timeMs: number): string =>
  `scheduled-${new Date(timeMs).toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`

/** E.g. `2026-11-30 14:00`. */
const shownTime = (timeMs: number): string => new Date(timeMs).toISOString().slice(0, 16).replace('T', ' ')

const whyNot = ({ message }: HoldfastError, timeMs: number | undefined): string =>
  timeMs === undefined ? `old ones are not deleted: ${message}`
    : `the one of ${shownTime(timeMs)} UTC is not made: ${message}`

async function tried(work: () => Promise<void>): Promise<HoldfastError | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (error instanceof HoldfastError) return error
    throw error
  }
}
