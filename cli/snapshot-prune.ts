/** `holdfast snapshot prune`: deletes what a rule does not keep, each by its id, so that no other one goes with it. */
import type { ControlClient } from '../cluster/api/client.ts'
import type { Snapshot } from '../cluster/api/snapshot-messages.ts'
import { checkLabels } from '../cluster/api/snapshot-request.ts'
import { retained } from '../engine/control/retention.ts'
import type { RetentionRule } from '../engine/control/retention.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK } from './output.ts'
import { allSnapshots } from './snapshot.ts'
import { labelsOf } from './snapshot-text.ts'

/** Who makes snapshots and deletes them again when he is done: they take no place of one that is to stay. */
const TEMPORARY_FOR: readonly (string | undefined)[] = ['export', 'clone']

function countOf(given: Arguments, option: string): number {
  const text = given.text(option)
  if (text === undefined) return 0
  if (!/^\d{1,6}$/.test(text)) throw usageError(`--${option} ${text} is no number`, 'e.g. --keep-last 10')
  return Number(text)
}

function ruleOf(given: Arguments): RetentionRule {
  const rule = {
    last: countOf(given, 'keep-last'), hourly: countOf(given, 'keep-hourly'),
    daily: countOf(given, 'keep-daily'), weekly: countOf(given, 'keep-weekly'),
  }
  if (Object.values(rule).some((count) => count > 0)) return rule
  throw usageError('nothing would be kept', 'say what is: e.g. --keep-last 10 --keep-daily 7')
}

/** False: somebody reads it; the next time it may go. */
async function isDeleted(daemon: ControlClient, { volume, name, id }: Snapshot): Promise<boolean> {
  try {
    await daemon.deleteSnapshot({ volume, name, id })
    return true
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'snapshot-in-use') return false
    throw error
  }
}

export async function pruneSnapshots({ arguments: given, output }: Invocation): Promise<number> {
  const volume = given.positionals[0]!
  const rule = ruleOf(given)
  const wanted = labelsOf(given.texts('label'))
  checkLabels(wanted)
  const labels = Object.entries(wanted)
  const isDryRun = given.flag('dry-run')
  const isAsked = (one: Snapshot) => labels.every(([key, value]) => one.labels[key] === value)
  const isTemporary = ({ labels: { 'made-for': by } }: Snapshot) =>
    TEMPORARY_FOR.includes(by) && wanted['made-for'] === undefined
  // Those of a group go with it alone.
  const isMeant = (one: Snapshot) => one.group === '' && isAsked(one) && !isTemporary(one)
  const { kept, deleted, inUse } = await withDaemon(given, async (daemon) => {
    const meant = (await allSnapshots(daemon, volume)).filter(isMeant)
    const ids = retained(meant, rule)
    const going = meant.filter(({ id }) => !ids.has(id))
    const inUse: Snapshot[] = []
    for (const one of isDryRun ? [] : going) if (!(await isDeleted(daemon, one))) inUse.push(one)
    const deleted = going.filter((one) => !inUse.includes(one))
    return { kept: meant.filter(({ id }) => ids.has(id)), deleted, inUse }
  })
  const names = (of: Snapshot[]) => of.map(({ name }) => name)
  const result = { volume, isDryRun, deleted: names(deleted), kept: names(kept), inUse: names(inUse) }
  const listed = deleted.length === 0 ? '' : `: ${result.deleted.join(', ')}`
  output.result(result, () => [
    `${deleted.length} snapshot(s) of volume ${volume} ${isDryRun ? 'would be' : 'are'} deleted${listed}`,
    `${kept.length} ${isDryRun ? 'would be' : 'are'} kept`,
    ...(inUse.length === 0 ? [] : [`${inUse.length} are in use and stay: ${result.inUse.join(', ')}`]),
  ])
  return EXIT_OK
}
