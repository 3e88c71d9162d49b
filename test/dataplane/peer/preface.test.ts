/** Risk: both ends agree on something that is not so: a version, a node, who is meant; or checksums say nothing. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  answeringPreface, askingPreface, commonVersion, decodePreface, directionSeed, encodePreface, judgeAnswer, judgeAsked,
} from '../../../dataplane/peer/preface.ts'
import type { PeerSelf, Preface } from '../../../dataplane/peer/preface.ts'
import { ANSWER, PREFACE_BYTES } from '../../../dataplane/peer/protocol.ts'

const cluster = 'cc'.repeat(16)
const one: PeerSelf = { clusterId: cluster, node: 'n1', instance: 'a1'.repeat(16), worker: 1, role: 'worker' }
const two: PeerSelf = { clusterId: cluster, node: 'n2', instance: 'a2'.repeat(16), worker: 2, role: 'worker' }
const windowBytes = 32 << 20
const nonce = (digit: string): string => digit.repeat(32)
const asked = askingPreface(one, { node: 'n2', worker: 2, lane: 'data', nonce: nonce('1'), windowBytes })
const answered = answeringPreface(two, asked, { nonce: nonce('2'), windowBytes, answer: 'accepted' })

t.test('every field survives', async (t) => {
  const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'))
  const byte = fc.integer({ min: 1, max: 255 })
  const u16 = fc.integer({ min: 0, max: 65535 })
  const node = fc.constantFrom('n1', 'a'.repeat(63), 'rack-7.host-3')
  const any: fc.Arbitrary<Preface> = fc.record({
    versionLeast: byte, versionGreatest: fc.constant(255),
    role: fc.constantFrom('worker' as const, 'supervisor' as const),
    lane: fc.constantFrom('urgent' as const, 'data' as const), version: byte, worker: u16, toWorker: u16,
    answer: fc.constantFrom(...(Object.keys(ANSWER) as Array<keyof typeof ANSWER>)), clusterId: uuid, instance: uuid,
    wantsTls: fc.boolean(), toInstance: uuid, nonce: uuid, node, toNode: node, windowBytes: fc.nat(2 ** 31 - 1),
  })
  fc.assert(fc.property(any, (preface) => {
    assert.deepEqual(decodePreface(encodePreface(preface)), { ...preface })
  }), { numRuns: 200, seed: 3 })
  t.pass('200 runs')
})

t.test('any changed bit is refused', async (t) => {
  const bytes = encodePreface(asked)
  for (let bit = 0; bit < PREFACE_BYTES * 8; bit++) {
    const damaged = Uint8Array.from(bytes)
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    if (typeof decodePreface(damaged) !== 'string') t.fail(`bit ${bit}`)
  }
  t.match(decodePreface(bytes.subarray(1)), /224 bytes/)
})

t.test('the greatest version both speak', async (t) => {
  const speaks = (versionLeast: number, versionGreatest: number): Preface =>
    ({ ...asked, versionLeast, versionGreatest })
  t.equal(commonVersion(speaks(1, 1), speaks(1, 3)), 1)
  t.equal(commonVersion(speaks(1, 4), speaks(2, 3)), 3)
  t.equal(commonVersion(speaks(1, 1), speaks(2, 3)), undefined)
})

t.test('what the accepting side sees', async (t) => {
  t.equal(judgeAsked(two, asked), 'accepted')
  t.equal(judgeAsked(two, { ...asked, toInstance: two.instance }), 'accepted')
  t.equal(judgeAsked(two, { ...asked, toInstance: one.instance }), 'not-me')
  t.equal(judgeAsked(two, { ...asked, node: 'n2' }), 'self')
  t.equal(judgeAsked(two, { ...asked, node: 'n2', role: 'supervisor' }), 'accepted', 'its own supervisor may report')
  t.equal(judgeAsked(two, { ...asked, versionLeast: 200, versionGreatest: 200 }), 'version')
})

t.test('what the dialling side sees', async (t) => {
  t.equal(judgeAnswer(asked, answered), undefined)
  t.match(judgeAnswer(asked, { ...answered, node: 'n7' }), /another node/)
  t.match(judgeAnswer(asked, { ...answered, worker: 0 }), /another node/)
  t.match(judgeAnswer(asked, { ...answered, clusterId: nonce('0') }), /another cluster/)
  t.match(judgeAnswer(asked, { ...answered, toInstance: two.instance }), /not for us/)
  t.match(judgeAnswer(asked, { ...answered, lane: 'urgent' }), /not to what was asked/)
  t.match(judgeAnswer(asked, { ...answered, answer: 'unknown' }), /refused: unknown/)
  t.match(judgeAnswer(asked, { ...answered, version: 1 }), /another version/)
})

t.test('checksums of each direction and each connection begin elsewhere', async (t) => {
  const seeds = new Set<number>()
  for (const digit of ['2', '3', '4']) {
    const answer = { ...answered, nonce: nonce(digit) }
    seeds.add(directionSeed(asked, answer))
    seeds.add(directionSeed(answer, asked))
    seeds.add(directionSeed({ ...asked, instance: nonce(digit) }, answered))
    seeds.add(directionSeed(asked, { ...answered, clusterId: nonce(digit) }))
  }
  // Those with the nonce of `answered` itself are counted once.
  t.equal(seeds.size, 12)
})
