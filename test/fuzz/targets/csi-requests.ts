/**
 * What Kubernetes' sidecars and kubelet ask of the CSI services, as gRPC brings it, and the handles, tokens and secrets
 * in it. Promises: a request is understood or refused in words; what is understood is what the control API takes; no
 * secret is shown; a name leads to a name of ours, and to the same one again.
 */
import { assert } from '../../../engine/assert.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { isName } from '../../../cluster/api/names.ts'
import type { Node } from '../../../cluster/api/node-messages.ts'
import { csiService } from '../../../csi/definition.ts'
import { keyOfSecrets } from '../../../csi/encryption-key.ts'
import type { CreateVolumeRequest } from '../../../csi/messages.ts'
import {
  checkCsiName, groupHandle, groupIdOf, ourName, parseGroupHandle, parseSnapshotHandle, requestDigest, snapshotHandle,
  snapshotIdOf,
} from '../../../csi/names.ts'
import { CsiRefusal } from '../../../csi/refusal.ts'
import { shownRequest } from '../../../csi/shown-request.ts'
import { nodesIn } from '../../../csi/topology.ts'
import { accessesOf } from '../../../csi/controller/capabilities.ts'
import { checkToken, pageLength } from '../../../csi/controller/pages.ts'
import { checkSnapshotParameters, mutableFlagsOf, parametersOf } from '../../../csi/controller/parameters.ts'
import { placesOf } from '../../../csi/controller/places.ts'
import { isWithin, sizeWithin } from '../../../csi/controller/sizes.ts'
import { attachmentOf, ownVolume, useOf } from '../../../csi/node/node-requests.ts'
import type { NodePublishVolumeRequest } from '../../../csi/node/node-requests.ts'
import { chosen } from '../target.ts'
import type { Target } from '../target.ts'

const controller = csiService('Controller')
const node = csiService('Node')
const create = controller['CreateVolume']!
const publish = node['NodePublishVolume']!
const SECRET = 'c2VjcmV0'
const NODES = [{ name: 'n1', zone: 'z1' }, { name: 'n2', zone: '' }] as Node[]

/** What is no message at all, the library refuses. */
function decoded<T>(call: { requestDeserialize(bytes: Buffer): unknown }, bytes: Buffer): T | undefined {
  try {
    return call.requestDeserialize(bytes) as T
  } catch {
    return undefined
  }
}

function refusable<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch (error) {
    if (error instanceof CsiRefusal || error instanceof HoldfastError) return undefined
    throw error
  }
}

async function asked(request: CreateVolumeRequest): Promise<void> {
  const text = shownRequest('CreateVolumeRequest', { ...request, secrets: { 'encryption-key': SECRET } })
  assert(text.includes('[stripped]') && !text.includes(`:"${SECRET}`), 'a secret is not shown')
  refusable(() => checkCsiName(request.name, 'volume'))
  const name = ourName(request.name)
  assert(isName(name) && ourName(request.name) === name, 'a name of ours, always the same')
  refusable(() => accessesOf(request.volumeCapabilities))
  const sizeBytes = refusable(() => sizeWithin(request.capacityRange, 0))
  if (sizeBytes !== undefined) {
    assert(sizeBytes > 0 && sizeBytes % MIB === 0, 'a size is whole MiB')
    assert(isWithin(sizeBytes, request.capacityRange), 'and what was asked for')
  }
  const found = refusable(() => parametersOf(request.parameters, request.mutableParameters))
  if (found !== undefined) {
    const { flags, labels } = found
    assert([...Object.values(flags), ...Object.values(labels)].every((one) => typeof one === 'string'), 'all are texts')
    const backwards = Object.fromEntries(Object.entries(flags).reverse())
    assert(requestDigest(flags, '') === requestDigest(backwards, ''), 'a request is the same in any order')
  }
  refusable(() => mutableFlagsOf(request.parameters, 2))
  refusable(() => checkSnapshotParameters(request.parameters))
  refusable(() => keyOfSecrets(request.secrets))?.key.erase()
  try {
    const places = await placesOf({ listNodes: () => Promise.resolve({ nodes: NODES } as never) },
      request.accessibilityRequirements)
    const names = [...places.preferredNodes, ...places.allowedNodes]
    assert(names.every((one) => NODES.some((known) => known.name === one)), 'places are nodes that there are')
  } catch (error) {
    if (!(error instanceof CsiRefusal)) throw error
  }
  for (const place of request.accessibilityRequirements?.requisite ?? []) nodesIn(place, NODES)
}

