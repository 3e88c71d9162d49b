/**
 * Losing the primary: redirects, silence, hints, epochs that go back, sessions that end (SPEC.md S2, S5).
 */
import t from 'tap'
import { REQUEST_SPAN_MAX } from '../../../engine/replication/frontend-state.ts'
import { FrontendBench, SIZE_BYTES, versionOf } from './frontend-bench.ts'

t.test('holds until the session is open', (t) => {
  const bench = new FrontendBench()
  bench.block(1, 0, 1)
  t.equal(bench.reads.length, 1)
  bench.config(4, 'a')
  t.same(bench.sent, [
    { to: 'a', message: { type: 'open', session: { generation: 3, incarnation: 7 }, mode: 'write' } },
  ])
  bench.sent = []
  bench.from('a', { type: 'opened', session: { generation: 3, incarnation: 6 }, epoch: 4, sizeBytes: SIZE_BYTES })
  bench.opened(4, 'b')
  bench.opened(3, 'a')
  t.equal(bench.sent.length, 0, 'not of another session, node or lower epoch')
  bench.opened(4, 'a')
  t.equal(bench.request().id.request, 1)
  t.end()
})

t.test('who begins with a hint asks its primary at once, and is opened although the store never answers', (t) => {
  const bench = new FrontendBench()
  bench.hint(4, 'a')
  const opens = () => bench.sent.filter(({ message }) => message.type === 'open').map(({ to }) => to)
  t.same([opens(), bench.reads.length], [['a'], 1], 'and reads as well: the hint may be old')
  bench.opened(3, 'a')
  bench.block(1, 0, 1)
  t.equal(bench.requests().length, 0, 'not under an epoch that is over')
  bench.opened(4, 'a')
  t.equal(bench.requests().length, 1)
  const other = new FrontendBench()
  other.hint(4, 'a')
  other.config(5, 'b')
  t.same(other.sent.map(({ to }) => to), ['a', 'b'], 'what the store says counts more')
  t.end()
})

t.test('reads that fail before they would be sent again show, too, that the primary is silent', (t) => {
  const bench = new FrontendBench({ ioTimeoutMs: 300 }).open()
  const before = bench.reads.length
  bench.read(1, 0)
  bench.pass(300)
  t.same(bench.answers.get(1), { ok: false, code: 'timeout' })
  bench.read(2, 0)
  bench.pass(1000)
  t.equal(bench.reads.length, before + 1, 'looked for, as often as otherwise')
  bench.config(2, 'b')
  bench.opened(2, 'b')
  bench.read(3, 0)
  const read = bench.requests().at(-1)!
  bench.reply(read, { ok: true, versions: [] }, 2, 'b')
  t.same(bench.answers.get(3), { ok: true, versions: [] })
  t.end()
})

t.test('an open that is lost is repeated, ever more slowly', (t) => {
  const bench = new FrontendBench()
  bench.step({ type: 'tick' })
  const looks: number[] = []
  for (let i = 0; i < 6; i++) {
    looks.push(bench.nowMs)
    bench.config(1, 'a')
    while (bench.reads.length === looks.length) bench.pass(50)
  }
  const gaps = looks.slice(1).map((at, i) => at - looks[i]!)
  t.same(gaps, [100, 200, 400, 800, 1000])
  t.equal(bench.sent.filter(({ message }) => message.type === 'open').length, 6)
  t.end()
})

t.test('a redirect: read the configuration, open, send everything unanswered with the same numbers', (t) => {
  const bench = new FrontendBench().open()
  for (let i = 0; i < 4; i++) bench.block(i, i, i)
  const before = bench.requests()
  bench.reply(before[1]!)
  bench.pass(500)
  bench.from('a', { type: 'redirect', id: before[0]!.id, epoch: 2, primary: 'b' })
  bench.block(9, 9, 9)
  t.equal(bench.requests().length, 0, 'nothing is sent to a copy that is not primary')
  bench.config(2, 'b')
  t.same(
    bench.sent.map(({ to, message }) => [to, message.type]),
    [['b', 'open']],
  )
  bench.sent = []
  bench.opened(2, 'b')
  const again = bench.requests()
  t.same(
    again.map(({ id }) => id.request),
    [1, 3, 4, 5],
  )
  t.same(
    again.map(({ answeredBelow }) => answeredBelow),
    [1, 1, 1, 1],
  )
  for (const one of again) bench.reply(one, undefined, 2, 'b')
  t.equal(bench.answers.size, 5)
  bench.block(10, 10, 10)
  t.equal(bench.request().answeredBelow, 6)
  t.end()
})

