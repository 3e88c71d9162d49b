/**
 * Risk: what is written down of a copy that begins to be filled is less than it has (a write that the whole set has
 * counts as lost), or more (what is wiped counts as stored).
 */
import t from 'tap'
import type { CopyStore } from '../../../engine/replication/copy-store.ts'
import { CopyWitness } from './copy-witness.ts'

function witnessOf(storedSeq: number, durableSeq: number): CopyWitness {
  let position = 0
  const port = new Proxy({}, { get: () => () => ++position }) as ConstructorParameters<typeof CopyWitness>[1]
  const witness = new CopyWitness('n1', port)
  const store = new Proxy({}, { get: () => () => undefined }) as CopyStore
  const facts = {
    promise: { epoch: 2, primary: 'n2' }, attach: { brokenGeneration: 0, incarnations: [] },
    consistency: { state: 'consistent' },
  }
  witness.opened(store, {
    facts, boot: 'a', epochs: [[2, 1]], unapplied: [], appliedSeq: 0, tail: 0, lostSlices: [],
  } as unknown as Parameters<CopyWitness['opened']>[1])
  witness.stored(storedSeq, durableSeq)
  return witness
}

const beginOf = (fork: number, wipe: number[]) => ({
  fork, target: 30, wipe, facts: { consistency: { state: 'filling', target: 30, slices: [] } },
  descriptor: { epochs: [[2, 1]], forgottenSeq: 0 }, windows: [],
}) as unknown as Parameters<CopyStore['startFill']>[1]

t.test('filled from a fork on, it has all that it had up to there, from the call on', (t) => {
  const witness = witnessOf(25, 18)
  witness.startFill(7, beginOf(21, []))
  t.same([witness.storedSeq, witness.durableSeq], [21, 18])
  witness.kept(7)
  t.same([witness.storedSeq, witness.durableSeq], [30, 30])
  t.end()
})

t.test('wiped, it has nothing until the begin is durable', (t) => {
  for (const begin of [beginOf(0, [0, 1]), beginOf(21, [1])]) {
    const witness = witnessOf(25, 25)
    witness.startFill(7, begin)
    t.same([witness.storedSeq, witness.durableSeq], [0, 0])
  }
  t.end()
})

t.test('all that it is filled up to counts as stored then, not before it lost its power', (t) => {
  const witness = witnessOf(25, 18)
  const before = witness.storedAt(20)!
  witness.startFill(7, beginOf(21, []))
  witness.kept(7)
  for (const seq of [1, 20, 21, 22, 30]) t.ok(witness.storedAt(seq)! > before, `seq ${seq}`)
  t.end()
})
