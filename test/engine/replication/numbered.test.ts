/** Things under numbers of their own, against a Map. */
import fc from 'fast-check'
import t from 'tap'
import {
  countNumbered, enterNumbered, leaveNumbered, noNumbered, numberedAt,
} from '../../../engine/replication/numbered.ts'

t.test('whatever enters and leaves, in any order, is what a Map has, in order of number', (t) => {
  const step = fc.record({ number: fc.integer({ min: 0, max: 20 }), leaves: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const list = noNumbered<string>()
      const map = new Map<number, string>()
      for (const [i, { number, leaves }] of steps.entries()) {
        if (leaves) {
          leaveNumbered(list, number)
          map.delete(number)
        } else if (!map.has(number)) {
          enterNumbered(list, number, `${i}`)
          map.set(number, `${i}`)
        }
        const sorted = [...map].sort(([a], [b]) => a - b)
        if (countNumbered(list) !== map.size) return false
        for (let at = 0; at <= 20; at++) if (numberedAt(list, at) !== map.get(at)) return false
        if (JSON.stringify(list.numbers.map((one, j) => [one, list.values[j]])) !== JSON.stringify(sorted)) return false
      }
      return true
    }),
  )
  t.end()
})

t.test('a number that is taken is our bug', (t) => {
  const list = noNumbered<string>()
  enterNumbered(list, 2 ** 52, 'read')
  enterNumbered(list, 1, 'change')
  t.same(list.values, ['change', 'read'])
  t.throws(() => enterNumbered(list, 1, 'again'))
  t.end()
})
