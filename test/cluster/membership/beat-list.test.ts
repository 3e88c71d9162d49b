/** One list for all who look at the same time; who must see what was just stored gets a new one. */
import t from 'tap'
import { BeatList } from '../../../cluster/membership/beat-list.ts'
import { beatKey } from '../../../cluster/membership/beat-body.ts'
import { storeInProcess } from '../store-in-process.ts'

t.test('who asks at the same time gets the same list', async (t) => {
  const store = (await storeInProcess(t)).client()
  let lists = 0
  const counted: typeof store = Object.create(store, {
    list: {
      value: (options: Parameters<typeof store.list>[0]) => {
        lists++
        return store.list(options)
      },
    },
  })
  let nowMs = 1_000
  const beats = new BeatList(counted, () => nowMs)
  const put = (node: string) =>
    store.compareAndSwap({ key: beatKey(node), version: undefined, value: Buffer.from('beat') })
  const keys = async (recentMs?: number) => {
    const { askedAtMs, answer } = await beats.read(recentMs)
    return [askedAtMs, ...(answer.ok ? answer.entries.map(({ key }) => key) : [answer.error.code])]
  }
  await put('n1')
  t.same(await Promise.all([keys(), keys()]), [[1_000, 'beats/n1'], [1_000, 'beats/n1']])
  t.equal(lists, 1)
  await put('n2')
  nowMs += 50
  t.same(await keys(), [1_000, 'beats/n1'], 'a moment later, too: it says when it was asked for')
  t.same(await keys(0), [1_050, 'beats/n1', 'beats/n2'], 'unless what was just stored must be in it')
  await put('n3')
  nowMs += 100
  t.same(await keys(), [1_150, 'beats/n1', 'beats/n2', 'beats/n3'])
  t.equal(lists, 3)
  store.close()
  nowMs += 1_000
  t.same(await keys(), [2_150, 'shutting-down'], 'a store that does not answer is told')
})
