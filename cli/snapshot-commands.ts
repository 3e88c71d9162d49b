/** The commands of snapshots, as `commands.ts` has all others. */
import type { OptionSpec } from './arguments.ts'
import type { Command } from './command.ts'

export const snapshotCommands = (endpoint: Record<string, OptionSpec>): Command[] => [
  {
    words: 'snapshot create',
    summary: 'cluster: keep what a volume shows now, or several at one instant, under a name',
    positionals: [{ name: 'VOLUME' }, { name: 'NAME', optional: true }],
    options: {
      group: { value: 'V1,V2,...', summary: 'of these volumes, at one instant; only NAME is given then' },
      label: { value: 'K=V', many: true, summary: 'shown with it; up to 8' },
      ...endpoint,
    },
    examples: [
      'holdfast snapshot create data-1 before-upgrade',
      'holdfast snapshot create data-1 daily-1 --label kind=daily --label app=db',
      'holdfast snapshot create before-upgrade --group db-data,db-log',
    ],
    load: async () => (await import('./snapshot.ts')).createSnapshot,
  },
  {
    words: 'snapshot ls',
    summary: 'cluster: list the snapshots of a volume, oldest first, or all group snapshots',
    positionals: [{ name: 'VOLUME', optional: true }],
    options: {
      groups: { summary: 'group snapshots, and of which volumes they are' },
      limit: { value: 'N', summary: 'N at most (default: all)' },
      after: { value: 'NAME', summary: 'only those behind this one' },
      ...endpoint,
    },
    examples: [
      'holdfast snapshot ls data-1', 'holdfast snapshot ls data-1 -o json', 'holdfast snapshot ls --groups',
      'holdfast snapshot ls data-1 --limit 100 --after before-upgrade',
    ],
    load: async () => (await import('./snapshot.ts')).listSnapshots,
  },
  {
    words: 'snapshot delete',
    summary: 'cluster: delete snapshots of a volume, and give back what only they held',
    positionals: [{ name: 'VOLUME', optional: true }, { name: 'NAME', optional: true, many: true }],
    options: { group: { value: 'NAME', many: true, summary: 'a group snapshot, of all its volumes' }, ...endpoint },
    examples: ['holdfast snapshot delete data-1 before-upgrade', 'holdfast snapshot delete --group before-upgrade'],
    load: async () => (await import('./snapshot.ts')).deleteSnapshots,
  },
  {
    words: 'snapshot prune',
    summary: 'cluster: delete the snapshots of a volume that a rule does not keep',
    positionals: [{ name: 'VOLUME' }],
    options: {
      'keep-last': { value: 'N', summary: 'the newest N' },
      'keep-hourly': { value: 'N', summary: 'the newest of each of the last N hours that have any' },
      'keep-daily': { value: 'N', summary: 'the same of days (UTC)' },
      'keep-weekly': { value: 'N', summary: 'the same of weeks, which begin on Mondays' },
      label: { value: 'K=V', many: true, summary: 'only snapshots with these labels; all others stay' },
      'dry-run': { summary: 'say which would go, and delete nothing' },
      ...endpoint,
    },
    examples: [
      'holdfast snapshot prune data-1 --keep-last 10 --keep-daily 7',
      'holdfast snapshot prune data-1 --keep-daily 14 --keep-weekly 8 --label kind=daily --dry-run',
    ],
    load: async () => (await import('./snapshot-prune.ts')).pruneSnapshots,
  },
  {
    words: 'snapshot schedule',
    summary: 'cluster: let a volume get snapshots by themselves, and keep some of those; none: no more',
    positionals: [{ name: 'VOLUME' }, { name: 'SCHEDULE', many: true }],
    options: endpoint,
    examples: [
      'holdfast snapshot schedule data-1 every 1h keep-last 24 keep-daily 7',
      'holdfast snapshot schedule data-1 none',
    ],
    load: async () => (await import('./snapshot.ts')).scheduleSnapshots,
  },
  {
    words: 'volume rollback',
    summary: 'cluster: let a volume show a snapshot again, and keep what it shows now as another one',
    positionals: [{ name: 'VOLUME' }],
    options: {
      to: { value: 'SNAPSHOT', summary: 'required; a snapshot of that volume' },
      'keep-as': { value: 'NAME', summary: 'of the snapshot that keeps what it shows now (default: by the time)' },
      force: { summary: 'also while it is used: what its users read or write from then on fails' },
      ...endpoint,
    },
    examples: [
      'holdfast volume rollback data-1 --to before-upgrade',
      'holdfast volume rollback data-1 --to before-upgrade --keep-as failed-upgrade --force',
    ],
    load: async () => (await import('./snapshot.ts')).rollBackVolume,
  },
  {
    words: 'volume export',
    summary: 'cluster: write what a volume shows now, or showed at a snapshot, into a file, while it is in use',
    positionals: [{ name: 'VOLUME[@SNAPSHOT]' }, { name: 'FILE' }],
    options: {
      format: { value: 'FORMAT', summary: 'raw (default), with holes; or qcow2, by qemu-img' },
      ...endpoint,
    },
    examples: [
      'holdfast volume export data-1 data-1.raw',
      'holdfast volume export data-1@before-upgrade data-1.qcow2 --format qcow2',
    ],
    load: async () => (await import('./volume-export.ts')).exportVolume,
  },
  {
    words: 'snapshot diff',
    summary: 'cluster: where a volume changed from one snapshot to another; with one: where that holds something',
    positionals: [{ name: 'VOLUME' }, { name: 'SNAPSHOT' }, { name: 'SNAPSHOT', optional: true }],
    options: endpoint,
    examples: [
      'holdfast snapshot diff data-1 monday tuesday',
      'holdfast snapshot diff data-1 monday -o json | jq -s "map(.lengthBytes) | add"',
    ],
    load: async () => (await import('./snapshot-diff.ts')).showDifference,
  },
]
