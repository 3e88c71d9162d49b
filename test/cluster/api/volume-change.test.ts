/** What is changed of a volume that is there: all or nothing, by known names, and nothing that it is for good. */
import t from 'tap'
import { CHANGEABLE, changesOf, withChanges } from '../../../cluster/api/volume-change.ts'
import { decodeVolume, encodeVolume } from '../../../cluster/store/volume-records.ts'
import type { HoldfastError } from '../../../engine/errors.ts'
import { recordOf } from '../../engine/control/small-cluster.ts'

const ID = 'a'.repeat(32)
const RECORD = recordOf(ID, { labels: { app: 'db' }, failureMode: 'soft' }, { replicas: 1 })
const change = (parameters: Record<string, string>, nodes = 3) => withChanges(RECORD, changesOf(parameters), nodes)

function refusal(parameters: Record<string, string>): HoldfastError | undefined {
  try {
    change(parameters)
    return undefined
  } catch (error) {
    return error as HoldfastError
  }
}

t.test('each is changed, with or without its prefix, and nothing else', async (t) => {
  const table: Array<[name: string, value: string, changed: object]> = [
    ['replicas', '2', { spec: { replicas: 2 } }],
    ['io-timeout', '30s', { spec: { ioTimeoutMs: 30_000 } }],
    ['on-full', 'error', { spec: { onFull: 'error' } }],
    ['compression', 'lz4', { spec: { compression: 'lz4' } }],
    ['qos-iops', '500', { spec: { qos: { iops: 500, bandwidthBytes: 0, burstMs: 1000 } } }],
    ['failure-mode', '0', { failureMode: 0, minInSync: 0 }],
    ['min-in-sync', '2', { minInSync: 2, failureMode: undefined }],
    ['data-locality', 'best-effort', { dataLocality: 'best-effort' }],
  ]
  for (const [name, value, changed] of table) {
    const next = change({ [`holdfast.io/${name}`]: value })
    t.same(next, change({ [name]: value }))
    t.match(next, changed, name)
    t.match(next, { spec: { name: ID, durability: 'durable' }, labels: { app: 'db' } })
    t.same(decodeVolume(ID, encodeVolume(next)), next, 'it can be kept')
  }
  t.same(change({ 'data-locality': 'disabled' }), RECORD)
  t.same(change({ replicas: '1' }), RECORD, 'as it is')
  const both = change({ replicas: '2', 'min-in-sync': '3' })
  t.match(both, { spec: { replicas: 2 }, minInSync: 3 }, 'of the copies to come')
})

t.test('refused by name, with the nearest known one, and why', async (t) => {
  t.match(refusal({ replica: '1' }), { code: 'parameter', message: /did you mean replicas\?/ })
  t.match(refusal({ nonsense: '1' }), { code: 'parameter', message: new RegExp(CHANGEABLE.join(', ')) })
  t.match(refusal({}), { code: 'parameter' })
  const twice = refusal({ 'on-full': 'hold', 'holdfast.io/on-full': 'error' })
  t.match(twice, { code: 'parameter', message: /two were given/ })
  t.equal(refusal({ replicas: '3' })?.code, 'too-few-nodes')
  for (const mode of ['6', '-1', 'Hard', '', '1.5']) t.equal(refusal({ 'failure-mode': mode })?.code, 'parameter', mode)
  t.match(refusal({ 'min-in-sync': '1', 'failure-mode': 'hard' }), { code: 'parameter' })
  t.equal(refusal({ 'min-in-sync': '3' })?.code, 'parameter', 'more than there are copies')
  const forGood = ['block-size', 'encryption', 'cipher', 'pool', 'disk-tags', 'clone-of', 'attach-mode']
  for (const name of forGood)
    t.match(refusal({ [name]: 'x' }), { code: 'not-supported', message: new RegExp(`a change of ${name} of a volume`) })
})
