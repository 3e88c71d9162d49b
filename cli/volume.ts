/** `holdfast volume create|ls|inspect|resize|qos|compression|delete`: words to API calls, and answers to text. */
import { exactSize, formatAge, formatDuration, formatSize, parseSize } from '../cluster/api/amounts.ts'
import type { ControlClient } from '../cluster/api/client.ts'
import type { Volume, VolumeAttach } from '../cluster/api/volume-messages.ts'
import type { CreateVolumeRequest } from '../cluster/api/volume-wish-messages.ts'
import { shown } from '../cluster/api/names.ts'
import { allVolumes } from '../cluster/api/volume-page.ts'
import { checkVolumeLabels } from '../cluster/api/volume-labels.ts'
import { checkVolumeName, checkVolumeSize } from '../cluster/api/volume-request.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { EXIT_OK, fields, table } from './output.ts'
import { labelsOf, labelsText } from './snapshot-text.ts'
import { isOnThisHost, keySourceOf, newKeyOf, unlock } from './volume-keys.ts'

const PARAMETER_OPTIONS = [
  'replicas', 'durability', 'block-size', 'on-full', 'io-timeout', 'pool', 'disk-tags', 'attach-mode',
  'qos-iops', 'qos-bandwidth', 'qos-burst', 'snapshot-schedule', 'compression', 'cipher', 'failure-mode',
]

/** What `--size` says, or the refusal with the limits. */
export function sizeOf(text: string | undefined): number {
  if (text === undefined) throw usageError('--size is missing', 'e.g. --size 10Gi')
  const sizeBytes = parseSize(text)
  if (sizeBytes === undefined) throw new HoldfastError('volume-size', { size: shown(text) })
  checkVolumeSize(sizeBytes)
  return sizeBytes
}

/** Flags and `--param K=V` are the same parameters; two different values of one are refused here or by the daemon. */
export function parametersOf(given: Arguments): Record<string, string> {
  const parameters: Record<string, string> = {}
  for (const option of PARAMETER_OPTIONS) {
    const value = given.text(option)
    if (value !== undefined) parameters[option] = value
  }
  if (given.flag('encryption')) parameters.encryption = 'true'
  return parametersIn(given.texts('param'), parameters)
}

/** Each K=V, beside those that are known. */
function parametersIn(texts: readonly string[], parameters: Record<string, string> = {}): Record<string, string> {
  for (const text of texts) {
    const equals = text.indexOf('=')
    if (equals <= 0) throw usageError(`parameter ${text} is not K=V`, 'e.g. holdfast.io/durability=writeback')
    const key = text.slice(0, equals)
    const value = text.slice(equals + 1)
    if (Object.hasOwn(parameters, key) && parameters[key] !== value) {
      throw usageError(`${key} is given twice, as ${parameters[key]} and as ${value}`, 'give it once')
    }
    parameters[key] = value
  }
  return parameters
}

/** E.g. `single, n2 (generation 3)`. */
export function describeAttach({ mode, generation, holders }: VolumeAttach): string {
  if (mode === 'open') return generation === 0 ? 'open' : `open, generation ${generation}`
  if (holders.length === 0) return 'to no node'
  return `${mode}, ${holders.map((held) => `${held.node} (generation ${held.generation})`).join(', ')}`
}

/** E.g. `writeback, being changed to durable`. */
const describeDurability = ({ durability, durabilityNext }: Volume): string =>
  durabilityNext === '' ? durability : `${durability}, being changed to ${durabilityNext}`

/** E.g. `500 requests/s, 50 MiB/s, burst 10s`. */
function describeQos({ iops, bandwidthBytes, burstMs }: Volume['qos']): string {
  if (burstMs === 0) return 'none'
  const limits = [
    ...(iops === 0 ? [] : [`${iops} requests/s`]),
    ...(bandwidthBytes === 0 ? [] : [`${formatSize(bandwidthBytes)}/s`]),
  ]
  return `${limits.join(', ')}, burst ${formatDuration(burstMs)}`
}

/** E.g. `24, the newest is scheduled-20261130-140000, made 12m ago`. */
function describeSnapshots({ snapshots, newestSnapshot, newestSnapshotAtMs }: Volume): string {
  if (newestSnapshot === '') return String(snapshots)
  const age = newestSnapshotAtMs === 0 ? '' : `, made ${formatAge(Date.now() - newestSnapshotAtMs)} ago`
  return `${snapshots}, the newest is ${newestSnapshot}${age}`
}