t.test('redirects back and forth are followed at the pace of retryMs', (t) => {
  const bench = new FrontendBench().open()
  bench.block(1, 1, 1)
  for (let i = 0; i < 50; i++) {
    bench.from('a', { type: 'redirect', id: undefined, epoch: 1, primary: 'a' })
    bench.pass(10)
    bench.config(1, 'a')
  }
  t.ok(bench.reads.length <= 7, `${bench.reads.length} reads in 500 ms`)
  t.end()
})

t.test('nothing of a lower epoch is believed, whoever says it', (t) => {
  const bench = new FrontendBench().open(3)
  bench.read(1, 0)
  const read = bench.request()
  bench.hint(5, 'b')
  bench.reply(read, { ok: true, versions: [versionOf(0, 1, [1, 1, 1, 1])] }, 4, 'a')
  bench.from('a', { type: 'reply', id: read.id, epoch: 4, result: { ok: false, code: 'stale-session' } })
  bench.from('a', { type: 'redirect', id: read.id, epoch: 4, primary: 'a' })
  bench.opened(4, 'a')
  t.equal(bench.answers.size, 0)
  bench.pass(100)
  bench.config(5, 'b')
  bench.opened(5, 'b')
  const versions = [versionOf(0, 2, [2, 2, 2, 2])]
  bench.reply(bench.request(), { ok: true, versions }, 5, 'b')
  t.same(bench.answers.get(1), { ok: true, versions })
  t.equal(bench.state.failed, undefined)
  t.end()
})

t.test('a higher epoch of the same primary in its answers costs nothing', (t) => {
  const bench = new FrontendBench().open(1)
  bench.block(1, 0, 1)
  bench.block(2, 1, 1)
  const [first, second] = bench.requests()
  bench.reply(first!, undefined, 2)
  bench.hint(2, 'a')
  bench.reply(second!, undefined, 1)
  t.same([...bench.answers.keys()], [1], 'and from then on its older ones do not count')
  const reads = bench.reads.length
  bench.pass(900)
  t.equal(bench.reads.length, reads, 'nothing to look for')
  bench.pass(100)
  t.same(bench.request().id, second!.id)
  t.end()
})

t.test('silence: sent again under the same number, also without the store, ever more slowly', (t) => {
  const bench = new FrontendBench({ ioTimeoutMs: 0 }).open()
  bench.block(1, 0, 1)
  const first = bench.request()
  let sent = 0
  for (let i = 0; i < 60; i++) {
    bench.pass(1000)
    bench.step({ type: 'config-read', token: bench.reads.at(-1)!, value: undefined, ok: false })
    const again = bench.requests()
    t.ok(again.every(({ id }) => id.request === first.id.request))
    sent += again.length
  }
  t.ok(sent >= 8 && sent <= 12, `${sent} times in a minute`)
  bench.reply(first)
  bench.reply(first)
  t.same([...bench.answers.keys()], [1])
  t.end()
})

t.test('silence finds the new primary', (t) => {
  const bench = new FrontendBench().open()
  bench.block(1, 0, 1)
  bench.requests()
  bench.pass(1000)
  bench.requests()
  bench.config(2, 'b')
  bench.opened(2, 'b')
  t.equal(bench.request().id.request, 1)
  t.end()
})

t.test('without the store the primary that others name is asked', (t) => {
  const bench = new FrontendBench().open()
  bench.block(1, 0, 1)
  bench.requests()
  bench.pass(200)
  bench.from('a', { type: 'redirect', id: undefined, epoch: 2, primary: 'b' })
  bench.step({ type: 'config-read', token: bench.reads.at(-1)!, value: undefined, ok: false })
  t.same(bench.sent.at(-1)?.to, 'b')
  bench.opened(2, 'b')
  t.equal(bench.requests().length, 1)
  t.end()
})

