/** Risk: the judge of the kill tests lets a lost or stale block pass, or condemns what may happen. */
import t from 'tap'
import { BlockHistory } from '../../../cli/load/block-history.ts'

const durable = (): BlockHistory => new BlockHistory(false)
const writeback = (): BlockHistory => new BlockHistory(true)

t.test('what was acknowledged must be read', async (t) => {
  const block = durable()
  block.answered(block.sent(1, 10), 20, true)
  t.match(block.read(0, 30, 40), /operation 0 was read, possible are 1/)
  t.equal(block.read(1, 30, 40), undefined)
  t.match(block.read(7, 30, 40), /operation 7 was read/, 'never written')
})

t.test('a write in flight may be seen or not, and not taken back once it was seen', async (t) => {
  const block = durable()
  block.sent(1, 10)
  t.equal(block.read(0, 20, 21), undefined)
  t.equal(block.read(1, 30, 31), undefined)
  t.match(block.read(0, 40, 41), /operation 0 was read/)
  block.crashed(50)
  t.match(block.read(0, 60, 61), /operation 0 was read/)
})

t.test('two writes at once come in either order, but in one', async (t) => {
  for (const [first, second] of [[1, 2], [2, 1]] as const) {
    const block = durable()
    const values = [block.sent(1, 10), block.sent(2, 11)]
    for (const value of values) block.answered(value, 20, true)
    t.equal(block.read(first, 30, 31), undefined)
    t.match(block.read(second, 40, 41), /was read/)
  }
})

t.test('reads at once may see old and new, later ones the new', async (t) => {
  const block = durable()
  const value = block.sent(1, 10)
  t.equal(block.read(1, 12, 30, 11), undefined)
  t.equal(block.read(0, 11, 31), undefined, 'it began before the other was answered')
  block.answered(value, 40, true)
  t.match(block.read(0, 41, 42), /was read/)
})

t.test('a crash: unanswered writes happened or not, but before it', async (t) => {
  const block = durable()
  block.answered(block.sent(1, 10), 20, true)
  block.sent(2, 30)
  block.sent(3, 31)
  block.crashed(40)
  t.equal(block.read(1, 50, 51), undefined)
  t.match(block.read(2, 60, 61), /was read/, 'it did not happen, so it cannot come back')
  block.crashed(70)
  block.answered(block.sent(4, 80), 90, true)
  t.match(block.read(3, 100, 101), /was read/, 'from before the crash, over an acknowledged write')
})

t.test('a crash takes nothing that was acknowledged', async (t) => {
  const block = durable()
  block.answered(block.sent(1, 10), 20, true)
  block.answered(block.sent(2, 30), 40, true)
  block.crashed(50)
  t.match(block.read(1, 60, 61), /was read/)
  t.equal(block.read(2, 60, 61), undefined)
})

t.test('writeback: a crash that others survive takes nothing', async (t) => {
  const block = writeback()
  block.answered(block.sent(1, 10), 20, false)
  block.answered(block.sent(2, 30), 40, false)
  block.crashed(50, 50, false)
  t.match(block.read(1, 60, 61), /was read/)
  t.equal(block.read(2, 60, 61), undefined)
  block.crashed(70)
  t.equal(block.read(1, 80, 81), undefined, 'one that they do not survive may')
})

t.test('writeback: a crash takes what no flush covered', async (t) => {
  for (const survivor of [1, 2, 3]) {
    const block = writeback()
    block.answered(block.sent(1, 10), 20, false)
    block.flushed(25)
    block.answered(block.sent(2, 30), 40, false)
    block.answered(block.sent(3, 50), 60, false)
    t.match(block.read(2, 61, 62), /was read/, 'readers see the newest')
    block.crashed(70)
    t.match(new BlockHistory(true).read(2, 0, 1), /was read/)
    t.equal(block.read(survivor, 80, 81), undefined)
    t.match(block.read(survivor === 1 ? 2 : 1, 90, 91), /was read/, 'only one survived')
    block.crashed(100)
    t.match(block.read(survivor === 1 ? 2 : 1, 110, 111), /was read/, 'and stays')
  }
})

t.test('writeback: flushed, or with FUA, means kept', async (t) => {
  const block = writeback()
  block.answered(block.sent(1, 10), 20, false)
  block.answered(block.sent(2, 30), 40, true)
  block.crashed(50)
  t.match(block.read(1, 60, 61), /was read/)
  t.match(block.read(0, 60, 61), /was read/)
  t.equal(block.read(2, 60, 61), undefined)

  const late = writeback()
  const value = late.sent(1, 10)
  late.flushed(20)
  late.answered(value, 25, false)
  late.crashed(30)
  t.equal(late.read(0, 40, 41), undefined, 'answered after the flush was sent: not covered')
})

t.test('writeback: overwritten twice before a crash, the middle one flushed', async (t) => {
  const block = writeback()
  block.answered(block.sent(1, 10), 20, false)
  block.answered(block.sent(2, 30), 40, false)
  const last = block.sent(3, 41)
  block.flushed(45)
  block.answered(last, 50, false)
  block.crashed(60)
  t.match(block.read(1, 70, 71), /was read/)
  t.equal(block.read(2, 70, 71), undefined)
})

t.test('writeback, in a cluster: what was sent after the death is under way when somebody answers first', async (t) => {
  const block = writeback()
  block.answered(block.sent(1, 10), 20, true)
  block.answered(block.sent(2, 30), 40, false)
  const later = block.sent(3, 60)
  block.crashed(70, 50)
  t.equal(block.read(1, 55, 70), undefined, 'a read beside it sees what survived')
  t.match(block.read(2, 71, 72), /was read/, 'which was not the other one')
  block.answered(later, 80, false)
  t.equal(block.read(3, 90, 91), undefined)
  t.match(block.read(1, 92, 93), /was read/)
})

t.test('zeroes have no number: several at once prove nothing, one alone does', async (t) => {
  const block = durable()
  block.answered(block.sent(1, 10), 20, true)
  const [one] = [block.sent(0, 30), block.sent(0, 31)]
  t.equal(block.read(0, 40, 41), undefined)
  t.equal(block.read(1, 50, 51), undefined)
  block.answered(one!, 60, true)
  t.match(block.read(1, 70, 71), /was read/)
})
