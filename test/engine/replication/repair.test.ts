/**
 * A read that met damage: served from what another member has, or from what took its place meanwhile; `damaged` only
 * when nobody has it and it is still what the volume shows.
 */
import t from 'tap'
import type { VersionId } from '../../../engine/replication/record.ts'
import { Copies } from './copies.ts'

function serving(): Copies {
  const copies = new Copies()
  copies.run(500)
  copies.open()
  return copies
}

/** The store of the primary cannot read this version, for the read that is under way. */
function damage(copies: Copies, version: VersionId): void {
  const [token] = [...copies.node('n1').state.primary!.reads.keys()]
  copies.event('n1', { type: 'read-ended', token: token!, ok: false, versions: [], damaged: [version] })
}

/** As good as one that was replaced everywhere: no other member has it. */
const REPLACED: VersionId = { lba: 3, epoch: 1, seq: 1 }

t.test('what is damaged was replaced while the others were asked: the new version is read', (t) => {
  const copies = serving()
  copies.write(3, 33)
  copies.settle()
  const read = copies.ask({ type: 'read', lba: 3, blockCount: 1 })
  damage(copies, REPLACED)
  copies.settle()
  t.match(copies.answerOf(read), { ok: true, versions: [{ lba: 3, payload: { data: 33 } }] })
  t.end()
})

t.test('nobody has it, and it is still what is read: damaged', (t) => {
  const copies = serving()
  const read = copies.ask({ type: 'read', lba: 3, blockCount: 1 })
  copies.isStalled = ({ name }) => name === 'n1'
  damage(copies, REPLACED)
  copies.settle()
  t.equal(copies.answerOf(read), undefined, 'it is read once more')
  damage(copies, REPLACED)
  t.match(copies.answerOf(read), { ok: false, code: 'damaged' })
  t.end()
})

t.test('what a store that has failed cannot read is no damage: the next primary is asked', (t) => {
  const copies = serving()
  copies.write(3, 33)
  copies.settle()
  const read = copies.ask({ type: 'read', lba: 3, blockCount: 1 })
  const [token] = [...copies.node('n1').state.primary!.reads.keys()]
  copies.event('n1', { type: 'read-ended', token: token!, ok: false, versions: [], damaged: [] })
  t.equal(copies.answerOf(read), undefined)
  copies.event('n1', { type: 'store-failed', reason: 'a sync failed' })
  copies.run(8000)
  t.not(copies.config.primary, 'n1')
  copies.open()
  t.equal(copies.answerOf(read), undefined, 'nobody was told of an error')
  copies.ask({ type: 'read', lba: 3, blockCount: 1 }, { number: read })
  copies.settle()
  t.match(copies.answerOf(read), { ok: true, versions: [{ lba: 3, payload: { data: 33 } }] })
  t.end()
})

t.test('who applies a version while its store looks for it does not say that it lacks it', (t) => {
  const copies = serving()
  copies.write(3, 33)
  copies.settle()
  const n1 = copies.node('n1')
  const n2 = copies.node('n2')
  const { tail, epochs } = n1.state.log
  const wanted = [{ lba: 3, epoch: epochs.at(-1)![0], seq: tail }]
  t.ok(n2.state.log.appliedSeq < tail, 'it is stored there, and not known to be committed')
  copies.isStalled = ({ name }) => name === 'n2'
  const instance = `n1#${n1.starts}`
  copies.deliver({ from: 'n1', instance, to: 'n2', message: { type: 'fetch-versions', epoch: tail, wanted } })
  copies.write(4, 44)
  copies.settle()
  t.ok(n2.state.log.appliedSeq >= tail)
  const [token] = [...n2.state.fetches.keys()]
  copies.event('n2', { type: 'versions-read', token: token!, versions: [] })
  t.notOk(copies.letters.some(({ message }) => message.type === 'versions'))
  t.end()
})
