/**
 * Copies that are filled, and followed, over ways that are slow: messages that are long under way, records that are
 * late, a copy that stores less than clients write.
 */
import t from 'tap'
import { isWindowFull } from '../../../engine/replication/primary.ts'
import { Copies, serving } from './copies.ts'
import { contents, filling } from './filling-worlds.ts'

/** Letters from and to a node are so long on their way, in order, while `isSlow`. */
function slowWay(copies: Copies, name: string, lateMs: number): { isSlow: boolean; run(forMs: number): void } {
  const way = { isSlow: true, run }
  const under: Array<{ dueMs: number; arrive: () => void }> = []
  const { deliver } = copies
  copies.deliver = (letter) => {
    const arrive = (): void => deliver.call(copies, letter)
    if (letter.from !== name && letter.to !== name) return arrive()
    under.push({ dueMs: copies.nowMs + (way.isSlow ? lateMs : 0), arrive })
  }
  function run(forMs: number): void {
    for (const endMs = copies.nowMs + forMs; copies.nowMs < endMs;) {
      copies.run(10)
      while (under.length > 0 && under[0]!.dueMs <= copies.nowMs) {
        under.shift()!.arrive()
        copies.settle()
      }
    }
  }
  return way
}

t.test('a begin that is long on its way is not replaced by others that the copy would not take', (t) => {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'] })
  const way = slowWay(copies, 'n3', 2500)
  const begins = new Set<number>()
  const { event } = copies
  copies.event = (name, what) => {
    if (what.type === 'message' && what.message.type === 'fill-start') begins.add(what.message.fill)
    event.call(copies, name, what)
  }
  copies.run(500)
  copies.open()
  for (let i = 0; i < 20; i++) copies.write(i, i)
  way.run(9000)
  way.isSlow = false
  way.run(3000)
  t.equal(begins.size, 1)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('who took a begin that was given up meanwhile is given another one at once', (t) => {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], copy: { windowRecordsMax: 8 } })
  const way = slowWay(copies, 'n3', 2500)
  copies.run(500)
  copies.open()
  const fillOf3 = () => copies.node('n1').state.primary!.peers.get('n3')?.fill
  while (fillOf3() === undefined) way.run(100)
  const first = fillOf3()!.id
  // More than the window holds, once: another begin is made for what the copy asks still.
  for (let i = 0; i < 10; i++) copies.write(i, i)
  while (fillOf3()?.id === first) way.run(100)
  while (copies.node('n3').state.fillTarget === undefined) way.run(100)
  t.equal(copies.node('n3').state.fillTarget!.fill, first)
  way.isSlow = false
  way.run(5000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('a filled copy that is slow to store what came since is waited for a while, and goes on to follow', (t) => {
  const { copies, fill } = filling()
  let isHeld = false
  const held: Array<() => void> = []
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if (isHeld && letter.from === 'n3' && letter.message.type === 'stored') held.push(() => deliver(letter))
    else deliver(letter)
  }
  isHeld = true
  copies.isStalled = () => false
  const requests: number[] = []
  for (let i = 0; i < 40; i++) {
    requests.push(copies.write(i % 20, 100 + i))
    copies.run(200)
  }
  const { fill: source } = copies.node('n1').state.primary!.peers.get('n3')!
  t.match(source, { id: fill, phase: 'following' })
  t.same(copies.config.inSync, ['n1', 'n2'])
  for (const request of requests) t.match(copies.answerOf(request), { ok: true }, 'nobody waits for it any more')
  isHeld = false
  for (const arrive of held.splice(0)) arrive()
  copies.run(2000)
  t.equal(copies.node('n3').state.fillTarget!.fill, fill)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('of records that are late the first are sent again, less and less often, and all when they were lost', (t) => {
  const { copies } = filling({ fillBytesMax: 4096 })
  const first = copies.node('n1').state.primary!.peers.get('n3')!.storedSeq + 1
  const sent = new Map<number, number>()
  const { event } = copies
  let isLost = false
  copies.event = (name, what) => {
    const message = name === 'n3' && what.type === 'message' ? what.message : undefined
    const records = message?.type === 'append' ? message.records : undefined
    for (const { seq } of records ?? []) sent.set(seq, (sent.get(seq) ?? 0) + 1)
    if (records === undefined || !isLost) event.call(copies, name, what)
  }
  for (let i = 0; i < 3; i++) copies.write(i, 100 + i)
  copies.settle()
  const { tail } = copies.node('n1').state.log
  copies.run(4000)
  t.ok(sent.get(first)! >= 3 && sent.get(first)! <= 8, `it was sent ${sent.get(first)} times in 4 s`)
  t.equal(sent.get(tail), 1)
  isLost = true
  for (let i = 0; i < 5; i++) copies.write(i, 200 + i)
  copies.settle()
  isLost = false
  copies.isStalled = () => false
  copies.run(3000)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('records are not sent again before an answer can be there', (t) => {
  const copies = serving()
  const way = slowWay(copies, 'n3', 400)
  const sent = new Map<number, number>()
  const { event } = copies
  copies.event = (name, what) => {
    if (name === 'n3' && what.type === 'message' && what.message.type === 'append')
      for (const { seq } of what.message.records) sent.set(seq, (sent.get(seq) ?? 0) + 1)
    event.call(copies, name, what)
  }
  for (let i = 0; i < 40; i++) {
    copies.write(i, i)
    way.run(300)
    if (i === 4) sent.clear()
  }
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.ok(sent.size >= 30)
  t.equal(Math.max(...sent.values()), 1)
  t.end()
})

t.test('records that had to be sent again are no measure of how long an answer takes', (t) => {
  const copies = serving()
  const { retryMs } = copies.node('n1').state.options
  let isLost = false
  const sentAtMs: number[] = []
  const { event } = copies
  copies.event = (name, what) => {
    const message = name === 'n3' && what.type === 'message' ? what.message : undefined
    const isAppend = message?.type === 'append'
    if (isAppend && message.records.length > 0) sentAtMs.push(copies.nowMs)
    if (!isAppend || !isLost) event.call(copies, name, what)
  }
  const lose = (i: number, forMs: number): void => {
    isLost = true
    copies.write(i, i)
    copies.run(forMs)
    isLost = false
  }
  lose(0, 6 * retryMs)
  copies.run(8 * retryMs)
  t.same(sentAtMs.map((atMs) => (atMs - sentAtMs[0]!) / retryMs), [0, 1, 2, 4, 8])
  // Answered at once, whatever became of those before.
  copies.write(1, 1)
  copies.run(retryMs)
  sentAtMs.length = 0
  lose(2, 0)
  copies.run(8 * retryMs)
  t.equal(sentAtMs[1]! - sentAtMs[0]!, retryMs)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.end()
})

t.test('a filled copy that stores less than clients write comes near all the same, and nobody waits for long', (t) => {
  const { copies } = filling({ windowRecordsMax: 1024, windowBytesMax: 1 << 24, fillBytesMax: 4096 })
  const onTheWay: Array<() => void> = []
  const { deliver } = copies
  copies.deliver = (letter) => {
    if (letter.to === 'n3' && letter.message.type === 'append') onTheWay.push(() => deliver.call(copies, letter))
    else deliver.call(copies, letter)
  }
  const askedAtMs = new Map<number, number>()
  let written = 0
  let longestMs = 0
  /** Of 10 ms: the copy is given 4 messages, of a record each, and twice as much is written, if it is answered. */
  const turn = (): void => {
    for (const arrive of onTheWay.splice(0, 4)) arrive()
    for (let i = 0; i < 8 && askedAtMs.size < 32; i++) {
      askedAtMs.set(copies.write(written % 64, written), copies.nowMs)
      written++
    }
    copies.run(10)
    for (const { message } of copies.replies.splice(0)) {
      const sinceMs = message.type === 'reply' ? askedAtMs.get(message.id.request) : undefined
      if (message.type !== 'reply' || sinceMs === undefined) continue
      longestMs = Math.max(longestMs, copies.nowMs - sinceMs)
      askedAtMs.delete(message.id.request)
    }
  }
  const behind = (): number => {
    const { log, primary } = copies.node('n1').state
    return log.commitSeq - primary!.peers.get('n3')!.storedSeq
  }
  while (behind() < 400) turn()
  copies.isStalled = () => false
  let farthest = 0
  let turns = 0
  for (; copies.config.inSync.length < 3 && turns < 1500; turns++) {
    turn()
    farthest = Math.max(farthest, behind())
  }
  t.ok(farthest > 900, `it was ${farthest} records behind`)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'], `after ${turns} turns`)
  // So many are sent ahead to it at most, and asked for before that.
  t.ok(longestMs <= ((256 + 2 * 32) / 4 + 10) * 10, `a request took ${longestMs} ms`)
  copies.deliver = deliver
  for (const arrive of onTheWay.splice(0)) arrive()
  copies.run(2000)
  t.same(contents(copies, 'n3'), contents(copies, 'n1'))
  t.end()
})

t.test('the lead is handed over while a filled copy is far behind: it is not waited for', (t) => {
  const { copies } = filling({ windowRecordsMax: 1024, windowBytesMax: 1 << 24, fillBytesMax: 4096 })
  const onTheWay: Array<() => void> = []
  let isHeld = false
  const held: Array<() => void> = []
  const { deliver } = copies
  copies.deliver = (letter) => {
    const arrive = (): void => deliver.call(copies, letter)
    if (letter.to === 'n3' && letter.message.type === 'append') onTheWay.push(arrive)
    else if (isHeld && letter.from === 'n2' && letter.message.type === 'stored') held.push(arrive)
    else arrive()
  }
  for (let i = 0; i < 400; i++) {
    copies.write(i % 64, i)
    if (i % 8 === 0) copies.run(2)
  }
  copies.isStalled = () => false
  const { primary } = copies.node('n1').state
  for (let i = 0; primary!.peers.get('n3')!.fill?.phase !== 'following'; i++) {
    for (const arrive of onTheWay.splice(0, 4)) arrive()
    for (let j = 0; j < 4; j++) copies.write(j, i)
    copies.run(10)
  }
  isHeld = true
  copies.write(1, 1000)
  copies.settle()
  copies.command('n1', { type: 'hand-over', to: 'n2' })
  copies.settle()
  // What it stores makes the primary look again.
  for (const arrive of onTheWay.splice(0, 1)) arrive()
  copies.settle()
  t.notOk(primary!.required.includes('n3'))
  isHeld = false
  for (const arrive of held.splice(0)) arrive()
  copies.run(500)
  t.equal(copies.config.primary, 'n2')
  t.end()
})

/** A set of one, and a copy that follows from so far that less is ordered than clients ask for. */
function slowed() {
  const copies = new Copies({
    nodes: 3, members: ['n1'], minInSync: 1, copy: { windowRecordsMax: 1024, windowBytesMax: 1 << 24 },
  })
  const { deliver } = copies
  const onTheWay: Array<() => void> = []
  const other: { passes(letter: Parameters<typeof deliver>[0]): boolean } = { passes: () => false }
  copies.deliver = (letter) => {
    const arrive = (): void => deliver.call(copies, letter)
    if (letter.to === 'n3' && letter.message.type === 'append') onTheWay.push(arrive)
    else if ((letter.to !== 'n2' && letter.from !== 'n2') || other.passes(letter)) arrive()
  }
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'filling'
  copies.run(500)
  copies.open()
  const asked: number[] = []
  const ask = (): void => void asked.push(copies.write(asked.length % 64, asked.length))
  const fill = () => copies.node('n1').state.primary!.peers.get('n3')?.fill
  for (let i = 0; i < 500; i++) {
    ask()
    if (i % 8 === 0) copies.run(2)
  }
  copies.isStalled = () => false
  for (let i = 0; fill()?.slowed === undefined && i < 2000; i++) {
    if (fill()?.phase === 'filling' || fill()?.phase === 'ending') for (const arrive of onTheWay.splice(0, 4)) arrive()
    for (let j = 0; j < 8; j++) ask()
    copies.run(1)
  }
  t.ok(fill()?.slowed, 'it is slow')
  const arrive = (most: number): void => {
    for (const one of onTheWay.splice(0, most)) one()
  }
  return { copies, asked, ask, arrive, other }
}

t.test('a slow copy that is let go while it follows a set of one leaves no request waiting', (t) => {
  const { copies, asked, ask } = slowed()
  for (let i = 0; i < 50; i++) ask()
  copies.settle()
  const unanswered = (): number => asked.filter((id) => copies.answerOf(id) === undefined).length
  t.ok(unanswered() > 0, 'some wait for it')
  const { config } = copies
  copies.change({ ...config, members: { ...config.members, n3: { copyId: 'another', state: 'catching-up' } } })
  copies.isolate('n3')
  copies.run(100)
  t.equal(unanswered(), 0)
  t.end()
})

t.test('a copy that follows from too far makes nobody impatient with another one', (t) => {
  const { copies, ask, arrive, other } = slowed()
  const { state } = copies.node('n1')
  const begun = new Set<number>()
  other.passes = ({ from, message }) => {
    if (message.type === 'fill-start') begun.add(message.fill)
    // It takes its time with the begin.
    return from !== 'n2' || (message.type !== 'fill-started' && message.type !== 'filled')
  }
  let held = 0
  for (let i = 0; i < 400; i++) {
    arrive(1)
    for (let j = 0; j < 4; j++) ask()
    copies.run(10)
    const isOrderedLess = state.primary!.peers.get('n3')?.fill?.slowed !== undefined
    if (isOrderedLess && begun.size > 0 && !isWindowFull({ state } as never)) held++
  }
  t.ok(held > 300, `for ${held} turns less was ordered, and there was room in memory`)
  t.equal(begun.size, 1, 'its filling is not begun anew')
  t.end()
})
