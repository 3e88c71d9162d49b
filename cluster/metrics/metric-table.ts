/**
 * Every metric of a node: its name, type and labels, what it means, where its values come from. One table serves the
 * scrape and the test that compares it with docs/metrics.md.
 *
 * Latencies are histograms in seconds; the table gives them as they are counted, `registry.ts` as they are exported.
 */
import type { AttachmentFigures, CopyFigures, DiskFigures, LatencyFigures } from './figures.ts'
import type { NodeFigures } from './node-figures.ts'

export type Labels = Record<string, string>

interface MetricFacts {
  name: string
  help: string
  labels: readonly string[]
}

/** Of whatever is scraped: a node, or another process. */
export type Metric<Figures = NodeFigures> = MetricFacts & (
  | { type: 'counter' | 'gauge'; values(figures: Figures): Array<[labels: Labels, value: number]> }
  | { type: 'histogram'; latencies(figures: Figures): Array<[labels: Labels, latency: LatencyFigures]> }
)

const VOLUME_LABELS = ['volume', 'volume_id'] as const
const DISK_LABELS = ['disk', 'path', 'pool'] as const

/** Operations that are counted before the first one came, so that a rate sees it. */
const USUAL: ReadonlySet<string> = new Set(['read', 'write', 'flush', 'trim'])

const volumeLabels = ({ volume, volumeId }: { volume: string; volumeId: string }): Labels =>
  ({ volume, volume_id: volumeId })

const diskLabels = ({ uuid, path, pool }: DiskFigures): Labels => ({ disk: uuid, path, pool })

type Operation = AttachmentFigures['operations'][number]

function operations<T>({ attachments }: NodeFigures, value: (one: Operation) => T): Array<[Labels, T]> {
  return attachments.flatMap((attachment) => attachment.operations
    .filter(({ operation, requests }) => requests > 0 || USUAL.has(operation))
    .map((one): [Labels, T] => [{ ...volumeLabels(attachment), operation: one.operation }, value(one)]))
}

const ofAttachments = (value: (attachment: AttachmentFigures) => number) => ({ attachments }: NodeFigures) =>
  attachments.map((attachment): [Labels, number] => [volumeLabels(attachment), value(attachment)])

const ofCopies = (value: (copy: CopyFigures) => number) => ({ copies }: NodeFigures) =>
  copies.map((copy): [Labels, number] => [volumeLabels(copy), value(copy)])

/** Only who leads knows. */
const ofLeading = (value: (copy: CopyFigures) => number) => ({ copies }: NodeFigures) =>
  copies.filter(({ isLeading }) => isLeading).map((copy): [Labels, number] => [volumeLabels(copy), value(copy)])

const ofDisks = (value: (disk: DiskFigures) => number) => ({ disks }: NodeFigures) =>
  disks.map((disk): [Labels, number] => [diskLabels(disk), value(disk)])

function phases({ attachments, copies }: NodeFigures): Array<[Labels, LatencyFigures]> {
  const here = attachments.flatMap((attachment): Array<[Labels, LatencyFigures]> => {
    const labels = volumeLabels(attachment)
    const { admit, reply } = attachment
    const replied: [Labels, LatencyFigures] = [{ ...labels, phase: 'reply' }, reply]
    return admit === undefined ? [replied] : [[{ ...labels, phase: 'admit' }, admit], replied]
  })
  const led = copies.filter(({ isLeading, commit }) => isLeading || countOf(commit) > 0)
  const there = led.flatMap((copy) => (['append', 'replicate', 'commit'] as const)
    .map((phase): [Labels, LatencyFigures] => [{ ...volumeLabels(copy), phase }, copy[phase]]))
  return [...here, ...there]
}

const countOf = ({ counts }: LatencyFigures): number => counts.reduce((sum, count) => sum + count, 0)

const seconds = (ms: number): number => ms / 1000

