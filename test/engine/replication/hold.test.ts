/**
 * Risk: snapshots of several volumes are not of one instant, because a write slips into a hold, a hold has a gap, or
 * one is taken when its hold is over (SPEC W8, I25); or writes wait for ever.
 */
import t from 'tap'
import { HOLD_MS_MAX } from '../../../engine/replication/hold.ts'
import type { CommandResult } from '../../../engine/replication/copy-port.ts'
import { Copies, serving } from './copies.ts'

const led = (copies: Copies) => copies.node(copies.config.primary).state
const hold = (copies: Copies, token: string, holdMs = 1000, at = copies.config.primary): CommandResult =>
  copies.results.get(copies.command(at, { type: 'hold', hold: token, holdMs, expected: led(copies).primary!.changed }))!
const take = (copies: Copies, token: string, id = 's', at = copies.config.primary): CommandResult =>
  copies.results.get(copies.command(at, { type: 'change', change: { operation: 'snapshot', id }, hold: token }))!
const seqOf = (result: CommandResult): number => (result.ok ? result.seq : NaN)
const write = (copies: Copies, data: number, edges: Array<[number, number]> = []): number => {
  const request = copies.write(1, data, copies.config.primary, edges)
  copies.settle()
  return request
}

t.test('writes wait from the hold to the snapshot and stand behind it; reads and flushes go on', (t) => {
  const copies = serving()
  write(copies, 10)
  const held = hold(copies, 'h')
  t.equal(seqOf(held), led(copies).log.tail)
  const waiting = write(copies, 11)
  const trim = copies.ask({ type: 'trim', lba: 2, blockCount: 1, fua: false })
  copies.settle()
  t.equal(copies.answerOf(waiting), undefined)
  t.equal(copies.read(1), 10)
  const flush = copies.ask({ type: 'flush' })
  copies.settle()
  t.match(copies.answerOf(flush), { ok: true })
  t.equal(led(copies).log.tail, seqOf(held))
  t.equal(seqOf(take(copies, 'h')), seqOf(held) + 1)
  for (const request of [waiting, trim]) t.match(copies.answerOf(request), { ok: true })
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('it ends by its time, bounded whatever was asked for, and its snapshot is refused from then on', (t) => {
  for (const [asked, lasts] of [[300, 300], [60_000, HOLD_MS_MAX], [-5, 0]] as const) {
    const copies = serving()
    t.match(hold(copies, 'h', asked), { ok: true })
    const waiting = write(copies, 11)
    if (lasts > 0) {
      copies.run(lasts - 1)
      t.equal(copies.answerOf(waiting), undefined, `${asked}: a moment before`)
      copies.run(1)
    }
    t.match(copies.answerOf(waiting), { ok: true }, `${asked}: then it goes on by itself`)
    t.match(take(copies, 'h'), { ok: false, code: 'refused', why: /the hold .* is over/ })
  }
  t.end()
})

t.test('a release ends it at once, and only its own', (t) => {
  const copies = serving()
  hold(copies, 'h')
  const waiting = write(copies, 11)
  copies.command('n1', { type: 'release', hold: 'other' })
  t.equal(copies.answerOf(waiting), undefined)
  copies.command('n1', { type: 'release', hold: 'h' })
  t.match(copies.answerOf(waiting), { ok: true })
  t.match(take(copies, 'h'), { ok: false, code: 'refused' })
  t.end()
})

t.test('one at a time, each once, and only on what was judged', (t) => {
  const copies = serving()
  const { changed } = led(copies).primary!
  t.match(hold(copies, 'h'), { ok: true })
  t.match(hold(copies, 'i'), { ok: false, code: 'refused', why: /another/ })
  t.match(hold(copies, 'h'), { ok: false, code: 'refused', why: /already/ }, 'it came twice')
  t.match(take(copies, 'i'), { ok: false, code: 'refused' })
  copies.run(1000)
  t.match(hold(copies, 'h'), { ok: false, code: 'refused', why: /already/ }, 'it comes late: there was a gap')
  t.match(take(copies, 'h'), { ok: false, code: 'refused' })
  t.match(hold(copies, 'i'), { ok: true })
  t.match(take(copies, 'i'), { ok: true })
  t.match(take(copies, 'i'), { ok: false, code: 'refused' }, 'the hold was over with the first')
  const late = copies.command('n1', { type: 'hold', hold: 'j', holdMs: 1000, expected: changed })
  t.match(copies.results.get(late), { ok: false, code: 'superseded' })
  t.match(copies.answerOf(write(copies, 12)), { ok: true })
  t.end()
})

t.test('a narrow write whose edges are looked up while it begins is compared anew behind it', (t) => {
  const copies = serving()
  write(copies, 10)
  const seq = led(copies).log.tail
  copies.isStalled = () => true
  const narrow = copies.write(1, 11, 'n1', [[1, seq]])
  hold(copies, 'h')
  copies.isStalled = () => false
  copies.settle()
  t.equal(copies.answerOf(narrow), undefined)
  t.equal(led(copies).log.tail, seq)
  t.equal(seqOf(take(copies, 'h')), seq + 1)
  t.match(copies.answerOf(narrow), { ok: true })
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('whoever leads next has none, and nor has who led before', (t) => {
  for (const end of ['hand-over', 'death'] as const) {
    const copies = serving()
    hold(copies, 'h', 2000)
    write(copies, 11)
    if (end === 'hand-over') copies.command('n1', { type: 'hand-over', to: 'n2' })
    else copies.kill('n1')
    copies.run(9000)
    t.not(copies.config.primary, 'n1', end)
    t.match(take(copies, 'h'), { ok: false, code: 'refused' })
    t.match(take(copies, 'h', 's', 'n1') ?? { ok: false }, { ok: false })
    copies.open()
    t.match(copies.answerOf(write(copies, 12)), { ok: true })
  }
  t.end()
})

t.test('a copy that leaves the set changes nothing of it', (t) => {
  const copies = serving()
  hold(copies, 'h', 2000)
  const waiting = write(copies, 11)
  copies.change({ ...copies.config, epoch: 2, inSync: ['n1', 'n2'] })
  copies.settle()
  t.equal(led(copies).primary!.epoch, 2)
  t.equal(copies.answerOf(waiting), undefined)
  t.match(take(copies, 'h'), { ok: true })
  t.match(copies.answerOf(waiting), { ok: true })
  t.end()
})

t.test('what waits for room and for the hold goes on when both are over', (t) => {
  const copies = new Copies({ copy: { windowRecordsMax: 2 } })
  copies.run(500)
  copies.open()
  copies.isStalled = ({ name }) => name === 'n2'
  const requests = [1, 2, 3, 4].map((data) => write(copies, data))
  hold(copies, 'h')
  copies.isStalled = () => false
  copies.settle()
  const isAnswered = () => requests.map((request) => copies.answerOf(request) !== undefined)
  const before = isAnswered().indexOf(false)
  t.ok(before > 0 && before < 4, `${before} were ordered before it`)
  copies.run(500)
  t.same(isAnswered().indexOf(false), before)
  copies.run(500)
  t.same(isAnswered(), [true, true, true, true])
  t.equal(copies.read(1), 4)
  t.end()
})