function published({ volumeId, volumeCapability, publishContext, readonly }: NodePublishVolumeRequest): void {
  refusable(() => ownVolume(volumeId))
  const attachment = refusable(() => attachmentOf(publishContext))
  if (attachment !== undefined) assert(Number.isSafeInteger(attachment.generation), 'a generation is a number')
  const use = refusable(() => useOf(volumeCapability, readonly))
  if (use === undefined) return
  assert(use.options.every((one) => !/^(?:bind|rw|ro|loop|remount)$/.test(one)), 'what we alone say is said by us')
  assert(use.options.every((one) => !/[\s\0]/.test(one)), 'an option is one word')
}

function named(text: string): void {
  const snapshot = parseSnapshotHandle(text)
  if (snapshot !== undefined) assert(snapshotHandle(snapshot) === text, 'a snapshot is called what it says')
  const group = parseGroupHandle(text)
  if (group !== undefined) assert(groupHandle(group) === text, 'so is a group')
  const [one = '', ...others] = text.split('\n')
  const id = snapshotIdOf(one, ourName(others[0] ?? ''))
  assert(/^[0-9a-f]{32}$/.test(id) && groupIdOf(one, others) === groupIdOf(one, [...others].reverse()), 'ids are ids')
  const length = refusable(() => pageLength(Number(one)))
  if (length !== undefined && !Number.isNaN(length)) assert(length > 0 && length <= 100, 'a page has an end')
  refusable(() => checkToken(text, (token) => /^[0-9a-f]{32}$/.test(token)))
}

const ID = '22'.repeat(16)
const mount = { mount: { fsType: 'ext4', mountFlags: ['noatime'] }, accessMode: { mode: 'SINGLE_NODE_WRITER' } }
const block = { block: {}, accessMode: { mode: 'MULTI_NODE_MULTI_WRITER' } }
const term = { segments: { 'topology.csi.holdfast.io/node': 'n1', 'topology.csi.holdfast.io/zone': 'z1' } }
const created = (message: object): Uint8Array =>
  chosen(0, create.requestSerialize({ name: 'pvc-1', volumeCapabilities: [mount], ...message }))
const context = { 'holdfast.io/generation': '7', 'holdfast.io/mode': 'single' }

export const target: Target = {
  parsers: [
    'csi/names.ts', 'csi/topology.ts', 'csi/shown-request.ts', 'csi/encryption-key.ts',
    'csi/controller/parameters.ts', 'csi/controller/sizes.ts', 'csi/controller/capabilities.ts',
    'csi/controller/places.ts', 'csi/controller/pages.ts', 'csi/node/node-requests.ts',
  ],
  seeds: () => [
    created({ capacityRange: { requiredBytes: 2 ** 30, limitBytes: 2 ** 31 } }),
    created({ parameters: { 'holdfast.io/replicas': '2', 'csi.storage.k8s.io/fstype': 'xfs' } }),
    created({ parameters: { 'storageos.com/failure-mode': 'threshold', 'storageos.com/failure.tolerance': '1' } }),
    created({ mutableParameters: { 'holdfast.io/qos-iops': '500' }, volumeCapabilities: [block] }),
    created({ secrets: { 'encryption-key': 'ab'.repeat(32) }, parameters: { 'holdfast.io/encryption': 'true' } }),
    created({ accessibilityRequirements: { requisite: [term], preferred: [term] } }),
    created({ volumeContentSource: { snapshot: { snapshotId: `${ID}.${ID}` } } }),
    chosen(1, publish.requestSerialize({ volumeId: ID, volumeCapability: mount, publishContext: context })),
    chosen(1, publish.requestSerialize({ volumeId: ID, volumeCapability: block, readonly: true })),
    chosen(2, `${ID}.${ID}`), chosen(2, `group.${ID}`), chosen(2, '12\na\nb'),
  ],
  words: [
    'holdfast.io/', 'storageos.com/', 'csi.storage.k8s.io/', '-secret-name', 'threshold', 'failure.tolerance', 'true',
    'bind', 'rw,', 'x-', '__proto__', 'constructor', ID,
  ],
  async execute(input) {
    if (input.length === 0) return
    const bytes = Buffer.from(input.subarray(1))
    switch (input[0]! % 3) {
      case 0: {
        const request = decoded<CreateVolumeRequest>(create, bytes)
        return request === undefined ? undefined : asked(request)
      }
      case 1: {
        const request = decoded<NodePublishVolumeRequest>(publish, bytes)
        return request === undefined ? undefined : published(request)
      }
      default: return named(bytes.toString())
    }
  },
}
