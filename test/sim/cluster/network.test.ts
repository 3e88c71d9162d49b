/** The network does what its options say, the same for the same seed, and cuts each direction alone. */
import t from 'tap'
import { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import { Network, type NetworkOptions } from './network.ts'

function run(options: Partial<NetworkOptions>, send: (network: Network, deliver: (n: number) => void) => void) {
  const clock = new SimClock()
  const defaults: NetworkOptions = { delayMs: [1, 9], lossRate: 0, duplicateRate: 0, lateRate: 0, inOrder: false }
  const network = new Network(clock, new Random(5), { ...defaults, ...options })
  const got: number[] = []
  send(network, (n) => got.push(n))
  clock.advance(1000)
  return { got, network }
}

const hundred = (network: Network, deliver: (n: number) => void) => {
  for (let i = 0; i < 100; i++) network.send('a', 'b', () => deliver(i))
}
const ascending = (list: number[]) => list.slice().sort((a, b) => a - b)

t.test('messages overtake each other, or not', (t) => {
  const { got } = run({}, hundred)
  t.not(got.join(), ascending(got).join())
  t.equal(new Set(got).size, 100)
  t.same(run({}, hundred).got, got, 'the same every time')
  t.same(run({ inOrder: true }, hundred).got, ascending(got))
  t.end()
})

t.test('messages are lost and repeated', (t) => {
  const lossy = run({ lossRate: 0.3 }, hundred)
  t.equal(lossy.got.length, 100 - lossy.network.counts.lost)
  t.ok(lossy.network.counts.lost > 10)
  const twice = run({ duplicateRate: 0.3 }, hundred)
  t.equal(twice.got.length, 100 + twice.network.counts.duplicated)
  t.end()
})

t.test('a way is cut in one direction', (t) => {
  const { got } = run({}, (network, deliver) => {
    network.cut('a', 'b')
    network.send('a', 'b', () => deliver(1))
    network.send('b', 'a', () => deliver(2))
    network.partition([['a'], ['c', 'd']])
    network.send('d', 'a', () => deliver(3))
    network.send('c', 'd', () => deliver(4))
    network.healAll()
    network.send('a', 'b', () => deliver(5))
  })
  t.same(ascending(got), [2, 4, 5])
  t.end()
})
