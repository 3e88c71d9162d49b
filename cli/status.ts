/** `holdfast status [--watch]`: the page of cluster/api/status-page.ts as text. */
import { setTimeout as sleep } from 'node:timers/promises'
import { formatAge, formatSize } from '../cluster/api/amounts.ts'
import type { Status } from '../cluster/api/node-messages.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK } from './output.ts'

const WATCH_MS = 1000
const CLEAR_SCREEN = '\x1b[H\x1b[2J'

/** @returns no line, or the one about scrubs */
export function describeScrubs(status: Status, nowMs: number): string[] {
  const { copiesScrubbing, scrubPercent } = status
  const now = copiesScrubbing === 0 ? [] : [`${copiesScrubbing} under way, ${scrubPercent} % of it is done`]
  const words = [...now, ...endedScrubs(status, nowMs)]
  return words.length === 0 ? [] : [`scrubs: ${words.join('; ')}`]
}

function endedScrubs(status: Status, nowMs: number): string[] {
  const { copiesNeverScrubbed: never, oldestScrubAtMs, oldestScrubVolume, oldestScrubNode } = status
  if (oldestScrubAtMs === 0) return never === 0 ? [] : [`no deep one of ${never} copies has ended yet`]
  const age = formatAge(nowMs - oldestScrubAtMs)
  const others = never === 0 ? '' : `; none has ended yet of ${never} other copies`
  return [`the oldest deep one ended ${age} ago (volume ${oldestScrubVolume} on ${oldestScrubNode})${others}`]
}

function page(status: Status): string[] {
  const { volumes, volumesHealthy } = status
  const [free, capacity, used] = [status.freeBytes, status.capacityBytes, status.usedBytes].map(formatSize)
  const { snapshots, newestSnapshotAtMs, hydrating, sharedSlices } = status
  const newest = newestSnapshotAtMs === 0 ? '' : `, the newest made ${formatAge(Date.now() - newestSnapshotAtMs)} ago`
  const counted = volumes === 0 ? 'no volumes' : `${volumesHealthy} of ${volumes} volumes healthy`
  return [
    `${status.health}: ${counted}, ${status.sessions} NBD session(s)`,
    `space: ${free} free of ${capacity}, volumes use ${used}`,
    ...(snapshots === 0 ? [] : [`snapshots: ${snapshots}${newest}`]),
    ...describeScrubs(status, Date.now()),
    ...(hydrating === 0 ? [] : [`clones: ${hydrating} get blocks of their own, ${sharedSlices} slice(s) are left`]),
    '',
    ...(status.problems.length === 0 ? ['nothing is wrong'] : status.problems.flatMap(({ what, why, next }) => [
      `${what}: ${why}`,
      `  next: ${next}`,
    ])),
    ...status.limits.flatMap((limit) => ['', `it cannot promise more: ${limit}`]),
    '',
    ...status.nodes.map(({ name, state, safeToReboot, because }) =>
      `node ${name}: ${state}; safe to reboot: ${safeToReboot ? 'yes' : 'no'}, because ${because}`),
  ]
}

export async function showStatus({ arguments: given, output }: Invocation): Promise<number> {
  const watch = given.flag('watch')
  const clear = watch && !output.json && process.stdout.isTTY === true
  let isShown = false
  do {
    try {
      const status = await withDaemon(given, (daemon) => daemon.status())
      output.result(status, () => clear ? [`${CLEAR_SCREEN}${page(status).join('\n')}`] : page(status))
      isShown = true
    } catch (error) {
      if (!isShown || !mayPass(error)) throw error
      output.error(error)
    }
    if (watch) await sleep(WATCH_MS)
  } while (watch)
  return EXIT_OK
}

/** A daemon that starts again, or an election: whoever watches wants to see how it goes on. */
const mayPass = (error: unknown): boolean => error instanceof HoldfastError && ERRORS[error.code].retryable