/** E.g. `n1 3d ago, 2 damaged block(s) repaired`. */
function describeScrubs(copy: Volume['copies'][number]): string {
  const {
    node, scrubbedAtMs, isScrubbing, scrubPercent, damagedBlocks, unrepairedBlocks, lostBlocks, mapProblems,
    differences,
  } = copy
  const repaired = damagedBlocks - unrepairedBlocks
  const words = [
    ...(scrubbedAtMs === 0 ? [] : [`${formatAge(Date.now() - scrubbedAtMs)} ago`]),
    ...(isScrubbing ? [`now (${scrubPercent} %)`] : scrubbedAtMs === 0 ? ['never'] : []),
    ...(repaired > 0 ? [`${repaired} damaged block(s) repaired`] : []),
    ...(unrepairedBlocks > 0 ? [`${unrepairedBlocks} not repaired`] : []),
    ...(lostBlocks > 0 ? [`${lostBlocks} lost on every copy`] : []),
    ...(mapProblems > 0 ? [`map wrong in ${mapProblems} place(s)`] : []),
    ...(differences > 0 ? [`differs from others in ${differences} version(s)`] : []),
  ]
  return `${node} ${words.join(', ')}`
}

/** E.g. `asked; n1 shares 3 slice(s), now`, of a clone that shares blocks. */
function describeSharing({ hydration, copies }: Volume): string {
  const sharing = copies.filter(({ sharedSlices }) => sharedSlices > 0)
  const shared = sharing.map(({ node, sharedSlices, isHydrating, lostBlocks }) => {
    const but = lostBlocks > 0 ? `, but for those with one of ${lostBlocks} block(s) that every copy lost` : ''
    return `${node} ${sharedSlices} slice(s) of 1 GiB${isHydrating ? `, getting its own${but}` : ''}`
  })
  const wish = hydration === '' ? [] : [`to get its own (${HYDRATION[hydration]})`]
  return [...shared, ...wish].join('; ')
}

const HYDRATION: Record<Exclude<Volume['hydration'], ''>, string> = {
  asked: 'as asked for',
  depth: 'clones of clones lie below it',
  clones: 'its origin has too many clones',
  remains: 'it alone reads what is left of its origin',
}

/** E.g. `1.2 GiB for 3 GiB of data (2.5 : 1)`, where the two differ. */
function usageText({ usedBytes, logicalBytes }: Volume): string {
  const used = formatSize(usedBytes)
  if (usedBytes === 0 || logicalBytes === usedBytes) return used
  const ratio = (logicalBytes / usedBytes).toFixed(2).replace(/\.?0+$/, '')
  return `${used} for ${formatSize(logicalBytes)} of data (${ratio} : 1)`
}

function describe(volume: Volume): string[] {
  const copies = volume.copies.map(({ node, role, state, lagBytes, joining }) => {
    const words = joining !== '' ? `: ${joining}` : lagBytes === 0 ? '' : `, ${formatSize(lagBytes)} behind`
    return `${node} (${role}, ${state}${words})`
  })
  const sessions = volume.frontends.map(({ node, session, generation }) =>
    `${node}/${session}${generation === 0 ? '' : ` (generation ${generation})`}`)
  const sharing = describeSharing(volume)
  return fields([
    ['name', volume.name],
    ['id', volume.id],
    ['size', `${formatSize(volume.sizeBytes)} (${volume.sizeBytes} bytes)`],
    ['used', usageText(volume)],
    ['health', volume.healthReason === '' ? volume.health : `${volume.health}: ${volume.healthReason}`],
    ['replicas', `${volume.replicas} (in sync at least ${volume.minInSync}${modeText(volume)})`],
    ['copies', copies.join(', ')],
    ...(sharing === '' ? [] : [['shared', sharing] as [string, string]]),
    ['scrubbed', volume.copies.map(describeScrubs).join('; ')],
    ['durability', describeDurability(volume)],
    ['block size', String(volume.blockSizeBytes)],
    ['on full', volume.onFull],
    ['io timeout', volume.ioTimeoutMs === 0 ? 'none' : formatDuration(volume.ioTimeoutMs)],
    ['limits', describeQos(volume.qos)],
    ['compression', volume.compression],
    ['pool', volume.diskTags.length === 0 ? volume.pool : `${volume.pool} (tags ${volume.diskTags.join(', ')})`],
    ['encryption', volume.encryption ? `${volume.cipher}, key ${volume.keyId}` : 'no'],
    ['epoch, seq', `${volume.epoch}, ${volume.seq} (durable up to ${volume.commitSeq})`],
    ['snapshots', describeSnapshots(volume)],
    ['schedule', volume.snapshotSchedule === '' ? 'none' : volume.snapshotSchedule],
    ['held', `${volume.heldRequests} request(s)`],
    ['labels', labelsText(volume)],
    ...(whereText(volume) === '' ? [] : [['placed', whereText(volume)] as [string, string]]),
    ['attached', describeAttach(volume.attach)],
    ['sessions', sessions.length === 0 ? 'none' : sessions.join(', ')],
    ...volume.nbd.map((uri): [string, string] => ['nbd', uri]),
  ])
}

