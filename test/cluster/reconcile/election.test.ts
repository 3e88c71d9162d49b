/** Who is elected, with candidates whose clocks the test moves, and a store that can be out of reach. */
import t from 'tap'
import { CONTROLLER_KEY, Election } from '../../../cluster/reconcile/election.ts'
import type { ClusterStore, Version } from '../../../cluster/store/cluster-store.ts'
import { encodeHeartbeat } from '../../../cluster/store/heartbeats.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { read, swap } from '../../conformance/cluster-store/calls-suite.ts'
import { storeInProcess } from '../store-in-process.ts'

const SILENT_MS = 10_000
const AWAY = new HoldfastError('store-unreachable', { endpoints: 'here', reason: 'the test says so' })

class Candidate {
  nowMs = 0
  isCutOff = false
  /** At the store. */
  looks = 0
  readonly election: Election

  constructor(node: string, store: ClusterStore, instance = `i-${node}`) {
    const cut: ClusterStore = {
      get: async (key) => {
        this.looks++
        return this.isCutOff ? { ok: false, error: AWAY } : store.get(key)
      },
      list: (options) => store.list(options),
      compareAndSwap: async (change) =>
        this.isCutOff ? { outcome: 'refused', error: AWAY } : store.compareAndSwap(change),
      watch: (options, listener) => store.watch(options, listener),
      known: () => store.known(),
      close: () => store.close(),
    }
    const self = { node, api: `${node}:1`, instance }
    this.election = new Election({ store: cut, self, silentAfterMs: SILENT_MS, nowMs: () => this.nowMs })
  }

  async after(ms: number): Promise<boolean> {
    this.nowMs += ms
    await this.election.turn()
    return this.election.isElected()
  }
}

t.test('one is elected, and another one when it is silent or resigns', async (t) => {
  const store = (await storeInProcess(t)).client()
  const [a, b] = [new Candidate('a', store), new Candidate('b', store)]
  t.ok(await a.after(0))
  t.notOk(await b.after(0))
  t.match(b.election.leader(), { node: 'a', api: 'a:1', instance: 'i-a' })
  for (let second = 1; second <= 15; second++) {
    t.ok(await a.after(1000))
    t.notOk(await b.after(1000), 'who is heard stays')
  }
  // The clock of `a` stands still, as that of a process that does not run.
  for (let second = 1; second < 10; second++) t.notOk(await b.after(1000), `silent for ${second} s`)
  t.ok(await b.after(1000), 'silent for too long')
  t.ok(a.election.isElected(), 'it does not know yet')
  t.notOk(await a.after(0), 'its next beat is lost')
  t.match(a.election.leader(), { node: 'b' })
  await b.election.resign()
  t.notOk(b.election.isElected())
  t.equal(await read(store, CONTROLLER_KEY), undefined)
  t.ok(await a.after(1000), 'nobody waits for one that resigned')
})

t.test('who hears the elected one does not look for it, and looks when it does not answer', async (t) => {
  const store = (await storeInProcess(t)).client()
  const [a, b] = [new Candidate('a', store), new Candidate('b', store)]
  t.ok(await a.after(0))
  t.notOk(await b.after(0))
  const looks = b.looks
  for (let second = 1; second <= 15; second++) {
    b.election.hears('i-a', b.nowMs)
    t.notOk(await b.after(1000))
  }
  t.equal(b.looks, looks)
  t.notOk(b.election.hearsNobody(), 'until then it was heard')
  t.ok(b.election.hearsNobody())
  for (let second = 0; second < 10; second++) t.notOk(await b.after(1000), 'silence counts from the first look')
  t.ok(await b.after(1000))
  t.equal(b.looks, looks + 11)

  a.election.hears('i-a', a.nowMs)
  t.notOk(await a.after(20_000))
  t.equal(a.looks, 2, 'nobody is heard by itself')
  a.election.hears('i-c', a.nowMs)
  await a.after(1000)
  t.equal(a.looks, 3, 'it was another one that was seen there')
  a.election.hears('i-b', a.nowMs)
  await a.after(1500)
  t.equal(a.looks, 4, 'that was a while ago')
})

t.test('an outage of the store makes nobody silent, and ends what was believed', async (t) => {
  const store = (await storeInProcess(t)).client()
  const [a, b] = [new Candidate('a', store), new Candidate('b', store)]
  t.ok(await a.after(0))
  t.notOk(await b.after(0))
  for (const one of [a, b]) one.isCutOff = true
  for (let second = 1; second < 10; second++) {
    t.ok(await a.after(1000), 'its last beat still counts')
    t.notOk(await b.after(1000))
  }
  t.notOk(await a.after(1000), 'not any more')
  for (const one of [a, b]) await one.after(60_000)
  for (const one of [a, b]) one.isCutOff = false
  t.notOk(await b.after(1000), 'who could not look begins to count anew')
  t.ok(await a.after(1000), 'and who was elected goes on')
  t.notOk(await b.after(1000))
})

t.test('the next process of the elected node does not wait for its former one', async (t) => {
  const store = (await storeInProcess(t)).client()
  const former = new Candidate('a', store, 'former')
  t.ok(await former.after(0))
  const next = new Candidate('a', store, 'next')
  t.ok(await next.after(0))
  t.notOk(await former.after(1000), 'if it were still there, it would know')
  t.match(former.election.leader(), { node: 'a', instance: 'next' })
})

t.test('a value that is no heartbeat is taken over like a silent one', async (t) => {
  const store = (await storeInProcess(t)).client()
  await swap(store, CONTROLLER_KEY, undefined, 'nonsense')
  const a = new Candidate('a', store)
  t.notOk(await a.after(0))
  t.equal(a.election.leader(), undefined)
  for (let second = 1; second < 10; second++) t.notOk(await a.after(1000))
  t.ok(await a.after(1000))
})

t.test('what names no node, or no address of one, is nobody who is asked', async (t) => {
  const store = (await storeInProcess(t)).client()
  const apis = ['', 'dns://a/b:1', 'x:99999', 'x\0:1']
  const bad = [...apis.map((api) => ({ api })), { node: '\u00fc' }, { node: 'N' }]
  let version: Version | undefined
  for (const [beat, more] of bad.entries()) {
    const value = encodeHeartbeat({ instance: 'i', beat, body: JSON.stringify({ node: 'x', api: 'x:1', ...more }) })
    const put = await store.compareAndSwap({ key: CONTROLLER_KEY, version, value })
    t.equal(put.outcome, 'won')
    version = put.outcome === 'won' ? put.version : undefined
    const one = new Candidate('a', store)
    t.notOk(await one.after(0), 'it may be of a newer version: it has its time')
    t.equal(one.election.leader(), undefined)
  }
  const last = new Candidate('a', store)
  await last.after(0)
  let seconds = 0
  while (!(await last.after(1000))) t.ok(++seconds < 30)
  t.match(last.election.leader(), { node: 'a', api: 'a:1' })
})
