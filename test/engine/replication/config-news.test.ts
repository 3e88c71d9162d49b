/** What is told of a configuration while a read of it is under way, and told once, is not forgotten (SPEC 2.1). */
import t from 'tap'
import { Copies } from './copies.ts'

t.test('a copy that was let go while it read what was before joins again', (t) => {
  const copies = new Copies()
  copies.run(500)
  copies.open()
  copies.write(3, 33)
  copies.settle()
  // It reads for another reason: the set is as it was, somebody was attached.
  copies.slowReader = 'n3'
  copies.change({ ...copies.config, nonce: 'attached' })
  copies.run(50)
  copies.change({ ...copies.config, ...without(copies, 'n3'), epoch: copies.config.epoch + 1, nonce: 'without' })
  copies.run(50)
  copies.letReadsGo()
  copies.run(8000)
  t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'])
  t.end()
})

t.test('a copy that is named while it reads that it is not', (t) => {
  const copies = new Copies({ isUnconfigured: true })
  copies.slowReader = 'n3'
  for (const name of ['n1', 'n2', 'n3']) {
    copies.kill(name)
    copies.start(name)
  }
  copies.run(50)
  copies.change(copies.config)
  copies.run(50)
  copies.letReadsGo()
  copies.run(8000)
  copies.open()
  copies.write(3, 33)
  copies.run(4000)
  t.equal(copies.node('n3').state.config?.config.nonce, copies.config.nonce, 'it has read its name')
  t.equal(copies.node('n3').state.role, 'replica')
  t.end()
})

function without({ config }: Copies, node: string) {
  const members = { ...config.members, [node]: { ...config.members[node]!, state: 'catching-up' as const } }
  return { members, inSync: config.inSync.filter((name) => name !== node) }
}
