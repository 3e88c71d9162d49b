/** What every `IndexPort` must do, run on the simulated index and on `level`. */
import type { IndexOperation, IndexPort } from '../../../engine/ports.ts'
import { Random } from '../../sim/random.ts'

type Test = typeof import('tap').default

export interface IndexUnderTest {
  index: IndexPort
  drive(): void
  /** Stop without ceremony (a crash where the world can do that) and open what is there again. */
  reopen(): Promise<IndexUnderTest>
  close(): Promise<void>
}

const put = (key: Uint8Array, value: Uint8Array): IndexOperation => ({ type: 'put', key, value })
const del = (key: Uint8Array): IndexOperation => ({ type: 'del', key })
const bytes = (...values: number[]) => Uint8Array.from(values)
const hex = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString('hex'))

export class IndexCalls {
  private readonly under: IndexUnderTest

  constructor(under: IndexUnderTest) {
    this.under = under
  }

  batch(...operations: IndexOperation[] | [Iterable<IndexOperation>]): Promise<boolean> {
    const [first] = operations
    const all = first !== undefined && Symbol.iterator in first ? first : (operations as IndexOperation[])
    return this.call((index, end) => index.batch(all, end))
  }

  clear(): Promise<boolean> {
    return this.call((index, end) => index.clear(end))
  }

  get(key: Uint8Array): Promise<string | undefined> {
    return this.call((index, end) => index.getMany([key], (ok, [value]) => end(ok ? hex(value) : 'error')))
  }

  getMany(keys: Uint8Array[]): Promise<Array<string | undefined>> {
    return this.call((index, end) => index.getMany(keys, (ok, values) => end(ok ? values.map(hex) : ['error'])))
  }

  /** As `key=value` in hex. */
  range(from: Uint8Array, below: Uint8Array, limit: number): Promise<string[]> {
    return this.call((index, end) =>
      index.range({ from, below, limit }, (ok, entries) =>
        end(ok ? entries.map(([key, value]) => `${hex(key)}=${hex(value)}`) : ['error']),
      ),
    )
  }

  private call<T>(start: (index: IndexPort, end: (result: T) => void) => void): Promise<T> {
    const promise = new Promise<T>((resolve, reject) => {
      let returned = false
      let ended = false
      start(this.under.index, (result) => {
        if (!returned) return reject(new Error('done ran before the call returned'))
        if (ended) throw new Error('done ran twice')
        ended = true
        resolve(result)
      })
      returned = true
    })
    this.under.drive()
    return promise
  }
}

