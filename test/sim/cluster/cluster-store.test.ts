/** The cluster store is linearizable; a CAS of unknown outcome happened, did not, or happens later. */
import t from 'tap'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import { ClusterStore, type ClusterStoreOptions } from './cluster-store.ts'

const CONFIG: VolumeConfig = {
  volumeId: 'v',
  epoch: 1,
  primary: 'n1',
  inSync: ['n1'],
  members: { n1: { copyId: 'a', state: 'in-sync' } },
  minInSync: 1,
  attach: { generation: 1, mode: 'open', holders: {} },
  nonce: '0',
}

function fresh(options: Partial<ClusterStoreOptions> = {}, seed = 1) {
  const clock = new SimClock()
  const defaults: ClusterStoreOptions = {
    delayMs: [1, 5],
    timeoutMs: 50,
    requestLossRate: 0,
    answerLossRate: 0,
    lateRate: 0,
    hintLossRate: 0,
    hintDelayMs: [0, 5],
  }
  return { clock, store: new ClusterStore(clock, new Random(seed), { ...defaults, ...options }, CONFIG, 1000) }
}

const next = (nonce: string): VolumeConfig => ({ ...CONFIG, epoch: 2, nonce })

t.test('of two that swap the same version one wins', (t) => {
  const { clock, store } = fresh()
  const outcomes: string[] = []
  for (const nonce of ['a', 'b']) {
    store.compareAndSwap(nonce, 'v1', next(nonce), ({ outcome, version }) => outcomes.push(`${outcome} ${version}`))
  }
  clock.advance(100)
  t.same(outcomes.sort(), ['lost undefined', 'won v2'])
  t.end()
})

t.test('a lost answer hides a CAS that happened; a lost request one that did not', (t) => {
  for (const [options, version] of [
    [{ answerLossRate: 1 }, 'v2'],
    [{ requestLossRate: 1 }, 'v1'],
  ] as const) {
    const { clock, store } = fresh(options)
    let outcome = ''
    store.compareAndSwap('n1', 'v1', next('a'), (ended) => (outcome = ended.outcome))
    clock.advance(49)
    t.equal(outcome, '')
    clock.advance(1)
    t.equal(outcome, 'unknown')
    t.equal(store.current.version, version)
  }
  t.end()
})

t.test('a late CAS is applied after its user gave up, unless another came between', (t) => {
  let late = 0
  for (let seed = 0; seed < 20; seed++) {
    const { clock, store } = fresh({ lateRate: 1 }, seed)
    let outcome = ''
    store.compareAndSwap('n1', 'v1', next('a'), (ended) => (outcome = ended.outcome))
    clock.advance(50)
    if (outcome === 'unknown' && store.current.version === 'v1') {
      late++
      if (seed % 2 === 0) store.compareAndSwap('n2', 'v1', next('b'), () => {})
    }
    clock.advance(1000)
    t.equal(store.current.version, 'v2')
  }
  t.ok(late > 5)
  t.end()
})

t.test('a read sees what ended before; an outage answers nobody', (t) => {
  const { clock, store } = fresh()
  const hints: string[] = []
  store.watch('n2', ({ version }) => hints.push(version))
  let read: string | undefined = ''
  store.compareAndSwap('n1', 'v1', next('a'), () => store.read('n1', (value) => (read = value?.version)))
  clock.advance(20)
  t.equal(read, 'v2')
  t.same(hints, ['v2'])
  store.isOut = true
  let outcome = ''
  store.compareAndSwap('n1', 'v2', next('b'), (ended) => (outcome = ended.outcome))
  store.read('n1', (value) => (read = value?.version))
  clock.advance(100)
  t.same([outcome, read, store.current.version], ['unknown', undefined, 'v2'])
  t.end()
})

t.test('who missed a hint is told when the watch is renewed; who did not, is not', (t) => {
  const { clock, store } = fresh()
  const hints: string[] = []
  for (const user of ['n2', 'n3']) store.watch(user, ({ version }) => hints.push(`${user} ${version}`))
  store.unreachableFor.add('n2')
  store.compareAndSwap('n1', 'v1', next('a'), () => undefined)
  clock.advance(1500)
  t.same(hints, ['n3 v2'])
  store.unreachableFor.delete('n2')
  clock.advance(1000)
  t.same(hints, ['n3 v2', 'n2 v2'])
  t.end()
})