for (const code of ['stale-session', 'session-broken', 'too-many-sessions'] as const) {
  t.test(`${code}: everything fails at once, for ever`, (t) => {
    const bench = new FrontendBench({ inFlightPartsMax: 2 }).open()
    for (let i = 0; i < 4; i++) bench.block(i, 0, i)
    bench.ask(8, { type: 'flush' })
    bench.reply(bench.requests()[0]!, { ok: false, code })
    bench.read(9, 0)
    bench.opened(9, 'a')
    t.equal(bench.answers.size, 6)
    for (const answer of bench.answers.values()) t.same(answer, { ok: false, code })
    t.equal(bench.requests().length, 0)
    t.end()
  })
}

t.test('a read-only attachment refuses changes by itself', (t) => {
  const bench = new FrontendBench({ mode: 'read' }).open()
  bench.block(1, 0, 1)
  bench.ask(2, { type: 'trim', offsetBytes: 0, lengthBytes: 4096, fua: false })
  bench.read(3, 0)
  t.same(bench.answers.get(1), { ok: false, code: 'read-only' })
  t.same(bench.answers.get(2), { ok: false, code: 'read-only' })
  t.equal(bench.request().operation.type, 'read')
  t.end()
})

t.test('beyond the end is refused whole; a grown volume is served', (t) => {
  const bench = new FrontendBench().open()
  bench.read(1, SIZE_BYTES / 4096 - 1, 2)
  t.same(bench.answers.get(1), { ok: false, code: 'range' })
  bench.step({ type: 'resized', sizeBytes: SIZE_BYTES + (1 << 20) })
  bench.read(2, SIZE_BYTES / 4096 - 1, 2)
  t.equal(bench.requests().length, 2, 'one part in each slice')
  t.end()
})

t.test('the window is bounded, in parts, bytes and numbers', (t) => {
  const bench = new FrontendBench({ inFlightPartsMax: 2000, inFlightBytesMax: 64 * 4096 }).open()
  for (let i = 0; i < 100; i++) bench.block(i, i, i)
  const sent = bench.requests()
  t.equal(sent.length, 64)
  bench.reply(sent[0]!)
  t.equal(bench.requests().length, 1)

  const narrow = new FrontendBench({ inFlightPartsMax: 4000, inFlightBytesMax: 2 ** 40 }).open()
  const trim = (tag: number) =>
    narrow.ask(tag, { type: 'trim', offsetBytes: tag * 4096, lengthBytes: 4096, fua: false })
  trim(0)
  const oldest = narrow.request()
  for (let tag = 1; tag <= REQUEST_SPAN_MAX; tag++) {
    trim(tag)
    for (const one of narrow.requests()) narrow.reply(one)
  }
  t.equal(narrow.answers.size, REQUEST_SPAN_MAX - 1, 'numbers above an unanswered one end somewhere')
  narrow.reply(oldest)
  t.equal(narrow.request().id.request, REQUEST_SPAN_MAX + 1)
  t.end()
})

t.test('a request of several parts is answered with the last of them, an error wins', (t) => {
  const bench = new FrontendBench({ partBytesMax: 4096 }).open()
  bench.read(1, 0, 3)
  const parts = bench.requests()
  t.same(
    parts.map(({ id }) => [id.part, id.parts]),
    [
      [0, 3],
      [1, 3],
      [2, 3],
    ],
  )
  const versions = [0, 1, 2].map((lba) => versionOf(lba, 1, [lba, 0, 0, 0]))
  bench.reply(parts[2]!, { ok: true, versions: [versions[2]!] })
  bench.reply(parts[2]!, { ok: true, versions: [versions[2]!] })
  bench.reply(parts[0]!, { ok: true, versions: [versions[0]!] })
  t.equal(bench.answers.size, 0)
  bench.reply(parts[1]!, { ok: true, versions: [versions[1]!] })
  t.same(bench.answers.get(1), { ok: true, versions })
  bench.write(2, 0, new Array(8).fill(1))
  const [first, second] = bench.requests()
  bench.reply(first!, { ok: false, code: 'no-space' })
  bench.reply(second!)
  t.same(bench.answers.get(2), { ok: false, code: 'no-space' })
  t.end()
})
