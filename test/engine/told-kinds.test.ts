/** Risk: what strangers cause floods a log, or is not seen in it. */
import t from 'tap'
import { ToldKinds } from '../../engine/told-kinds.ts'

t.test('the first of a kind is told, then how many were not', (t) => {
  const kinds = new ToldKinds(1000)
  t.same([kinds.tell('a', 0), kinds.tell('a', 1), kinds.tell('a', 999)], [0, undefined, undefined])
  t.equal(kinds.tell('b', 999), 0)
  t.equal(kinds.tell('a', 1000), 2)
  t.equal(kinds.tell('a', 2000), 0)
  t.end()
})

t.test('kinds beyond a bound share one, until others were quiet for long', (t) => {
  const kinds = new ToldKinds(1000)
  const told = Array.from({ length: 1000 }, (_, i) => kinds.tell(`kind ${i}`, i / 10))
  t.equal(told.filter((untold) => untold !== undefined).length, 257)
  t.equal(kinds.tell('one more', 600), undefined, 'the former ones were told within that time')
  t.equal(kinds.tell('one more', 5000), 0, 'a place of its own')
  t.equal(kinds.tell('one more', 5001), undefined)
  t.end()
})
