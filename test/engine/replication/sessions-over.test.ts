/**
 * Risks of what copies know of sessions: it grows with each attachment until no message has room for it, so that no
 * copy can be filled any more; or what is still needed is forgotten, and a request is applied twice.
 */
import t from 'tap'
import { HOLDERS_MAX, type Attach } from '../../../engine/replication/configuration.ts'
import type { OpenEntry } from '../../../engine/replication/session-fence.ts'
import { encodeWindows, WINDOWS_MAX, type SessionWindow } from '../../../engine/replication/session-window.ts'
import { noNumbered } from '../../../engine/replication/numbered.ts'
import { MESSAGE_SHAPES } from '../../../dataplane/peer/message-shapes.ts'
import { Copies } from './copies.ts'

const ATTACHMENTS = 60

function serving(attach: Partial<Attach> = {}): Copies {
  const copies = new Copies()
  copies.change({ ...copies.config, attach: { ...copies.config.attach, ...attach } })
  copies.run(500)
  copies.open()
  return copies
}

/** The session of another attachment writes. */
function attach(copies: Copies, generation: number, incarnation: number, attached?: Partial<Attach>): void {
  if (attached !== undefined) copies.change({ ...copies.config, attach: { ...copies.config.attach, ...attached } })
  copies.session = { generation, incarnation }
  copies.replies = []
  copies.settle()
  t.ok(copies.open())
  const request = copies.write(generation % 16, incarnation)
  copies.settle()
  t.match(copies.answerOf(request), { ok: true })
}

const counts = (copies: Copies): number[] =>
  [...copies.nodes.values()].map(({ state }) => encodeWindows(state.windows) as unknown[]).map(({ length }) => length)

const windowOf = (generation: number, incarnation: number): SessionWindow =>
  ({ generation, incarnation, floor: 5, highest: 4, done: new Map(), ordered: noNumbered() })

t.test('of attachments that are over no copy knows anything, however many there were', (t) => {
  const copies = serving()
  for (let generation = 2; generation < ATTACHMENTS; generation++)
    attach(copies, generation, generation, { generation, holders: { front: generation } })
  t.ok(Math.max(...counts(copies)) <= 2, `${counts(copies)} windows`)
  t.end()
})

t.test('nor of former sessions of one that goes on', (t) => {
  const copies = serving()
  for (let incarnation = 2; incarnation < ATTACHMENTS; incarnation++) attach(copies, 1, incarnation)
  t.ok(Math.max(...counts(copies)) <= 2, `${counts(copies)} windows`)
  t.end()
})

t.test('nor of those of mode open, of the same generation and of former ones', (t) => {
  const copies = serving({ mode: 'open', holders: {} })
  for (let incarnation = 2; incarnation < ATTACHMENTS; incarnation++) attach(copies, 1, incarnation)
  t.ok(Math.max(...counts(copies)) <= 2, `${counts(copies)} windows`)
  attach(copies, 2, 1, { generation: 2 })
  t.ok(Math.max(...counts(copies)) <= 1, `${counts(copies)} windows`)
  for (const { state } of copies.nodes.values()) t.same(state.durableAttach.open, [['front', 2, 1]])
  t.end()
})

t.test('a holder that goes on is known, whatever others come and go', (t) => {
  const copies = serving({ mode: 'shared' })
  attach(copies, 1, 1)
  copies.run(1000)
  const known = copies.node('n2').state.windows.find(({ generation }) => generation === 1)
  t.ok(known)
  for (let generation = 2; generation < ATTACHMENTS; generation++) {
    const holders = { other: 1, front: generation }
    attach(copies, generation, generation, { generation, holders })
  }
  for (const { state } of copies.nodes.values())
    t.match(state.windows.find(({ generation }) => generation === 1), { highest: known!.highest })
  t.ok(Math.max(...counts(copies)) <= 3, `${counts(copies)} windows`)
  t.end()
})

t.test('a store of before, which has them all, opens, and they are forgotten', (t) => {
  const copies = serving()
  attach(copies, 3, 7, { generation: 3, holders: { front: 3 } })
  copies.run(1000)
  const { state } = copies.node('n2')
  for (let incarnation = 0; incarnation < WINDOWS_MAX; incarnation++) state.windows.unshift(windowOf(2, incarnation))
  copies.write(3, 8)
  copies.run(1000)
  t.ok(counts(copies)[1]! > WINDOWS_MAX)
  copies.kill('n2')
  copies.start('n2')
  t.equal(counts(copies)[1], 1)
  t.match(copies.node('n2').state.windows, [{ generation: 3, incarnation: 7 }])
  t.end()
})

t.test('what is known of sessions can be told', (t) => {
  const copies = serving({ mode: 'open', holders: {} })
  const { state } = copies.node('n1')
  const others: OpenEntry[] = Array.from({ length: HOLDERS_MAX }, (_, i) => [`node${i}`, 1, i + 1])
  for (const { state } of copies.nodes.values()) state.attach = state.durableAttach = { ...state.attach, open: others }
  const refusalOf = (from: string, incarnation: number) => {
    copies.replies = []
    const session = { generation: 1, incarnation }
    copies.event('n1', { type: 'frontend', from, message: { type: 'open', session, mode: 'write' } })
    copies.settle()
    return copies.replies.map(({ message }) => (message.type === 'reply' ? message.result : message.type))
  }
  const isSayable = () => MESSAGE_SHAPES.fence(JSON.parse(JSON.stringify({ fence: state.attach })))
  t.same(refusalOf('another', 2000), [{ ok: false, code: 'too-many-sessions' }], 'one node more')
  t.same(refusalOf('node7', 2001), ['opened'], 'one that is known')
  t.ok(isSayable())
  state.windows = Array.from({ length: WINDOWS_MAX }, (_, i) => windowOf(1, 3000 + i))
  t.same(refusalOf('node8', 2002), [{ ok: false, code: 'too-many-sessions' }], 'one session more')
  t.same(refusalOf('node9', 3000), ['opened'], 'one that is known')
  t.end()
})