export function indexSuite(t: Test, name: string, make: () => Promise<IndexUnderTest>): void {
  const onIndex = (title: string, run: (t: Test, calls: IndexCalls, under: IndexUnderTest) => Promise<unknown>) =>
    t.test(`${name}: ${title}`, async (t) => {
      const under = await make()
      const cleanUp = { under }
      try {
        // A test that reopens hands on what is to be closed.
        const replaced = { ...under, reopen: async () => (cleanUp.under = await under.reopen()) }
        await run(t as Test, new IndexCalls(under), replaced)
      } finally {
        await cleanUp.under.close()
      }
    })

  onIndex('puts, deletes and gets; the last operation of a batch wins', async (t, calls) => {
    t.equal(await calls.get(bytes(1)), undefined)
    t.equal(await calls.batch(put(bytes(1), bytes(10)), put(bytes(2), bytes()), del(bytes(3))), true)
    t.same([await calls.get(bytes(1)), await calls.get(bytes(2)), await calls.get(bytes(3))], ['0a', '', undefined])
    t.equal(await calls.batch(put(bytes(1), bytes(11)), del(bytes(1)), del(bytes(2)), put(bytes(2), bytes(12))), true)
    t.same([await calls.get(bytes(1)), await calls.get(bytes(2))], [undefined, '0c'])
    t.equal(await calls.batch(), true)
  })

  onIndex('who makes operations may use the bytes of one again for the next', async (t, calls) => {
    const [key, value] = [bytes(0), bytes(0)]
    const operations = function* (): Generator<IndexOperation> {
      for (let n = 1; n <= 9; n++) {
        key[0] = n
        value[0] = 10 * n
        yield n === 5 ? del(key) : put(key, value)
      }
      key[0] = value[0] = 0
    }
    t.equal(await calls.batch(put(bytes(5), bytes(1))), true)
    t.equal(await calls.batch(operations()), true)
    const found = await calls.range(bytes(0), bytes(255), 20)
    t.same(found, ['01=0a', '02=14', '03=1e', '04=28', '06=3c', '07=46', '08=50', '09=5a'])
  })

  onIndex('a range is in the order of unsigned bytes, with bounds and a limit', async (t, calls) => {
    const keys = [bytes(255), bytes(0), bytes(128), bytes(127), bytes(127, 0), bytes(128, 255), bytes(0, 0)]
    t.equal(await calls.batch(...keys.map((key) => put(key, bytes(key.length)))), true)
    const all = await calls.range(bytes(0), bytes(255, 255), 100)
    t.same(all, ['00=01', '0000=02', '7f=01', '7f00=02', '80=01', '80ff=02', 'ff=01'])
    t.same(await calls.range(bytes(0, 0), bytes(128), 100), ['0000=02', '7f=01', '7f00=02'], 'from included, below not')
    t.same(await calls.range(bytes(1), bytes(255), 2), ['7f=01', '7f00=02'], 'limit')
    t.same(await calls.range(bytes(1), bytes(2), 2), [])
  })

  onIndex('random operations against a map', async (t, calls) => {
    const random = new Random('index')
    const model = new Map<number, number>()
    const key = (n: number) => bytes(7, n)
    for (let i = 0; i < 150; i++) {
      const operations = Array.from({ length: random.between(1, 20) }, (_, j) => {
        const n = random.int(256)
        if (random.chance(0.3)) {
          model.delete(n)
          return del(key(n))
        }
        model.set(n, j)
        return put(key(n), bytes(j))
      })
      if (!(await calls.batch(...operations))) return t.fail('a batch failed')
      const n = random.int(256)
      const wanted = model.has(n) ? hex(bytes(model.get(n)!)) : undefined
      if ((await calls.get(key(n))) !== wanted) return t.fail(`get at step ${i}`)
      const from = random.int(256)
      const found = await calls.range(key(from), bytes(8), 10)
      const all = [...model].filter(([n]) => n >= from).sort(([a], [b]) => a - b)
      const entries = all.slice(0, 10).map(([n, value]) => `${hex(key(n))}=${hex(bytes(value))}`)
      if (found.join() !== entries.join()) return t.fail(`range at step ${i}`)
    }
    return t.pass('150 steps agree')
  })

  onIndex('many gets at a time, each with its own answer', async (t, calls) => {
    const key = (n: number) => bytes(n >> 8, n & 255)
    t.equal(await calls.batch(...Array.from({ length: 500 }, (_, n) => put(key(n), key(n)))), true)
    const found = await Promise.all(Array.from({ length: 600 }, (_, n) => calls.get(key(n))))
    t.ok(found.every((value, n) => value === (n < 500 ? hex(key(n)) : undefined)))
  })

  onIndex('many keys of one get, in their order, however many and whatever their order', async (t, calls) => {
    const key = (n: number) => bytes(n >> 8, n & 255)
    t.equal(await calls.batch(...Array.from({ length: 900 }, (_, n) => put(key(n), key(n)))), true)
    t.same(await calls.getMany([]), [])
    for (const count of [1, 2, 159, 160, 161, 320, 321, 1000]) {
      const asked = Array.from({ length: count }, (_, i) => (i * 7919) % 1000)
      const expected = asked.map((n) => (n < 900 ? hex(key(n)) : undefined))
      t.same(await calls.getMany(asked.map(key)), expected, `${count} keys`)
    }
  })

  onIndex('values of a page and batches of thousands', async (t, calls) => {
    const page = new Random('page').bytes(new Uint8Array(20_000))
    const key = (n: number) => bytes(9, n >> 8, n & 255)
    const operations = Array.from({ length: 5000 }, (_, n) => put(key(n), page.subarray(n, n + 24)))
    t.equal(await calls.batch(put(bytes(1), page), ...operations), true)
    t.equal(await calls.get(bytes(1)), hex(page))
    t.equal((await calls.range(bytes(9), bytes(10), 10_000)).length, 5000)
  })

  onIndex('what was acknowledged is there after a restart, and cleared things are not', async (t, calls, under) => {
    t.equal(await calls.batch(put(bytes(1), bytes(1))), true)
    t.equal(await calls.clear(), true)
    t.equal(await calls.batch(put(bytes(2), bytes(2)), put(bytes(3), bytes(3))), true)
    t.equal(await calls.batch(del(bytes(3))), true)
    t.same(await calls.range(bytes(0), bytes(255), 10), ['02=02'])
    const again = new IndexCalls(await under.reopen())
    t.same(await again.range(bytes(0), bytes(255), 10), ['02=02'])
  })
}