/** A new volume as its options say. */
export async function newVolumeOf(given: Arguments, name: string, sizeBytes: number): Promise<CreateVolumeRequest> {
  const parameters = parametersOf(given)
  const labels = labelsOf(given.texts('label'))
  checkVolumeLabels(labels)
  return { name, sizeBytes, parameters, labels, ...(await newKeyOf(given, parameters)) }
}

/** One with a key of its user's can be opened on the nodes of this host from then on, if the endpoint is one. */
export async function makeVolume(
  given: Arguments, daemon: ControlClient, request: CreateVolumeRequest,
): Promise<Volume> {
  const volume = await daemon.createVolume(request)
  const key = keySourceOf(given)
  if (key !== undefined && isOnThisHost(given)) await unlock(given, daemon, request.name, key)
  return volume
}

export async function createVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  checkVolumeName(name)
  const request = await newVolumeOf(given, name, sizeOf(given.text('size')))
  const volume = await withDaemon(given, (daemon) => makeVolume(given, daemon, request))
  const { sizeBytes, replicas, durability } = volume
  output.result(volume, () => [
    `volume ${name} is ready: ${formatSize(sizeBytes)}, ${replicas} replicas, ${durability}`,
    ...volume.nbd.map((uri) => `  ${uri}`),
    ...(volume.copies.length === 1 ? [onlyCopy(volume)] : []),
  ])
  return EXIT_OK
}

export async function cloneVolume({ arguments: given, output }: Invocation): Promise<number> {
  const [source, name] = given.positionals as [string, string]
  checkVolumeName(name)
  const size = given.text('size')
  const parameters = { ...parametersOf(given), 'clone-of': source }
  const labels = labelsOf(given.texts('label'))
  checkVolumeLabels(labels)
  const request = { name, sizeBytes: size === undefined ? 0 : sizeOf(size), parameters, labels }
  const volume = await withDaemon(given, (daemon) => daemon.createVolume(request))
  output.result(volume, () => [
    `volume ${name} is ready: ${formatSize(volume.sizeBytes)}, ${volume.replicas} replicas, a clone of ${source}`,
    ...volume.nbd.map((uri) => `  ${uri}`),
    ...(volume.copies.length === 1 ? [onlyCopy(volume)] : []),
  ])
  return EXIT_OK
}

const onlyCopy = ({ copies: [copy] }: Volume): string =>
  `its only copy is on ${copy!.node}: it is not served while that node is down, and lost with its disks`

export async function listVolumes({ arguments: given, output }: Invocation): Promise<number> {
  const isInTrash = given.flag('trash')
  const volumes = await withDaemon(given, (daemon) => allVolumes(daemon, isInTrash))
  if (isInTrash) {
    output.result(volumes, () => volumes.length === 0 ? ['the trash is empty'] : trashTable(volumes))
    return EXIT_OK
  }
  const hasClaims = volumes.some((volume) => claimOf(volume) !== '-')
  const claim = (...words: string[]): string[] => (hasClaims ? words : [])
  output.result(volumes, () => volumes.length === 0
    ? ['no volumes; `holdfast volume create NAME --size 10Gi` makes one']
    : table(['NAME', ...claim('PVC', 'POD'), ...COLUMNS], volumes.map((volume) => [
      volume.name,
      ...claim(claimOf(volume), volume.labels['csi-pod'] ?? '-'),
      formatSize(volume.sizeBytes),
      formatSize(volume.usedBytes),
      String(volume.replicas),
      volume.durability,
      volume.health,
      String(volume.frontends.length),
    ])))
  return EXIT_OK
}

const modeText = ({ failureMode }: Volume): string => (failureMode === '' ? '' : `, failure mode ${failureMode}`)

/** E.g. `in zone a, zone b only; strict data locality`. */
function whereText({ allowedNodes, allowedZones, dataLocality }: Volume): string {
  const places = [...allowedZones.map((zone) => `zone ${zone}`), ...allowedNodes.map((node) => `node ${node}`)]
  const locality = dataLocality === 'disabled' ? [] : [`${dataLocality} data locality`]
  return [...(places.length === 0 ? [] : [`in ${places.join(', ')} only`]), ...locality].join('; ')
}

