/** Risk: a volume is asked for what a node of before would not be told, and its copies are let go for it. */
import t from 'tap'
import { PROTOCOL_FOR, tooOld } from '../../../cluster/reconcile/node-versions.ts'
import { DURABILITY_SINCE, SHRINKS_SINCE, transformsSince, VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import { TRANSFORM } from '../../../engine/transform/transform.ts'

const beat = (protocol: number | undefined, version = '0.2') => {
  const told = protocol === undefined ? {} : { protocol }
  return { peer: '', api: '', nodeId: 'x', clusterId: 'c', instance: 'i', version, ...told }
}

t.test('the versions are those of the protocol', (t) => {
  const { compression, encryption, shrinking, 'another durability': durability, ...inRecords } = PROTOCOL_FOR
  for (const [what, since] of Object.entries(inRecords)) t.equal(since, 7, what)
  t.same([compression, encryption, shrinking, durability],
    [transformsSince(TRANSFORM.lz4), transformsSince(TRANSFORM.cipher), SHRINKS_SINCE, DURABILITY_SINCE])
  t.end()
})

t.test('the nodes that are too old are named', (t) => {
  const now = beat(VERSION_GREATEST)
  t.equal(tooOld(new Map([['n1', now], ['n2', beat(3)]]), 'compression', 'data'), undefined)
  const old = tooOld(new Map([['n3', beat(undefined, '0.1')], ['n1', now], ['n2', beat(5)]]), 'shrinking', 'data')
  const message = /^shrinking of volume data waits .* n2 \(version 0.2\) and n3 \(version 0.1\)/
  t.match(old, { code: 'node-too-old', message })
  t.end()
})
