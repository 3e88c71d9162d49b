/** The calls of the interface: reading, paging, compare-and-swap, and who wins when many want to. */
import type { Test } from 'tap'
import { PAGE_ENTRIES_MAX, VALUE_BYTES_MAX } from '../../../cluster/store/cluster-store.ts'
import type {
  CasOutcome, ClusterStore, Cursor, Entry, Position, Version,
} from '../../../cluster/store/cluster-store.ts'
import { bytes } from './raw-etcd.ts'
import type { StartStore } from './store-process.ts'

/** Put or delete that has to win. */
export async function swap(
  store: ClusterStore, key: string, version: Version | undefined, value: string | undefined,
): Promise<Version | undefined> {
  const cas = await store.compareAndSwap({ key, version, value: value === undefined ? undefined : bytes(value) })
  if (cas.outcome !== 'won') throw new Error(`${key} was not won: ${JSON.stringify(cas)}`)
  return cas.version
}

export async function read(store: ClusterStore, key: string): Promise<Entry | undefined> {
  const answer = await store.get(key)
  if (!answer.ok) throw answer.error
  return answer.value
}

/** All pages. */
export async function listAll(
  store: ClusterStore, prefix: string, limit = PAGE_ENTRIES_MAX,
): Promise<{ entries: Entry[]; position: Position; pages: number }> {
  const entries: Entry[] = []
  let after: Cursor | undefined
  for (let pages = 1; ; pages++) {
    const answer = await store.list({ prefix, limit, after })
    if (!answer.ok) throw answer.error
    entries.push(...answer.value.entries)
    after = answer.value.next
    if (after === undefined) return { entries, position: answer.value.position, pages }
  }
}

export const textOf = (entry: Entry | undefined): string | undefined =>
  entry === undefined ? undefined : Buffer.from(entry.value).toString()

