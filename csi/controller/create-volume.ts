/**
 * CreateVolume. The same name always leads to the same volume, so a repeated call looks first and makes second; what
 * another call made in between is looked at again. Whether what is there is what was asked for is told by a label with
 * the digest of that: limits and replicas may have been changed since.
 */
import { randomBytes } from 'node:crypto'
import { status } from '@grpc/grpc-js'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import type { CreateVolumeRequest as ApiRequest } from '../../cluster/api/volume-wish-messages.ts'
import { newEncryptionBy, fileSource } from '../../cluster/keys/key-source.ts'
import { shown } from '../../cluster/api/names.ts'
import { CIPHERS, wrappedKeyOf } from '../../engine/volume/volume-encryption.ts'
import type { Cipher } from '../../engine/volume/volume-encryption.ts'
import type { VolumeHealth } from '../../engine/volume/volume-spec.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { KEY_SECRET, keyOfSecrets } from '../encryption-key.ts'
import type { CreateVolumeRequest, CsiVolume, VolumeContentSource } from '../messages.ts'
import { ATTRIBUTES_LABEL, NAME_LABEL, ourName, REQUEST_LABEL, requestDigest } from '../names.ts'
import { aborted, exists, invalid, refusalOf } from '../refusal.ts'
import { accessesOf } from './capabilities.ts'
import type { Access } from './capabilities.ts'
import { mutableFlagsOf, parametersOf } from './parameters.ts'
import type { Parameters } from './parameters.ts'
import { placesOf } from './places.ts'
import { isWithin, newSizeWithin, sizeWithin } from './sizes.ts'
import { snapshotById } from './snapshot-calls.ts'
import { csiVolume, unless, volumeById } from './volumes.ts'

export interface CreateOptions {
  api: ControlClient
  log(line: string): void
  /** Undefined: nobody can be told. It waits for nothing. @param sentences  about parameters without effect */
  tellClaim?: ((claim: { namespace: string; name: string }, sentences: readonly string[]) => void) | undefined
}

/**
 * Of one that is there no status is given that ends the matter for Kubernetes, unless it is not what is asked for: it
 * would not be deleted any more.
 * @param request  its name is one
 * @throws CsiRefusal, HoldfastError
 */
export async function createVolume(options: CreateOptions, request: CreateVolumeRequest): Promise<CsiVolume> {
  const { api, log, tellClaim } = options
  const { parameters, mutableParameters, accessibilityRequirements } = request
  const accesses = accessesOf(request.volumeCapabilities)
  const source = sourceOf(request.volumeContentSource)
  const name = ourName(request.name)
  checkOfUse(accesses, source)
  sizeWithin(request.capacityRange, 0)
  const digest = requestDigest(parametersOf(parameters, {}).flags, source?.text ?? '')
  const known = async (volume: Volume): Promise<Volume> =>
    withAttributes(api, served(same(volume, request, digest)), mutableParameters)
  const answer = (volume: Volume): CsiVolume =>
    csiVolume(volume, {
      source: request.volumeContentSource,
      topology: isBound(volume) ? accessibilityRequirements?.requisite ?? [] : [],
    })

  const there = await unless('volume-not-found', api.getVolume({ name }))
  if (there !== undefined) return answer(await known(there))
  const wanted = parametersOf(parameters, mutableParameters)
  for (const sentence of wanted.ignored) log(`volume ${name}: parameter ${sentence}`)
  const { 'csi-pvc': claim, 'csi-pvc-namespace': namespace } = wanted.labels
  if (claim !== undefined && namespace !== undefined) tellClaim?.({ namespace, name: claim }, wanted.ignored)
  const places = await placesOf(api, accessibilityRequirements)
  const origin = source === undefined ? undefined : await source.find(api)
  if (Object.hasOwn(request.secrets, KEY_SECRET)) await checkKeyOfUse(api, wanted, origin)
  const made = await unless('volume-exists', api.createVolume({
    name,
    sizeBytes: origin === undefined
      ? newSizeWithin(request.capacityRange, accesses.map(({ fileSystem }) => fileSystem))
      : sizeWithin(request.capacityRange, origin.sizeBytes),
    parameters: {
      ...wanted.flags, 'attach-mode': 'single', ...(origin === undefined ? {} : { 'clone-of': origin.cloneOf }),
    },
    labels: {
      ...wanted.labels, [NAME_LABEL]: request.name, [REQUEST_LABEL]: digest,
      [ATTRIBUTES_LABEL]: requestDigest(mutableParameters, ''),
    },
    ...places,
    ...(origin === undefined ? await newKey(wanted, request.secrets) : {}),
  }))
  if (made !== undefined) return answer(made)
  const other = await unless('volume-not-found', api.getVolume({ name }))
  if (other === undefined) throw aborted(`volume ${name} was there, and is gone again: try again`)
  return answer(await known(other))
}

