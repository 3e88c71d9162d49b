/**
 * What callers of the control API ask for: volumes, clones, limits, schedules, labels, pages, as text and as gRPC
 * brings it. Promises: a wish is understood or refused in words; what is understood is a spec like another.
 */
import { assert } from '../../../engine/assert.ts'
import { services } from '../../../cluster/api/definition.ts'
import type { CreateVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import {
  exactSize, formatDuration, parseDurationMs, parseSize,
} from '../../../cluster/api/amounts.ts'
import { checkGroupPage, checkGroupVolumes } from '../../../cluster/api/group-request.ts'
import { nearest } from '../../../cluster/api/names.ts'
import { checkQos } from '../../../cluster/api/qos-request.ts'
import { cloneWishOf, clonedVolumeOf } from '../../../cluster/api/clone-request.ts'
import { checkSchedule, scheduleText } from '../../../cluster/api/schedule-request.ts'
import {
  checkAllToken, checkLabels, checkNewLabels, checkPage, checkPageToken, checkSnapshotId, checkSnapshotName,
} from '../../../cluster/api/snapshot-request.ts'
import {
  checkHoldingMode, checkKept, checkReplicas, checkVolumeName, clusterVolumeOf, KNOWN_PARAMETERS, parseTags,
  volumeSpecOf,
} from '../../../cluster/api/volume-request.ts'
import { changesOf, withChanges } from '../../../cluster/api/volume-change.ts'
import { checkVolumeLabels } from '../../../cluster/api/volume-labels.ts'
import { pageOfIds } from '../../../cluster/api/volume-page.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { encodeVolume, decodeVolume } from '../../../cluster/store/volume-records.ts'
import { parseAddresses } from '../../../cluster/store/store-addresses.ts'
import { chosen, oneOf, refusable } from '../target.ts'
import type { Target } from '../target.ts'

const ID = '22'.repeat(16)
const context = { id: ID, nodes: 4, clusterKey: userKeyOf(new Uint8Array(32).fill(9)) }
const PLAIN = clusterVolumeOf({ name: 'v', sizeBytes: 2 ** 20, parameters: {} }, context)
const loaded = services()
const CALLS = Object.values(loaded).flatMap((service) => Object.values(service))
const createCall = loaded['VolumeService']!['Create']!

/** What is no message at all, the library refuses. */
function decoded(call: { requestDeserialize(bytes: Buffer): unknown }, bytes: Buffer): unknown {
  try {
    return call.requestDeserialize(bytes)
  } catch {
    return undefined
  }
}

function create(bytes: Buffer): void {
  const request = decoded(createCall, bytes) as CreateVolumeRequest | undefined
  if (request === undefined) return
  refusable(() => cloneWishOf(request))
  refusable(() => volumeSpecOf(request, context))
  refusable(() => {
    const record = clusterVolumeOf(request, context)
    const again = decodeVolume(ID, encodeVolume(record))
    assert(again !== undefined, 'what was asked for and granted can be kept')
    refusable(() => clonedVolumeOf(request, { ...context, id: '33'.repeat(16) }, record))
  })
}

const CHECKS = [checkSnapshotName, checkSnapshotId, checkPageToken, checkVolumeName, checkHoldingMode]

const DECODERS = [
  create,
  (bytes: Buffer) => {
    if (bytes.length > 0) decoded(CALLS[bytes[0]! % CALLS.length]!, bytes.subarray(1))
  },
  (bytes: Buffer) => {
    const text = bytes.toString()
    const size = parseSize(text)
    if (size !== undefined) assert(parseSize(exactSize(size)) === size, 'a size is read as it is written')
    const ms = parseDurationMs(text)
    if (ms !== undefined) assert(parseDurationMs(formatDuration(ms)) === ms, 'so is a duration')
  },
  (bytes: Buffer) => {
    const schedule = checkSchedule(bytes.toString())
    assert(JSON.stringify(checkSchedule(scheduleText(schedule))) === JSON.stringify(schedule), 'a schedule too')
  },
  (bytes: Buffer) => {
    const [iops, bandwidth, burst] = bytes.toString().split('\n')
    checkQos({ iops, bandwidth, burst })
  },
  (bytes: Buffer) => {
    const words = bytes.toString().split('\n')
    for (const word of words) {
      for (const check of CHECKS) refusable(() => check(word))
      refusable(() => checkPage(Number(word)))
      refusable(() => checkGroupPage(Number(word)))
      refusable(() => checkKept(word, false))
      refusable(() => checkReplicas(word, 3))
      refusable(() => parseTags('tags', word))
      refusable(() => parseAddresses(word))
    }
    refusable(() => checkGroupVolumes(words))
    const labels = Object.fromEntries(words.map((word) => [word.split('=')[0]!, word.split('=')[1] ?? '']))
    refusable(() => checkLabels(labels))
    refusable(() => checkNewLabels(labels))
    refusable(() => checkVolumeLabels(labels))
    refusable(() => {
      const changed = withChanges(PLAIN, changesOf(labels), 3)
      assert(decodeVolume(ID, encodeVolume(changed)) !== undefined, 'what was changed can be kept')
    })
    refusable(() => pageOfIds(words, { limit: words.length, after: words[0] ?? '' }))
    refusable(() => checkAllToken(words[0] ?? ''))
  },
  (bytes: Buffer) => nearest(bytes.toString(), KNOWN_PARAMETERS),
] as const

const wish = (parameters: Record<string, string>): Uint8Array =>
  chosen(0, createCall.requestSerialize({ name: 'v', sizeBytes: 2 ** 20, parameters }))

export const target: Target = {
  parsers: [
    'cluster/api/volume-request.ts', 'cluster/api/amounts.ts', 'cluster/api/names.ts', 'cluster/api/qos-request.ts',
    'cluster/api/schedule-request.ts', 'cluster/api/volume-change.ts', 'cluster/api/volume-labels.ts',
    'cluster/api/snapshot-request.ts', 'cluster/api/group-request.ts',
    'cluster/store/store-addresses.ts',
  ],
  seeds: () => [
    wish({ replicas: '2', durability: 'writeback', 'block-size': '512', 'on-full': 'error', 'disk-tags': 'a+b' }),
    wish({ encryption: 'true', cipher: 'aes-256-gcm', compression: 'lz4', 'qos-iops': '500', 'qos-burst': '10s' }),
    wish({ 'holdfast.io/replicas': '1', 'min-in-sync': '1', 'attach-mode': 'single', 'io-timeout': '30s' }),
    wish({ 'snapshot-schedule': 'every 1h keep-last 4', pool: 'p' }),
    wish({ 'clone-of': 'data@monday', 'allow-degraded': 'true', 'qos-bandwidth': '50Mi' }),
    chosen(1, Buffer.concat([Buffer.of(3), createCall.requestSerialize({ name: 'v', sizeBytes: 1 })])),
    chosen(2, '1.5Gi'), chosen(2, '250ms'), chosen(2, '9007199254740991'),
    chosen(3, 'every 1h keep-last 24 keep-daily 7'), chosen(4, '500\n50Mi\n10s'),
    chosen(5, `a=b\n${ID}\n12.${ID}\nhttp://h:1,https://[::1]:2\nsingle\n24h`), chosen(6, 'replcas'),
  ],
  words: [
    ...KNOWN_PARAMETERS, 'none', 'true', 'every ', ' keep-last ', '1Ti', '720h', 'holdfast.io/', '\n', '__proto__',
    'constructor',
  ],
  execute: (input) => oneOf(input, DECODERS),
}
