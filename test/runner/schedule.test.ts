/**
 * Which files run side by side: as many as the processors carry, the longest first, and those that measure time alone.
 */
import t from 'tap'
import type { Cost } from './schedule.ts'
import { Schedule } from './schedule.ts'
import type { TestFile } from './test-file.ts'

const fileOf = (path: string, serial = false): TestFile => ({ path, serial, slow: false, timeoutSeconds: 1 })

function scheduleOf(costs: Record<string, Cost>, alone: string[] = [], processors = 2): Schedule {
  const files = [...Object.keys(costs), ...alone].map((path) => fileOf(path, alone.includes(path)))
  return new Schedule(files, (path) => costs[path] ?? { seconds: 0, cores: 1 }, processors)
}

/** All that may begin now. */
function begun(schedule: Schedule): TestFile[] {
  const files: TestFile[] = []
  for (let file = schedule.next(); file !== undefined; file = schedule.next()) files.push(file)
  return files
}

const pathsOf = (files: TestFile[]): string[] => files.map(({ path }) => path)

t.test('one that computes has a processor, and those that wait share one', (t) => {
  const waits = { seconds: 5, cores: 0.5 }
  const schedule = scheduleOf({
    a: waits, b: waits, c: waits, computes: { seconds: 9, cores: 1 }, next: { seconds: 8, cores: 1 },
  })
  const first = begun(schedule)
  t.same(pathsOf(first), ['computes', 'next'], 'the longest ones')
  schedule.ended(first[0]!)
  t.same(pathsOf(begun(schedule)), ['a', 'b'])
  t.notOk(schedule.isOver)
  t.end()
})

t.test('there is one for each processor, and what does not fit besides lets a shorter one go first', (t) => {
  const schedule = scheduleOf({
    long: { seconds: 9, cores: 1.1 }, next: { seconds: 8, cores: 0.4 }, wide: { seconds: 7, cores: 0.8 },
    small: { seconds: 1, cores: 0.4 },
  })
  const [long, ...others] = begun(schedule)
  t.same(pathsOf([long!, ...others]), ['long', 'next', 'small'])
  schedule.ended(long!)
  t.same(pathsOf(begun(schedule)), ['wide'])
  t.end()
})

t.test('two that each take more than a processor have the machine for themselves', (t) => {
  const wide = { seconds: 9, cores: 1.6 }
  const schedule = scheduleOf({ wide, wider: wide, small: { seconds: 1, cores: 0.1 } })
  const [first, ...others] = begun(schedule)
  t.same(pathsOf([first!, ...others]), ['wide', 'wider'])
  schedule.ended(first!)
  t.same(pathsOf(begun(schedule)), ['small'])
  t.end()
})

t.test('however little they take, there are not more than two for each processor', (t) => {
  const idle = { seconds: 1, cores: 0 }
  t.equal(begun(scheduleOf({ a: idle, b: idle, c: idle, d: idle, e: idle })).length, 4)
  t.end()
})

t.test('who runs alone comes when all others have ended, one by one', (t) => {
  const schedule = scheduleOf({ a: { seconds: 1, cores: 0.1 } }, ['timed', 'timed too'])
  const [a, ...others] = begun(schedule)
  t.same(others, [])
  schedule.ended(a!)
  const [timed, ...beside] = begun(schedule)
  t.same([timed!.path, beside], ['timed', []])
  schedule.ended(timed!)
  const [last] = begun(schedule)
  t.equal(last!.path, 'timed too')
  t.notOk(schedule.isOver, 'it runs')
  schedule.ended(last!)
  t.ok(schedule.isOver)
  t.end()
})
