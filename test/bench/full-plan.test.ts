/** The plan of the suite `full`: every name in it is known, every goal is measured, and a part of it can be chosen. */
import t from 'tap'
import { CASES } from '../../bench/volume/cases.ts'
import { GOALS, PLAN, SERVER_NAMES, select } from '../../bench/volume/full-plan.ts'

const SIZE = 64 * 2 ** 20

t.test('the plan names cases and servers that there are, and every case', async (t) => {
  t.same(new Set(Object.keys(PLAN)), new Set(CASES.map(({ name }) => name)))
  for (const servers of Object.values(PLAN)) for (const server of servers) t.ok(SERVER_NAMES.includes(server), server)
})

t.test('the plan measures both sides of each goal', async (t) => {
  for (const { name, one, ours, theirs } of GOALS) {
    t.ok(PLAN[one]!.includes(ours) && PLAN[one]!.includes(theirs), name)
  }
  t.equal(select([], SIZE).goals.length, GOALS.length)
})

t.test('some servers in some cases', async (t) => {
  const { cases, wanted, goals } = select(['durable3', 'qemu-wt', 'randwrite QD'], SIZE)
  t.same(wanted.map(({ name }) => name), ['durable3', 'qemu-wt'])
  t.same(cases.map(({ name }) => name), CASES.map(({ name }) => name).filter((name) => name.includes('randwrite QD')))
  t.same(goals.map(({ limit }) => limit), [4, 6])
  t.same(wanted.map(({ takes }) => takes(cases[0]!)), [true, true])
  const reads = CASES.find(({ name }) => name === '4k randread QD32')!
  t.same(wanted.map(({ takes }) => takes(reads)), [true, false], 'qemu-wt reads as qemu-wb does')
})

t.test('a server gets several volumes only when a chosen case wants them', async (t) => {
  t.same(select(['durable', '4xQD32'], SIZE).wanted[0]!.sizes, [SIZE, SIZE / 4, SIZE / 4, SIZE / 4])
  t.same(select(['durable', '4k randread'], SIZE).wanted[0]!.sizes, [SIZE])
})

t.test('what names nothing is said', async (t) => {
  t.throws(() => select(['durabel'], SIZE), /--only durabel is no server \(durable, .* and no part of a case/)
  t.throws(() => select(['psync', '128k'], SIZE), /no case of the plan is run on psync/)
})