const COLUMNS = ['SIZE', 'USED', 'REPLICAS', 'DURABILITY', 'HEALTH', 'SESSIONS']

/** Of Kubernetes, as `namespace/name`. */
function claimOf({ labels }: Volume): string {
  const { 'csi-pvc': name, 'csi-pvc-namespace': namespace } = labels
  if (name === undefined) return '-'
  return namespace === undefined ? name : `${namespace}/${name}`
}

const keptFor = (keptMs: number): string =>
  keptMs === 0 ? 'being purged' : formatDuration(Math.ceil(keptMs / 60_000) * 60_000)

function trashTable(volumes: Volume[]): string[] {
  return table(['NAME', 'ID', 'SIZE', 'USED', 'KEPT FOR'], volumes.map(({ name, id, sizeBytes, usedBytes, keptMs }) => [
    name, id, formatSize(sizeBytes), formatSize(usedBytes), keptFor(keptMs),
  ]))
}

export async function inspectVolume({ arguments: given, output }: Invocation): Promise<number> {
  const volume = await withDaemon(given, (daemon) => daemon.getVolume({ name: given.positionals[0]! }))
  output.result(volume, () => describe(volume))
  return EXIT_OK
}

export async function resizeVolume({ arguments: given, output }: Invocation): Promise<number> {
  const force = given.flag('force')
  const request = { name: given.positionals[0]!, sizeBytes: sizeOf(given.text('size')), force }
  const volume = await withDaemon(given, (daemon) => daemon.resizeVolume(request))
  const until = force ? '; until then what they ask beyond it fails' : ''
  output.result(volume, () => [
    `volume ${volume.name} has ${formatSize(volume.sizeBytes)} (${exactSize(volume.sizeBytes)}) now`,
    ...(volume.frontends.length === 0 ? [] : [`its NBD clients see the new size when they connect again${until}`]),
  ])
  return EXIT_OK
}

export async function limitVolume({ arguments: given, output }: Invocation): Promise<number> {
  const [iops, bandwidth, burst] = ['iops', 'bandwidth', 'burst'].map((option) => given.text(option) ?? '')
  if (`${iops}${bandwidth}${burst}` === '') throw usageError('no limit is named', 'e.g. --iops 500 --bandwidth 50Mi')
  const limits = { 'qos-iops': iops!, 'qos-bandwidth': bandwidth!, 'qos-burst': burst! }
  const parameters = Object.fromEntries(Object.entries(limits).filter(([, text]) => text !== ''))
  const volume = await withDaemon(given, (daemon) => daemon.modifyVolume({ name: given.positionals[0]!, parameters }))
  output.result(volume, () => [`limits of volume ${volume.name}: ${describeQos(volume.qos)}`])
  return EXIT_OK
}

/** `volume set NAME K=V...`: what it is asked for from now on. */
export async function setParameters({ arguments: given, output }: Invocation): Promise<number> {
  const [name, ...words] = given.positionals as [string, ...string[]]
  const parameters = parametersIn(words)
  const volume = await withDaemon(given, (daemon) => daemon.modifyVolume({ name, parameters }))
  const set = Object.entries(parameters).map(([key, value]) => `${key} = ${value}`).join(', ')
  output.result(volume, () => [
    `volume ${volume.name}: ${set}; \`holdfast explain ${volume.name}\` shows how it gets there`,
  ])
  return EXIT_OK
}

export async function compressVolume({ arguments: given, output }: Invocation): Promise<number> {
  const [name, compression] = given.positionals as [string, string]
  const volume = await withDaemon(given, (daemon) => daemon.modifyVolume({ name, parameters: { compression } }))
  output.result(volume, () => [
    `compression of volume ${volume.name}: ${volume.compression}, of what is written from now on`,
  ])
  return EXIT_OK
}

export async function deleteVolumes({ arguments: given, output }: Invocation): Promise<number> {
  const [force, purge, keep] = [given.flag('force'), given.flag('purge'), given.text('keep') ?? '']
  const deleted = await withDaemon(given, async (daemon) => {
    const done: Array<{ name: string; deleted: boolean; keptMs: number }> = []
    for (const name of given.positionals) {
      const { keptMs } = await daemon.deleteVolume({ name, force, purge, keep })
      done.push({ name, deleted: true, keptMs })
    }
    return done
  })
  output.result(deleted, () => deleted.map(({ name, keptMs }) => keptMs === 0
    ? `volume ${name} is deleted; its space comes back in the background`
    : `volume ${name} is in the trash for ${formatDuration(keptMs)}: \`holdfast volume restore\` brings it back`))
  return EXIT_OK
}
