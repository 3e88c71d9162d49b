/** Risk: what was known long ago is answered, the same is asked again and again, or memory grows with what is asked. */
import t from 'tap'
import { FreshAnswers } from '../../../csi/kube/fresh-answers.ts'

t.test('for a second from when it was asked, and a failure not at all', async (t) => {
  let nowMs = 0
  let asked = 0
  let fails = false
  const answers = new FreshAnswers(async (key) => {
    asked++
    if (fails) throw new Error('it is away')
    return `${key} ${asked}`
  }, () => nowMs)
  t.same(await Promise.all([answers.get('a'), answers.get('a'), answers.get('b')]), ['a 1', 'a 1', 'b 2'])
  nowMs = 999
  t.equal(await answers.get('a'), 'a 1')
  nowMs = 1000
  t.equal(await answers.get('a'), 'a 3')
  fails = true
  nowMs = 3000
  await t.rejects(answers.get('a'), /away/)
  fails = false
  t.equal(await answers.get('a'), 'a 5', 'at once')
})

t.test('bounded', async (t) => {
  let asked = 0
  const answers = new FreshAnswers(async () => ++asked, () => 0)
  for (let key = 0; key < 5000; key++) await answers.get(String(key))
  t.equal(await answers.get('4999'), 5000)
  t.equal(await answers.get('0'), 5001, 'the oldest went')
})