export async function callsSuite(t: Test, startStore: StartStore): Promise<void> {
  const process = await startStore(t)
  const store = process.client()

  await t.test('a key is made, changed, deleted, and made again', async (t) => {
    t.equal(await read(store, 'k'), undefined)
    const first = await swap(store, 'k', undefined, 'a')
    t.match(await read(store, 'k'), { key: 'k', version: first })
    const second = await swap(store, 'k', first, 'b')
    t.not(second, first)
    t.equal(textOf(await read(store, 'k')), 'b')
    const lost = await store.compareAndSwap({ key: 'k', version: first, value: bytes('c') })
    t.match(lost, { outcome: 'lost', current: { key: 'k', version: second } })
    t.match(await store.compareAndSwap({ key: 'k', version: undefined, value: bytes('c') }), { outcome: 'lost' })
    t.match(await store.compareAndSwap({ key: 'k', version: first, value: undefined }), { outcome: 'lost' })
    t.equal(await swap(store, 'k', second, undefined), undefined)
    t.equal(await read(store, 'k'), undefined)
    const gone = await store.compareAndSwap({ key: 'k', version: second, value: undefined })
    t.strictSame(gone, { outcome: 'lost', current: undefined }, 'a deletion is not won twice')
    const third = await swap(store, 'k', undefined, 'a')
    t.notOk([first, second].includes(third), 'a version never comes back')
  })

  await t.test('values have up to 64 KiB, any bytes', async (t) => {
    const largest = Uint8Array.from({ length: VALUE_BYTES_MAX }, (_, i) => i % 251)
    t.match(await store.compareAndSwap({ key: 'large', version: undefined, value: largest }), { outcome: 'won' })
    t.same(Buffer.from((await read(store, 'large'))!.value), Buffer.from(largest))
    const tooLarge = await store.compareAndSwap({ key: 'larger', version: undefined, value: new Uint8Array(65537) })
    const error = { code: 'store-value-size', message: /larger has 65537 bytes.* 65536/ }
    t.match(tooLarge, { outcome: 'refused', error })
    t.equal(await read(store, 'larger'), undefined)
    await swap(store, 'empty', undefined, '')
    t.equal(textOf(await read(store, 'empty')), '')
  })

  await t.test('lists come in pages of one moment, in order', async (t) => {
    const wanted = Array.from({ length: 300 }, (_, i) => `p/${String(i).padStart(3, '0')}`)
    await Promise.all(wanted.map((key) => swap(store, key, undefined, key)))
    await swap(store, 'p0', undefined, 'beside')
    const { entries, pages } = await listAll(store, 'p/')
    t.same(entries.map(({ key }) => key), wanted)
    t.ok(entries.every((entry) => textOf(entry) === entry.key))
    t.equal(pages, 3)
    t.equal((await listAll(store, 'p/', 100)).entries.length, 300, 'a last page that is full')
    t.same((await listAll(store, 'nothing/')).entries, [])
    const first = await store.list({ prefix: 'p/', limit: 10 })
    if (!first.ok) throw first.error
    await swap(store, 'p/005', entries[5]!.version, 'changed')
    await swap(store, 'p/050', entries[50]!.version, undefined)
    await swap(store, 'p/0500', undefined, 'new')
    const rest: Entry[] = []
    for (let { next } = first.value; next !== undefined;) {
      const page = await store.list({ prefix: 'p/', after: next })
      if (!page.ok) throw page.error
      t.equal(page.value.position, first.value.position)
      rest.push(...page.value.entries)
      next = page.value.next
    }
    t.same(rest.map(({ key }) => key), wanted.slice(10), 'what changes meanwhile does not show')
  })

  await t.test('of a prefix all keys from one on, listed and watched', async (t) => {
    for (const key of ['r/a', 'r/b', 'r/b/c', 'r/c', 's']) await swap(store, key, undefined, key)
    const page = await store.list({ prefix: 'r/', from: 'r/b', limit: 2 })
    if (!page.ok) throw page.error
    t.same(page.value.entries.map(({ key }) => key), ['r/b', 'r/b/c'])
    const rest = await store.list({ prefix: 'r/', from: 'r/b', after: page.value.next })
    t.match(rest, { ok: true, value: { entries: [{ key: 'r/c' }], next: undefined } })
    const keys: string[] = []
    const ended = Promise.withResolvers<void>()
    const watch = store.watch({ prefix: 'r/', from: 'r/b', after: page.value.position }, (event) => {
      if (event.type !== 'changed') return ended.reject(new Error(event.type))
      keys.push(...event.changes.map(({ key }) => key))
      if (keys.includes('r/z')) ended.resolve()
    })
    for (const key of ['q', 'r/aa', 'r/bb', 's/a', 'r/z']) await swap(store, key, undefined, key)
    await ended.promise
    watch.close()
    t.same(keys, ['r/bb', 'r/z'])
  })

  await t.test('pages of the largest values', async (t) => {
    const value = new Uint8Array(VALUE_BYTES_MAX).fill(7)
    const keys = Array.from({ length: 140 }, (_, i) => `big/${1000 + i}`)
    for (const key of keys) await store.compareAndSwap({ key, version: undefined, value })
    const { entries, pages } = await listAll(store, 'big/')
    t.same(entries.map(({ key }) => key), keys)
    t.equal(pages, 2)
  })

  await t.test('a list whose moment is forgotten says so', async (t) => {
    const page = await store.list({ prefix: 'p/', limit: 10 })
    if (!page.ok) throw page.error
    await swap(store, 'other', undefined, '1')
    await process.compact(store.known()!.revision)
    const next = await store.list({ prefix: 'p/', after: page.value.next })
    t.match(next, { ok: false, error: { code: 'store-history', message: /list again/ } })
  })

  await t.test('of many who want the same change one wins', async (t) => {
    const clients = Array.from({ length: 8 }, () => process.client())
    let version: Version | undefined
    for (let round = 0; round < 20; round++) {
      const outcomes = await Promise.all(clients.map((client, i) =>
        client.compareAndSwap({ key: 'race', version, value: bytes(`${round}/${i}`) })))
      const winner = outcomes.findIndex(({ outcome }) => outcome === 'won')
      t.equal(outcomes.map(({ outcome }) => outcome).sort().join(' '), 'lost lost lost lost lost lost lost won')
      const current = await read(store, 'race')
      t.equal(textOf(current), `${round}/${winner}`)
      t.equal(current!.version, (outcomes[winner] as Extract<CasOutcome, { outcome: 'won' }>).version)
      version = current!.version
    }
  })

  await t.test('no increment is lost', async (t) => {
    const clients = Array.from({ length: 6 }, () => process.client())
    await swap(store, 'count', undefined, '0')
    await Promise.all(clients.map(async (client, i) => {
      for (let won = 0, at = (await read(client, 'count'))!; won < 15;) {
        // Who finds the same bytes there as he sent cannot know whose they are.
        const value = bytes(`${Number.parseInt(textOf(at)!) + 1} by ${i}`)
        const cas = await client.compareAndSwap({ key: 'count', version: at.version, value })
        if (cas.outcome === 'lost') at = cas.current!
        else if (cas.outcome !== 'won') throw cas.error
        else if (++won < 15) at = (await read(client, 'count'))!
      }
    }))
    t.equal(Number.parseInt(textOf(await read(store, 'count'))!), 90)
  })
}
