/** Watches: in order, nothing skipped without `gone`, through lost connections and restarts of the store. */
import { once, EventEmitter } from 'node:events'
import type { Test } from 'tap'
import { VALUE_BYTES_MAX } from '../../../cluster/store/cluster-store.ts'
import type { ClusterStore, Position, Watch, WatchEvent } from '../../../cluster/store/cluster-store.ts'
import { listAll, read, swap } from './calls-suite.ts'
import type { StartStore } from './store-process.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** What a watch told so far, as `key=value` and `key!` for deletions, and its end. */
export class Told extends EventEmitter {
  readonly words: string[] = []
  end: WatchEvent | undefined
  position: Position
  private readonly watch: Watch

  constructor(t: Test, store: ClusterStore, prefix: string, after: Position) {
    super()
    this.position = after
    this.watch = store.watch({ prefix, after }, (event) => {
      if (event.type === 'changed') {
        this.position = event.position
        for (const { key, value } of event.changes) {
          const shown = value === undefined || value.length > 100 ? value?.length : Buffer.from(value).toString()
          this.words.push(value === undefined ? `${key}!` : `${key}=${shown}`)
        }
      } else this.end = event
      this.emit('told')
    })
    t.teardown(() => this.watch.close())
  }

  async until(word: string): Promise<string[]> {
    while (!this.words.includes(word)) {
      if (this.end !== undefined) throw new Error(`it ended before ${word}: ${JSON.stringify(this.end)}`)
      await once(this, 'told')
    }
    return this.words
  }

  async ended(): Promise<WatchEvent> {
    while (this.end === undefined) await once(this, 'told')
    return this.end
  }

  close(): void {
    this.watch.close()
  }
}

const positionOf = async (store: ClusterStore): Promise<Position> => (await listAll(store, 'w/')).position

export async function watchSuite(t: Test, startStore: StartStore): Promise<void> {
  const process = await startStore(t)
  const store = process.client()

  await t.test('what happens behind a list is told, in order, deletions too', async (t) => {
    const before = await swap(store, 'w/a', undefined, '1')
    const told = new Told(t, store, 'w/', await positionOf(store))
    const second = await swap(store, 'w/a', before, '2')
    await swap(store, 'v', undefined, 'beside')
    await swap(store, 'w/b', undefined, '1')
    await swap(store, 'w/a', second, undefined)
    await swap(store, 'w/a', undefined, '3')
    t.same(await told.until('w/a=3'), ['w/a=2', 'w/b=1', 'w/a!', 'w/a=3'])
    const again = new Told(t, store, 'w/', told.position)
    await swap(store, 'w/end', undefined, '1')
    t.same(await again.until('w/end=1'), ['w/end=1'], 'from the last position on')
    told.close()
    await swap(store, 'w/after', undefined, '1')
    await again.until('w/after=1')
    t.notOk(told.words.includes('w/after=1'), 'nothing after it was closed')
  })

  await t.test('thousands of changes, and more bytes than one answer holds', async (t) => {
    const start = await positionOf(store)
    const words: string[] = []
    for (let i = 0; i < 25; i++) {
      await Promise.all(Array.from({ length: 60 }, (_, j) => swap(store, `w/many/${i}/${j}`, undefined, 'x')))
    }
    const large = Buffer.alloc(VALUE_BYTES_MAX, 'y')
    for (let i = 0; i < 60; i++) {
      await store.compareAndSwap({ key: `w/many/large/${i}`, version: undefined, value: large })
      words.push(`w/many/large/${i}=65536`)
    }
    const told = new Told(t, store, 'w/many/', start)
    const all = await told.until('w/many/large/59=65536')
    t.equal(new Set(all).size, 1560)
    t.same(all.slice(-60), words)
  })

  await t.test('behind a compaction it is gone', async (t) => {
    const old = await positionOf(store)
    // What is compacted is told yet by a store that has it: the first change behind `old` has to be below that.
    await swap(store, 'w/b/c', undefined, '1')
    const version = await swap(store, 'w/c', undefined, '1')
    const newer = await positionOf(store)
    await swap(store, 'w/c', version, undefined)
    // Not every store tells with a deletion where it is: behind it, whoever else writes there.
    await positionOf(store)
    await process.compact(store.known()!.revision)
    t.strictSame(await new Told(t, store, 'w/', old).ended(), { type: 'gone' })
    const { end, words } = await raced(new Told(t, store, 'w/c', newer), 'w/c!')
    t.ok(end?.type === 'gone' || words.includes('w/c!'), 'the deletion at the compacted revision is told, or gone is')
    const relisted = new Told(t, store, 'w/', await positionOf(store))
    await swap(store, 'w/c', undefined, '2')
    t.same(await relisted.until('w/c=2'), ['w/c=2'], 'list again')
  })

  await t.test('a cut connection and a silent one are resumed', async (t) => {
    const proxy = await TcpProxy.start(t, process.port)
    const watcher = process.client({ addresses: proxy.address, keepaliveMs: 300, timeoutMs: 300 })
    const told = new Told(t, watcher, 'w/x', await positionOf(store))
    let version = await swap(store, 'w/x', undefined, '1')
    await told.until('w/x=1')
    proxy.cut()
    version = await swap(store, 'w/x', version, '2')
    await told.until('w/x=2')
    // Silent, not closed: only the ping that nobody answers tells.
    proxy.lose('requests', 'answers')
    version = await swap(store, 'w/x', version, '3')
    await told.until('w/x=3')
    await swap(store, 'w/x', version, '4')
    t.same(await told.until('w/x=4'), ['w/x=1', 'w/x=2', 'w/x=3', 'w/x=4'])
  })

  await t.test('restarts of the store, clean and by kill -9', async (t) => {
    const told = new Told(t, store, 'w/r', await positionOf(store))
    const other = process.client()
    let version = await swap(other, 'w/r', undefined, '1')
    await told.until('w/r=1')
    await process.stop()
    await process.start()
    version = await swap(other, 'w/r', version, '2')
    await told.until('w/r=2')
    await process.kill()
    await process.start()
    t.equal((await read(other, 'w/r'))!.version, version)
    await swap(other, 'w/r', version, '3')
    t.same(await told.until('w/r=3'), ['w/r=1', 'w/r=2', 'w/r=3'])
  })
}

async function raced(told: Told, word: string): Promise<Told> {
  await Promise.race([told.ended(), told.until(word)])
  return told
}
