/** Names: the limit of 63, the alphabet, what is shown back, and which known word a slip meant. */
import t from 'tap'
import { distance, isName, nearest, shown } from '../../../cluster/api/names.ts'

t.test('allowed names', async (t) => {
  for (const name of ['a', 'data-1', '0', '-', 'a'.repeat(63)]) t.ok(isName(name), name)
  for (const name of ['', 'a'.repeat(64), 'A', 'a_b', 'a.b', 'a b', 'a/b', '../a', 'ä', 'a\n', '\0', 'a\u200b']) {
    t.notOk(isName(name), JSON.stringify(name))
  }
})

t.test('shown names are quoted and bounded', async (t) => {
  t.equal(shown('a\nb'), '"a\\nb"')
  t.ok(shown('x'.repeat(10_000)).length < 100)
})

t.test('distance', async (t) => {
  const table: Array<[a: string, b: string, apart: number]> = [
    ['', '', 0], ['', 'abc', 3], ['size', 'size', 0], ['sise', 'size', 1], ['szie', 'size', 1], ['siz', 'size', 1],
    ['kitten', 'sitting', 3],
  ]
  for (const [a, b, apart] of table) {
    t.equal(distance(a, b), apart, `${a} ${b}`)
    t.equal(distance(b, a), apart, `${b} ${a}`)
  }
})

t.test('nearest', async (t) => {
  const words = ['create', 'ls', 'inspect', 'resize', 'delete']
  t.equal(nearest('creat', words), 'create')
  t.equal(nearest('ins', words), 'inspect')
  t.equal(nearest('rezise', words), 'resize')
  t.equal(nearest('l', words), 'ls')
  t.equal(nearest('banana', words), undefined)
  t.equal(nearest('x', []), undefined)
  const before = process.cpuUsage()
  t.equal(nearest('x'.repeat(2 ** 22), words), undefined, 'as long as a request may be')
  t.ok(process.cpuUsage(before).user < 200_000, 'and nobody waits for it')
})