export const METRICS: readonly Metric[] = [
  {
    name: 'holdfast_volume_requests_total', type: 'counter', labels: [...VOLUME_LABELS, 'operation'],
    help: 'Requests of clients of this node that the volume has answered.',
    values: (node) => operations(node, ({ requests }) => requests),
  },
  {
    name: 'holdfast_volume_request_errors_total', type: 'counter', labels: [...VOLUME_LABELS, 'operation'],
    help: 'Those that it answered with an error.',
    values: (node) => operations(node, ({ errors }) => errors),
  },
  {
    name: 'holdfast_volume_request_bytes_total', type: 'counter', labels: [...VOLUME_LABELS, 'operation'],
    help: 'Bytes that they were about.',
    values: (node) => operations(node, ({ bytes }) => bytes),
  },
  {
    name: 'holdfast_volume_request_seconds', type: 'histogram', labels: [...VOLUME_LABELS, 'operation'],
    help: 'From a request being parsed to the answer of the volume.',
    latencies: (node) => operations(node, ({ latency }) => latency).filter(([, latency]) => countOf(latency) > 0),
  },
  {
    name: 'holdfast_volume_phase_seconds', type: 'histogram', labels: [...VOLUME_LABELS, 'phase'],
    help: 'Where requests spend their time: admit, append, replicate, commit, reply.',
    latencies: phases,
  },
  {
    name: 'holdfast_volume_held_seconds_total', type: 'counter', labels: VOLUME_LABELS,
    help: 'Time in which the oldest unanswered request had waited for more than a second.',
    values: ofAttachments(({ heldMs }) => seconds(heldMs)),
  },
  {
    name: 'holdfast_volume_qos_wait_seconds_total', type: 'counter', labels: [...VOLUME_LABELS, 'limit'],
    help: 'Time in which requests of clients of this node waited for a limit of the volume.',
    values: ({ attachments }) => attachments.flatMap((attachment) => (['iops', 'bandwidth'] as const)
      .map((limit): [Labels, number] =>
        [{ ...volumeLabels(attachment), limit }, seconds(attachment.qosWaitedMs[limit])])),
  },
  {
    name: 'holdfast_volume_compression_bytes_total', type: 'counter', labels: [...VOLUME_LABELS, 'form'],
    help: 'Bytes of blocks that clients of this node wrote, as they were written and as they are stored.',
    values: ({ attachments }) => attachments.flatMap((attachment): Array<[Labels, number]> => {
      const { compression } = attachment
      if (compression === undefined) return []
      const labels = volumeLabels(attachment)
      return [
        [{ ...labels, form: 'written' }, compression.writtenBytes],
        [{ ...labels, form: 'stored' }, compression.storedBytes],
      ]
    }),
  },
  {
    name: 'holdfast_volume_unanswered_requests', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Requests that the volume has not answered.',
    values: ofAttachments(({ unanswered }) => unanswered),
  },
  {
    name: 'holdfast_volume_oldest_request_seconds', type: 'gauge', labels: VOLUME_LABELS,
    help: 'For how long the oldest unanswered request has waited; 0 without any.',
    values: ofAttachments(({ oldestMs }) => seconds(oldestMs)),
  },
  {
    name: 'holdfast_volume_copies', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Copies in the configuration of the volume; told by the node that leads it.',
    values: ofLeading(({ members }) => members),
  },
  {
    name: 'holdfast_volume_in_sync_copies', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Copies without which no write is acknowledged; told by the node that leads it.',
    values: ofLeading(({ inSync }) => inSync),
  },
  {
    name: 'holdfast_copy_leads', type: 'gauge', labels: VOLUME_LABELS,
    help: '1 when the copy on this node leads, 0 otherwise.',
    values: ofCopies(({ isLeading }) => Number(isLeading)),
  },
  {
    name: 'holdfast_copy_epoch', type: 'gauge', labels: VOLUME_LABELS,
    help: 'The epoch that the copy on this node follows or leads.',
    values: ofCopies(({ epoch }) => epoch),
  },
  {
    name: 'holdfast_copy_epoch_changes_total', type: 'counter', labels: VOLUME_LABELS,
    help: 'How often that epoch rose.',
    values: ofCopies(({ epochChanges }) => epochChanges),
  },
  {
    name: 'holdfast_copy_lag_bytes', type: 'gauge', labels: VOLUME_LABELS,
    help: 'What the copy on this node lacks of what it knows to be committed, estimated from above.',
    values: ofCopies(({ lagBytes }) => lagBytes),
  },
  {
    name: 'holdfast_copy_used_bytes', type: 'gauge', labels: [...VOLUME_LABELS, 'form'],
    help: 'What the copy on this node keeps, snapshots too: logical, 4096 bytes for each block, and as it is stored.',
    values: ({ copies }) => copies.flatMap((copy): Array<[Labels, number]> => [
      [{ ...volumeLabels(copy), form: 'logical' }, copy.usage.logicalBytes],
      [{ ...volumeLabels(copy), form: 'stored' }, copy.usage.storedBytes],
    ]),
  },
  {
    name: 'holdfast_copy_scrub_timestamp_seconds', type: 'gauge', labels: [...VOLUME_LABELS, 'kind'],
    help: 'When the copy on this node was scrubbed last, deep (every block) or light, since 1970; 0: never.',
    values: ({ copies }) => copies.flatMap((copy): Array<[Labels, number]> => [
      [{ ...volumeLabels(copy), kind: 'deep' }, seconds(copy.scrubs.scrubbedAtMs)],
      [{ ...volumeLabels(copy), kind: 'light' }, seconds(copy.scrubs.checkedAtMs)],
    ]),
  },
  {
    name: 'holdfast_copy_scrub_damaged_blocks', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Blocks of the copy on this node that its last deep scrub found damaged; most are repaired by then.',
    values: ofCopies(({ scrubs }) => scrubs.damagedBlocks),
  },
  {
    name: 'holdfast_copy_scrub_unrepaired_blocks', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Those that no other copy could mend so far.',
    values: ofCopies(({ scrubs }) => scrubs.unrepairedBlocks),
  },
  {
    name: 'holdfast_copy_lost_blocks', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Blocks that no copy has any more, as each of them said: reads fail until they are written anew.',
    values: ofCopies(({ scrubs }) => scrubs.lostBlocks),
  },
  {
    name: 'holdfast_copy_shared_slices', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Of a clone: slices of 1 GiB of which the copy on this node shows blocks of its origin.',
    values: ofCopies(({ sharedSlices }) => sharedSlices),
  },
  {
    name: 'holdfast_copy_differing_versions', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Of a copy that leads: versions that one copy of the set shows and another does not, by the last comparison.',
    values: ofCopies(({ scrubs }) => scrubs.differences),
  },
  {
    name: 'holdfast_copy_scrub_map_problems', type: 'gauge', labels: VOLUME_LABELS,
    help: 'Where the last light scrub found that map and segments of the copy do not agree: a bug.',
    values: ofCopies(({ scrubs }) => scrubs.mapProblems),
  },
  {
    name: 'holdfast_disk_online', type: 'gauge', labels: DISK_LABELS,
    help: '1 while the disk is served, 0 once it failed.',
    values: ofDisks(({ isOnline }) => Number(isOnline)),
  },
  {
    name: 'holdfast_disk_suspect', type: 'gauge', labels: DISK_LABELS,
    help: '1 once so many blocks of the disk were damaged that it is emptied, 0 otherwise.',
    values: ofDisks(({ isSuspect }) => Number(isSuspect)),
  },
  {
    name: 'holdfast_disk_capacity_bytes', type: 'gauge', labels: DISK_LABELS,
    help: 'What volumes may fill.',
    values: ofDisks(({ capacityBytes }) => capacityBytes),
  },
  {
    name: 'holdfast_disk_free_bytes', type: 'gauge', labels: DISK_LABELS,
    help: 'What of it holds nothing that is needed.',
    values: ofDisks(({ freeBytes }) => freeBytes),
  },
  {
    name: 'holdfast_disk_reclaimable_bytes', type: 'gauge', labels: DISK_LABELS,
    help: 'What the cleaner has yet to make usable of what is free, estimated from below.',
    values: ofDisks(({ reclaimableBytes }) => reclaimableBytes),
  },
  {
    name: 'holdfast_disk_checksum_errors_total', type: 'counter', labels: DISK_LABELS,
    help: 'How often a stored block failed its checksum, or could not be read.',
    values: ofDisks(({ checksumErrors }) => checksumErrors),
  },
  {
    name: 'holdfast_disk_fsync_seconds', type: 'histogram', labels: DISK_LABELS,
    help: 'How long fdatasync took.',
    latencies: ({ disks }) => disks.map((disk) => [diskLabels(disk), disk.sync]),
  },
  {
    name: 'holdfast_store_reachable', type: 'gauge', labels: [],
    help: '1 while the cluster store answers, 0 while it does not; absent on a node by itself.',
    values: ({ isStoreReachable }) => (isStoreReachable === undefined ? [] : [[{}, Number(isStoreReachable)]]),
  },
  {
    name: 'holdfast_tls_certificate_expiry_time_seconds', type: 'gauge', labels: [],
    help: 'When the certificate of this node expires, in seconds since 1970; absent without one.',
    values: ({ certificateExpiresAtMs: atMs }) => (atMs === undefined ? [] : [[{}, seconds(atMs)]]),
  },
  {
    name: 'holdfast_audit_failures_total', type: 'counter', labels: [],
    help: 'Entries of the audit log that could not be written, or may not be on the medium.',
    values: ({ auditFailures }) => [[{}, auditFailures]],
  },
  {
    name: 'holdfast_node_info', type: 'gauge', labels: ['node', 'version', 'instance'],
    help: 'Always 1; which daemon this is.',
    values: ({ node, version, instance }) => [[{ node, version, instance }, 1]],
  },
  {
    name: 'holdfast_node_start_time_seconds', type: 'gauge', labels: [],
    help: 'When the daemon started, in seconds since 1970.',
    values: ({ startedAtMs }) => [[{}, seconds(startedAtMs)]],
  },
  {
    name: 'holdfast_node_resident_memory_bytes', type: 'gauge', labels: [],
    help: 'Resident memory of the daemon.',
    values: ({ residentBytes }) => [[{}, residentBytes]],
  },
  {
    name: 'holdfast_node_cpu_seconds_total', type: 'counter', labels: [],
    help: 'Processor time of the daemon.',
    values: ({ cpuSeconds }) => [[{}, cpuSeconds]],
  },
]
