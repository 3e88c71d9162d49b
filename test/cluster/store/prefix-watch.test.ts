/** A cache that is fed by PrefixWatch: what is there, what changes, and what changed while nobody could look. */
import { once, EventEmitter } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type { ClusterStore, WatchEvent } from '../../../cluster/store/cluster-store.ts'
import { PrefixWatch } from '../../../cluster/store/prefix-watch.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { read, swap } from '../../conformance/cluster-store/calls-suite.ts'
import { storeInProcess } from '../store-in-process.ts'

class Cache extends EventEmitter {
  readonly values: Record<string, string> = {}
  readonly words: string[] = []
  problems = 0
  readonly watch: PrefixWatch

  constructor(t: Test, store: ClusterStore) {
    super()
    this.watch = new PrefixWatch({
      store,
      prefix: 'w/',
      retryMs: 1,
      onChange: (key, value) => {
        if (value === undefined) delete this.values[key]
        else this.values[key] = Buffer.from(value).toString()
        this.say(value === undefined ? `${key}!` : `${key}=${this.values[key]}`)
      },
      onListed: () => this.say('listed'),
      onProblem: () => {
        this.problems++
        this.say('problem')
      },
    })
    t.teardown(() => this.watch.close())
  }

  async until(word: string): Promise<void> {
    while (!this.words.includes(word)) await once(this, 'word')
  }

  private say(word: string): void {
    this.words.push(word)
    this.emit('word')
  }
}

/** A store whose watch ends when the test says so, having told nothing, and whose lists fail when it says so. */
function interrupted(store: ClusterStore) {
  let listener: (event: WatchEvent) => void = () => {}
  const refusal = new HoldfastError('store-refused', { endpoint: 'here', reason: 'it is told to' })
  const controls = {
    isDeaf: false,
    listsFail: false,
    end: (event: WatchEvent) => listener(event),
  }
  const wrapped: ClusterStore = {
    get: (key) => store.get(key),
    list: (options) => controls.listsFail ? Promise.resolve({ ok: false, error: refusal }) : store.list(options),
    compareAndSwap: (change) => store.compareAndSwap(change),
    watch(options, told) {
      listener = told
      return store.watch(options, (event) => (controls.isDeaf ? undefined : told(event)))
    },
    known: () => store.known(),
    close: () => store.close(),
  }
  return { wrapped, controls, refusal }
}

t.test('what is there, then each change', async (t) => {
  const store = (await storeInProcess(t)).client()
  const first = await swap(store, 'w/a', undefined, '1')
  await swap(store, 'v', undefined, 'beside')
  for (let i = 0; i < 140; i++) await swap(store, `w/many/${i}`, undefined, 'x')
  const cache = new Cache(t, store)
  await cache.until('listed')
  t.equal(Object.keys(cache.values).length, 141, 'all pages')
  const second = await swap(store, 'w/a', first, '2')
  await swap(store, 'w/b', undefined, '1')
  await swap(store, 'w/a', second, undefined)
  await cache.until('w/a!')
  t.same(cache.words.slice(cache.words.indexOf('listed') + 1), ['w/a=2', 'w/b=1', 'w/a!'])
  cache.watch.close()
})

t.test('what happened while the watch was lost is found by listing again', async (t) => {
  const store = (await storeInProcess(t)).client()
  await swap(store, 'w/a', undefined, '1')
  await swap(store, 'w/b', undefined, '1')
  await swap(store, 'w/c', undefined, '1')
  const { wrapped, controls } = interrupted(store)
  const cache = new Cache(t, wrapped)
  await cache.until('listed')
  controls.isDeaf = true
  await swap(store, 'w/a', (await read(store, 'w/a'))!.version, undefined)
  await swap(store, 'w/b', (await read(store, 'w/b'))!.version, '2')
  await swap(store, 'w/d', undefined, '1')
  cache.words.length = 0
  controls.isDeaf = false
  controls.end({ type: 'gone' })
  await cache.until('listed')
  t.same(cache.words, ['w/b=2', 'w/d=1', 'w/a!', 'listed'], 'what did not change is not told again')
  t.same(cache.values, { 'w/b': '2', 'w/c': '1', 'w/d': '1' })
})

t.test('a store that refuses is asked again, and its problem told', async (t) => {
  const store = (await storeInProcess(t)).client()
  const { wrapped, controls, refusal } = interrupted(store)
  controls.listsFail = true
  const cache = new Cache(t, wrapped)
  await cache.until('problem')
  controls.listsFail = false
  await cache.until('listed')
  controls.end({ type: 'failed', error: refusal })
  cache.words.length = 0
  await cache.until('listed')
  await swap(store, 'w/a', undefined, '1')
  await cache.until('w/a=1')
  cache.watch.close()
  const told = cache.words.length
  controls.end({ type: 'failed', error: refusal })
  t.equal(cache.words.length, told, 'nothing is told when it is closed')
})
