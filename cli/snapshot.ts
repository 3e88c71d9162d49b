/** `holdfast snapshot create|ls|delete|schedule` and `volume rollback`: words to API calls, and answers to text. */
import { randomUUID } from 'node:crypto'
import { formatSize } from '../cluster/api/amounts.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import type { Snapshot } from '../cluster/api/snapshot-messages.ts'
import { checkSchedule } from '../cluster/api/schedule-request.ts'
import {
  checkNewLabels, checkSnapshotName, pageToken, SNAPSHOT_PAGE_MAX,
} from '../cluster/api/snapshot-request.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK, table } from './output.ts'
import { createGroup, deleteGroups, listGroups } from './snapshot-group.ts'
import { labelsOf, labelsText, timeOf } from './snapshot-text.ts'

/** All of them. */
export const allSnapshots = async (daemon: ControlClient, volume: string): Promise<Snapshot[]> =>
  (await someSnapshots(daemon, volume, Infinity, '')).snapshots

/** Page by page. @param after  of the API */
async function someSnapshots(
  daemon: ControlClient, volume: string, most: number, after: string,
): Promise<{ snapshots: Snapshot[]; isMore: boolean }> {
  const snapshots: Snapshot[] = []
  for (let next = after; ;) {
    const limit = Math.min(SNAPSHOT_PAGE_MAX, most - snapshots.length)
    const page = await daemon.listSnapshots({ volume, limit, after: next })
    snapshots.push(...page.snapshots)
    next = page.next
    if (next === '' || snapshots.length >= most) return { snapshots, isMore: next !== '' }
  }
}

export async function createSnapshot(invocation: Invocation): Promise<number> {
  const { arguments: given, output } = invocation
  if (given.text('group') !== undefined) return createGroup(invocation)
  const [volume, name] = given.positionals as [string, string | undefined]
  if (name === undefined) throw usageError('NAME is missing', `e.g. holdfast snapshot create ${volume} before-upgrade`)
  checkSnapshotName(name)
  const labels = labelsOf(given.texts('label'))
  checkNewLabels(labels)
  const request = { volume, name, labels, id: randomUUID().replaceAll('-', '') }
  const made = await withDaemon(given, (daemon) => daemon.createSnapshot(request))
  output.result(made, () => [made.id === request.id
    ? `snapshot ${name} of volume ${volume} is made, at seq ${made.seq}`
    : `snapshot ${name} of volume ${volume} is there already, made ${timeOf(made)} UTC, at seq ${made.seq}`])
  return EXIT_OK
}

export async function listSnapshots(invocation: Invocation): Promise<number> {
  const { arguments: given, output } = invocation
  const volume = given.positionals[0]
  if (given.flag('groups')) {
    if (volume !== undefined) throw usageError('--groups are of no one volume', 'leave VOLUME or --groups out')
    if (`${given.text('limit') ?? ''}${given.text('after') ?? ''}` !== '')
      throw usageError('--limit and --after are of snapshots of a volume', 'leave them or --groups out')
    return listGroups(invocation)
  }
  if (volume === undefined) throw usageError('VOLUME is missing', 'name one, or list group snapshots: --groups')
  const [most, behind] = [limitOf(given.text('limit')), given.text('after')]
  const { snapshots, isMore } = await withDaemon(given, async (daemon) => {
    const last = behind === undefined ? undefined : await daemon.getSnapshot({ volume, name: behind })
    return someSnapshots(daemon, volume, most, last === undefined ? '' : pageToken(last))
  })
  output.result(snapshots, () => snapshots.length === 0
    ? [behind === undefined
      ? `no snapshots of volume ${volume}; \`holdfast snapshot create ${volume} NAME\` makes one`
      : `no snapshots of volume ${volume} behind ${behind}`]
    : table(['NAME', 'MADE (UTC)', 'SIZE', 'ALONE', 'SEQ', 'GROUP', 'LABELS'], snapshots.map((one) => [
      one.name, timeOf(one), one.sizeBytes === 0 ? 'not known' : formatSize(one.sizeBytes),
      one.exclusiveAtMs === 0 ? '-' : formatSize(one.exclusiveBytes), String(one.seq),
      one.group === '' ? '-' : one.group, labelsText(one),
    ])))
  if (isMore) process.stderr.write(`there are more: add --after ${snapshots.at(-1)!.name}\n`)
  return EXIT_OK
}

function limitOf(text: string | undefined): number {
  if (text === undefined) return Infinity
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw usageError(`--limit ${text} is no number of snapshots`, 'e.g. --limit 100')
  return Number(text)
}

export async function deleteSnapshots(invocation: Invocation): Promise<number> {
  const { arguments: given, output } = invocation
  const [volume, ...names] = given.positionals
  if (given.texts('group').length > 0) {
    if (volume !== undefined) throw usageError('--group names all that goes', 'leave VOLUME and NAME, or --group, out')
    return deleteGroups(invocation)
  }
  if (volume === undefined) throw usageError('VOLUME is missing', 'name one, or a group snapshot: --group NAME')
  if (names.length === 0) throw usageError('NAME is missing', `\`holdfast snapshot ls ${volume}\` shows what there is`)
  const deleted = await withDaemon(given, async (daemon) => {
    const done: Array<{ volume: string; name: string; deleted: boolean }> = []
    for (const name of names) {
      await daemon.deleteSnapshot({ volume, name, id: '' })
      done.push({ volume, name, deleted: true })
    }
    return done
  })
  output.result(deleted, () => deleted.map(({ name }) =>
    `snapshot ${name} of volume ${volume} is deleted; what only it held comes back in the background`))
  return EXIT_OK
}

export async function scheduleSnapshots({ arguments: given, output }: Invocation): Promise<number> {
  const [volume, ...words] = given.positionals as [string, ...string[]]
  const schedule = words.join(' ')
  checkSchedule(schedule)
  const changed = await withDaemon(given, (daemon) => daemon.setSnapshotSchedule({ volume, schedule }))
  output.result(changed, () => [changed.snapshotSchedule === ''
    ? `volume ${volume} gets no snapshots by itself any more; those that it has stay`
    : `volume ${volume} gets snapshots by itself: ${changed.snapshotSchedule}`])
  return EXIT_OK
}

export async function rollBackVolume({ arguments: given, output }: Invocation): Promise<number> {
  const volume = given.positionals[0]!
  const to = given.text('to')
  if (to === undefined) throw usageError('--to is missing', 'name a snapshot: --to before-upgrade')
  const keepAs = given.text('keep-as') ?? ''
  if (keepAs !== '') checkSnapshotName(keepAs)
  const request = { volume, to, keepAs, force: given.flag('force'), id: '' }
  const kept = await withDaemon(given, (daemon) => daemon.rollBackVolume(request))
  output.result(kept, () => [
    `volume ${volume} shows snapshot ${to} again; what it showed before is kept as snapshot ${kept.name}`,
  ])
  return EXIT_OK
}
