/** Group snapshots: `snapshot create NAME --group V1,V2`, `snapshot ls --groups`, `snapshot delete --group NAME`. */
import { randomUUID } from 'node:crypto'
import type { ControlClient } from '../cluster/api/client.ts'
import type { GroupMember, SnapshotGroup } from '../cluster/api/snapshot-messages.ts'
import { checkGroupVolumes } from '../cluster/api/group-request.ts'
import { checkNewLabels, checkSnapshotName } from '../cluster/api/snapshot-request.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK, table } from './output.ts'
import { labelsOf, labelsText, timeOf } from './snapshot-text.ts'

const nameOf = ({ volume, volumeId }: GroupMember): string => (volume === '' ? `${volumeId} (gone)` : volume)
const namesOf = ({ members }: SnapshotGroup): string => members.map(nameOf).join(',')

export async function createGroup({ arguments: given, output }: Invocation): Promise<number> {
  const [name, ...rest] = given.positionals as [string, ...string[]]
  if (rest.length > 0) {
    throw usageError(`${JSON.stringify(rest[0])} is one word too many`, 'with --group only NAME is given')
  }
  checkSnapshotName(name)
  const volumes = given.text('group')!.split(',').map((volume) => volume.trim()).filter((volume) => volume !== '')
  checkGroupVolumes(volumes)
  const labels = labelsOf(given.texts('label'))
  checkNewLabels(labels)
  const request = { name, volumes, labels, id: randomUUID().replaceAll('-', '') }
  const made = await withDaemon(given, (daemon) => daemon.createGroup(request))
  const isNew = made.id === request.id
  output.result(made, () => [
    `group snapshot ${name} is ${isNew ? 'made' : 'there already'}, of ${made.members.length} volumes at one instant`,
    ...made.members.map((member) => `  ${nameOf(member)}, at seq ${member.seq}`),
  ])
  return EXIT_OK
}

async function allGroups(daemon: ControlClient): Promise<SnapshotGroup[]> {
  const found: SnapshotGroup[] = []
  let after = ''
  do {
    const page = await daemon.listGroups({ limit: 0, after })
    found.push(...page.groups)
    after = page.next
  } while (after !== '')
  return found
}

export async function listGroups({ arguments: given, output }: Invocation): Promise<number> {
  const groups = await withDaemon(given, allGroups)
  output.result(groups, () => groups.length === 0
    ? ['no group snapshots; `holdfast snapshot create NAME --group V1,V2` makes one']
    : table(['NAME', 'STATE', 'MADE (UTC)', 'VOLUMES', 'LABELS'], groups.map((group) => [
      group.name, group.state, timeOf(group), namesOf(group), labelsText(group),
    ])))
  return EXIT_OK
}

export async function deleteGroups({ arguments: given, output }: Invocation): Promise<number> {
  const deleted = await withDaemon(given, async (daemon) => {
    const done: Array<{ group: string; deleted: boolean }> = []
    for (const name of given.texts('group')) {
      await daemon.deleteGroup({ name, id: '' })
      done.push({ group: name, deleted: true })
    }
    return done
  })
  output.result(deleted, () => deleted.map(({ group }) =>
    `group snapshot ${group} is deleted, with the snapshots of its volumes`))
  return EXIT_OK
}
