/** Wished volumes: every limit of name, size and parameter, by table, with the code and the allowed values in words. */
import t from 'tap'
import type { CreateVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { clusterVolumeOf, volumeSpecOf } from '../../../cluster/api/volume-request.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { GIB, MIB, VOLUME_BYTES_MAX } from '../../../engine/units.ts'

const ID = '0123456789abcdef0123456789abcdef'

function request(changes: Partial<CreateVolumeRequest>): CreateVolumeRequest {
  return { name: 'data-1', sizeBytes: GIB, parameters: {}, ...changes }
}

function refusal(changes: Partial<CreateVolumeRequest>, nodes = 1): HoldfastError | undefined {
  try {
    volumeSpecOf(request(changes), { id: ID, nodes })
    return undefined
  } catch (error) {
    if (error instanceof HoldfastError) return error
    throw error
  }
}

t.test('defaults', async (t) => {
  t.same(volumeSpecOf(request({}), { id: ID, nodes: 1 }), {
    id: ID, name: 'data-1', sizeBytes: GIB, blockSizeBytes: 4096, replicas: 0, durability: 'durable', onFull: 'hold',
    ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
  })
  t.same([1, 2, 3, 9].map((nodes) => volumeSpecOf(request({}), { id: ID, nodes }).replicas), [0, 1, 2, 2])
})

t.test('every parameter is taken, with or without its prefix', async (t) => {
  const parameters = {
    'holdfast.io/replicas': '1', durability: 'writeback', 'holdfast.io/block-size': '512', 'on-full': 'error',
    'io-timeout': '30s', pool: 'fast', 'disk-tags': 'ssd,nvme+ssd', encryption: 'false',
  }
  t.match(volumeSpecOf(request({ parameters }), { id: ID, nodes: 2 }), {
    replicas: 1, durability: 'writeback', blockSizeBytes: 512, onFull: 'error', ioTimeoutMs: 30_000, pool: 'fast',
    diskTags: ['nvme', 'ssd'],
  })
})

t.test('limits', async (t) => {
  const qos = (parameters: Record<string, string>) => volumeSpecOf(request({ parameters }), { id: ID, nodes: 1 }).qos
  t.same(qos({ 'qos-iops': '500' }), { iops: 500, bandwidthBytes: 0, burstMs: 1000 })
  const both = { 'holdfast.io/qos-iops': '10', 'qos-bandwidth': '1Mi', 'qos-burst': '60m' }
  t.same(qos(both), { iops: 10, bandwidthBytes: MIB, burstMs: 3_600_000 })
  t.equal(qos({ 'qos-iops': 'none', 'qos-bandwidth': 'none' }), undefined)
  for (const burst of ['99ms', '61m', '1']) {
    t.match(refusal({ parameters: { 'qos-iops': '10', 'qos-burst': burst } })?.message, /100ms to 60m/, burst)
  }
})

t.test('a schedule of snapshots, of volumes of a cluster', async (t) => {
  const wished = (text: string) =>
    clusterVolumeOf(request({ parameters: { 'snapshot-schedule': text } }), { id: ID, nodes: 3 }).snapshotSchedule
  t.same(wished('every 2h keep-daily 7'), { everyMs: 7_200_000, keep: { last: 0, hourly: 0, daily: 7, weekly: 0 } })
  t.equal(wished('none'), undefined)
  t.throws(() => wished('every 2h'), { code: 'parameter' })
})

t.test('sizes', async (t) => {
  for (const sizeBytes of [MIB, VOLUME_BYTES_MAX, 3 * MIB]) t.equal(refusal({ sizeBytes }), undefined, `${sizeBytes}`)
  const over = VOLUME_BYTES_MAX + MIB
  for (const sizeBytes of [0, -MIB, 1, MIB - 1, MIB + 4096, 10e9 + 1, over, NaN, Infinity, 0.5, 2 ** 60]) {
    t.equal(refusal({ sizeBytes })?.code, 'volume-size', `${sizeBytes}`)
  }
})

t.test('names', async (t) => {
  const refused = ['', 'A', 'a_b', 'a'.repeat(64), '../x', 'ab'.repeat(16)]
  for (const name of refused) t.equal(refusal({ name })?.code, 'volume-name', name)
})

t.test('refused parameters', async (t) => {
  const table: Array<[name: string, value: string, code: string, words: RegExp]> = [
    ['durability', 'fast', 'parameter', /durable, writeback/],
    ['block-size', '1024', 'parameter', /4096, 512/],
    ['block-size', '', 'parameter', /4096, 512/],
    ['on-full', 'panic', 'parameter', /hold, error/],
    ['io-timeout', '5', 'parameter', /30s/],
    ['io-timeout', '25h', 'parameter', /24h/],
    ['replicas', '6', 'parameter', /0 to 5/],
    ['replicas', '-1', 'parameter', /0 to 5/],
    ['replicas', '1.5', 'parameter', /0 to 5/],
    ['replicas', '1', 'too-few-nodes', /needs 2 nodes, and this cluster has 1.*--replicas 0/],
    ['pool', 'No Way', 'parameter', /a-z/],
    ['disk-tags', 'a,B', 'parameter', /a-z/],
    ['encryption', 'true', 'not-supported', /LUKS/],
    ['encryption', 'yes', 'parameter', /false, true/],
    ['compression', 'lz4', 'not-supported', /compression/],
    ['holdfast.io/min-in-sync', '2', 'not-supported', /min-in-sync/],
    ['snapshot-schedule', 'every 1h keep-last 2', 'not-supported', /snapshot-schedule/],
    ['durabilty', 'durable', 'parameter', /did you mean durability/],
    ['constructor', 'x', 'parameter', /replicas, durability/],
    ['other.io/replicas', '1', 'parameter', /allowed/],
    ['qos-iops', '9', 'parameter', /none, or 10 to 10000000 requests/],
    ['qos-iops', '1e3', 'parameter', /requests a second/],
    ['qos-iops', '10000001', 'parameter', /requests a second/],
    ['qos-bandwidth', '1023Ki', 'parameter', /1Mi to 1Ti bytes a second/],
    ['qos-bandwidth', '1.1Ti', 'parameter', /1Mi to 1Ti bytes a second/],
    ['qos-bandwidth', 'fast', 'parameter', /e\.g\. 100Mi/],
    ['qos-burst', '10s', 'parameter', /with a limit only/],
  ]
  for (const [name, value, code, words] of table) {
    const refused = refusal({ parameters: { [name]: value } })
    t.equal(refused?.code, code, `${name}=${value}`)
    t.match(refused?.message, words, `${name}=${value}`)
  }
  const twice = refusal({ parameters: { pool: 'a', 'holdfast.io/pool': 'b' } })
  t.match(twice?.message, /two were given/)
})
