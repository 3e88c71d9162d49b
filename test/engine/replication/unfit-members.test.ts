/**
 * Risk: two members that may not lead name each other for ever, as fast as the cluster store answers: it is lost to
 * all others, and no operator can decide on a configuration that is another one by then.
 */
import t from 'tap'
import { withForcedPrimary } from '../../../engine/replication/configuration.ts'
import { Copies } from './copies.ts'

/** All come back, of whom some miss a disk. */
function back(lost: readonly string[], nodes: number): Copies {
  const copies = new Copies({ nodes, minInSync: 1 })
  copies.run(500)
  t.ok(copies.open())
  copies.write(1, 10)
  copies.settle()
  for (const name of copies.nodes.keys()) copies.kill(name)
  for (const [i, name] of lost.entries()) copies.node(name).store.state.lostSlices = [i % 2]
  for (const name of copies.nodes.keys()) copies.start(name)
  return copies
}

t.test('they rest, longer and longer, and one of them leads when he is told to', (t) => {
  const copies = back(['n1', 'n2'], 2)
  copies.run(60_000)
  const { version } = copies
  t.ok(version < 20, `it was passed on ${version} times in a minute`)
  copies.run(20_000)
  t.ok(copies.version <= version + 4)
  copies.change(withForcedPrimary(copies.config, 'n2', 'forced')!)
  copies.run(20_000)
  t.equal(copies.primary?.name, 'n2')
  t.end()
})

t.test('a third one that is fit gets it', (t) => {
  for (const lost of [['n1', 'n2'], ['n1', 'n3'], ['n2', 'n3']]) {
    const copies = back(lost, 3)
    copies.run(20_000)
    t.equal(lost.includes(copies.primary!.name), false, lost.join(', '))
  }
  t.end()
})