/** What a VolumeAttributesClass asks for may be another thing than when it was made. @returns as it is then */
async function withAttributes(
  api: ControlClient, there: Volume, mutable: Readonly<Record<string, string>>,
): Promise<Volume> {
  const { id, name, labels, replicas } = there
  if (Object.keys(mutable).length === 0 || labels[ATTRIBUTES_LABEL] === requestDigest(mutable, '')) return there
  try {
    return await api.modifyVolume({ name: id, parameters: mutableFlagsOf(mutable, replicas) })
  } catch (error) {
    const refusal = refusalOf(error)
    if (refusal === undefined || refusal.code === status.UNAVAILABLE) throw error
    throw aborted(`volume ${name} is there, and does not become what its attributes class asks for: ${refusal.message}`)
  }
}

const isBound = ({ allowedNodes, allowedZones }: Volume): boolean => allowedNodes.length + allowedZones.length > 0

/** The one that is there, if it is what is asked for. @throws CsiRefusal ALREADY_EXISTS */
function same(there: Volume, { name, capacityRange }: CreateVolumeRequest, digest: string): Volume {
  const { labels, sizeBytes } = there
  const isOwn = labels[NAME_LABEL] === name
  const why = !isOwn ? 'it was not made for this name by Kubernetes'
    : labels[REQUEST_LABEL] !== digest ? 'it was made with other parameters, or from another source'
      : !isWithin(sizeBytes, capacityRange) ? `it has ${sizeBytes} bytes` : undefined
  if (why === undefined) return there
  throw exists(`there is a volume ${there.name} already for ${shown(name)}, and it is not what is asked for: ${why}`)
}

const SERVED: readonly VolumeHealth[] = ['healthy', 'degraded', 'at-risk']

/**
 * OK lets Kubernetes delete what it was made from. A clone that is only wished for, or that nobody serves yet, may
 * have no copy that has anything of that.
 * @throws HoldfastError `volume-waits`
 */
function served(volume: Volume): Volume {
  const { name, epoch, health, healthReason } = volume
  if (epoch > 0 && SERVED.includes(health)) return volume
  throw new HoldfastError('volume-waits', { name, reason: healthReason })
}

/** @throws CsiRefusal INVALID_ARGUMENT: it would be empty for ever */
function checkOfUse(accesses: readonly Access[], source: Source | undefined): void {
  if (source !== undefined || accesses.some(({ mode }) => mode !== 'read-only')) return
  throw invalid('an empty volume that is only read (ReadOnlyMany) is of no use: make it from a snapshot (`dataSource`)')
}

interface Origin {
  volumeId: string
  cloneOf: string
  sizeBytes: number
}

interface Source {
  /** The same text for the same source. */
  text: string
  find(api: ControlClient): Promise<Origin>
}

function sourceOf(given: VolumeContentSource | null): Source | undefined {
  if (given === null) return undefined
  const { snapshot, volume } = given
  if (snapshot !== null && snapshot !== undefined) return snapshotSource(snapshot.snapshotId)
  if (volume !== null && volume !== undefined) return volumeSource(volume.volumeId)
  throw invalid('the content source names neither a snapshot nor a volume')
}

function volumeSource(volumeId: string): Source {
  if (volumeId === '') throw invalid('the id of the source volume is missing')
  return {
    text: `volume ${volumeId}`,
    find: async (api) => {
      const { id, sizeBytes } = await volumeById(api, volumeId)
      return { volumeId: id, cloneOf: id, sizeBytes }
    },
  }
}

function snapshotSource(text: string): Source {
  if (text === '') throw invalid('the id of the source snapshot is missing')
  return {
    text: `snapshot ${text}`,
    find: async (api) => {
      const found = await snapshotById(api, text)
      const { volumeId, id, sizeBytes } = found
      return { volumeId, cloneOf: `${volumeId}@${id}`, sizeBytes }
    },
  }
}

/**
 * A pod that comes with a key gets no volume without encryption (node/key-at-stage.ts): none is made for it.
 * @throws CsiRefusal INVALID_ARGUMENT
 */
async function checkKeyOfUse(api: ControlClient, { flags }: Parameters, origin: Origin | undefined): Promise<void> {
  const name = origin?.volumeId
  const source = name === undefined ? undefined : await unless('volume-not-found', api.getVolume({ name }))
  if (origin === undefined ? flags['encryption'] === 'true' : source?.encryption !== false) return
  const what = 'the secret has a key, and the volume would not be encrypted'
  throw invalid(origin === undefined
    ? `${what}: give the class \`holdfast.io/encryption\` too, or take the secret out of it`
    : `${what}, as its source is not: use a class without that secret`)
}

/**
 * The data key of a new volume, wrapped with the key of its user; nothing: with the cluster key, or it has none.
 * @throws CsiRefusal INVALID_ARGUMENT
 */
async function newKey(
  { flags }: Parameters, secrets: Readonly<Record<string, string>>,
): Promise<Pick<ApiRequest, 'volumeId' | 'wrappedBy' | 'wrapped'>> {
  const isEncrypted = flags['encryption'] === 'true'
  const key = isEncrypted ? keyOfSecrets(secrets) : undefined
  const cipher: Cipher | undefined = CIPHERS.find((one) => one === (flags['cipher'] ?? CIPHERS[0]))
  if (key === undefined || cipher === undefined) return {}
  try {
    const volumeId = randomBytes(16).toString('hex')
    return { volumeId, ...wrappedKeyOf(await newEncryptionBy(cipher, volumeId, fileSource(key))) }
  } finally {
    key.key.erase()
  }
}
