/**
 * Requests that are not whole blocks, and where requests are cut (SPEC.md S4).
 */
import t from 'tap'
import { countNumbered } from '../../../engine/replication/numbered.ts'
import { blocksOf, partsOf } from '../../../engine/replication/request-parts.ts'
import type { Request } from './frontend-bench.ts'
import { FrontendBench, versionOf } from './frontend-bench.ts'

const written = ({ operation }: Request) =>
  operation.type === 'write'
    ? { lba: operation.lba, cells: operation.payload.data, edges: operation.edges }
    : undefined

t.test('edges are read first, merged, and named with their seq', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 2, [1, 2, 3, 4, 5, 6, 7])
  const reads = bench.requests()
  t.same(
    reads.map(({ operation }) => operation),
    [
      { type: 'read', lba: 0, blockCount: 1 },
      { type: 'read', lba: 2, blockCount: 1 },
    ],
  )
  bench.reply(reads[1]!)
  bench.reply(reads[0]!, { ok: true, versions: [versionOf(0, 7, [90, 91, 92, 93])] })
  const write = bench.request()
  t.same(written(write), {
    lba: 0,
    cells: [90, 91, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0],
    edges: [
      [0, 7],
      [2, 0],
    ],
  })
  t.equal(write.id.request, 1, 'reads take no number from it')
  bench.reply(write)
  t.same(bench.answers.get(1), { ok: true, versions: [] })
  t.end()
})

t.test('an edge changed: read again, merged again, same number; an old success counts', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 1, [5])
  bench.reply(bench.request(), { ok: true, versions: [versionOf(0, 1, [1, 1, 1, 1])] })
  const first = bench.request()
  bench.reply(first, { ok: false, code: 'edge-changed' })
  bench.reply(first, { ok: false, code: 'edge-changed' })
  bench.reply(bench.request(), { ok: true, versions: [versionOf(0, 2, [2, 2, 2, 2])] })
  const second = bench.request()
  t.same(second.id, first.id)
  t.same(written(second), { lba: 0, cells: [2, 5, 2, 2], edges: [[0, 2]] })

  bench.reply(second, { ok: false, code: 'edge-changed' })
  t.equal(bench.requests().length, 0, 'the second repetition waits a moment')
  bench.pass(100)
  const read = bench.request()
  t.equal(read.operation.type, 'read')
  bench.reply(first)
  t.same(bench.answers.get(1), { ok: true, versions: [] }, 'one of the attempts was ordered after all')
  bench.reply(read, { ok: true, versions: [] })
  t.equal(bench.requests().length, 0)
  t.equal(bench.state.inFlightParts, 0)
  t.end()
})

t.test('two narrow writes of one block do not see each other half done', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 0, [1], 1)
  bench.write(2, 3, [2], 2)
  bench.reply(bench.request(), { ok: true, versions: [] })
  const first = bench.request()
  t.equal(bench.requests().length, 0)
  bench.reply(first)
  bench.reply(bench.request(), { ok: true, versions: [versionOf(0, 1, [1, 0, 0, 0])] })
  t.same(written(bench.request()), { lba: 0, cells: [1, 0, 0, 2], edges: [[0, 1]] })
  t.end()
})

t.test('dropped while its edges are read: nothing is written', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 1, [5])
  const read = bench.request()
  bench.step({ type: 'connection-closed', connection: 1 })
  bench.reply(read, { ok: true, versions: [] })
  t.equal(bench.requests().length, 0)
  bench.block(2, 0, 9)
  t.equal(bench.request().id.request, 1, 'it took no number')
  t.end()
})

t.test('an edge that cannot be read fails the request before anything is written', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 1, [1, 2, 3, 4])
  const [first, second] = bench.requests()
  bench.reply(first!, { ok: false, code: 'damaged' })
  bench.reply(second!)
  t.same(bench.answers.get(1), { ok: false, code: 'damaged' })
  t.equal(bench.requests().length, 0)
  t.equal(bench.state.inFlightParts, 0)
  t.end()
})

t.test('an edge that cannot be read any more after a refusal fails the request', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 1, [5])
  bench.reply(bench.request())
  bench.reply(bench.request(), { ok: false, code: 'edge-changed' })
  bench.reply(bench.request(), { ok: false, code: 'damaged' })
  t.same(bench.answers.get(1), { ok: false, code: 'damaged' })
  t.equal(countNumbered(bench.state.requests), 0)
  t.end()
})

t.test('a part that is done after all, while another one is not', (t) => {
  const bench = new FrontendBench({ partBytesMax: 4096 }).open()
  bench.write(1, 1, [1, 2, 3, 4])
  for (const read of bench.requests()) bench.reply(read)
  const [first, second] = bench.requests()
  bench.reply(first!, { ok: false, code: 'edge-changed' })
  const read = bench.request()
  bench.reply(first!)
  bench.reply(read)
  t.equal(bench.requests().length, 0)
  bench.reply(second!)
  t.same(bench.answers.get(1), { ok: true, versions: [] })
  t.end()
})

t.test('edges go to the next primary like everything else', (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 1, [5])
  bench.requests()
  bench.hint(2, 'b')
  bench.pass(100)
  bench.config(2, 'b')
  bench.opened(2, 'b')
  bench.reply(bench.request(), { ok: true, versions: [versionOf(0, 4, [4, 4, 4, 4])] }, 2, 'b')
  t.same(written(bench.request())?.edges, [[0, 4]])
  t.end()
})

t.test('a trim that is not whole blocks zeroes its edges', (t) => {
  const bench = new FrontendBench().open()
  bench.ask(1, { type: 'trim', offsetBytes: 3072, lengthBytes: 1024 + 8192 + 2048, fua: true })
  const [head, tail] = bench.requests()
  bench.reply(head!, { ok: true, versions: [versionOf(0, 1, [1, 1, 1, 1])] })
  bench.reply(tail!, { ok: true, versions: [versionOf(3, 2, [2, 2, 2, 2])] })
  const parts = bench.requests()
  t.same(
    parts.map(({ operation }) => operation.type),
    ['write', 'trim', 'write'],
  )
  t.same(written(parts[0]!), { lba: 0, cells: [1, 1, 1, 0], edges: [[0, 1]] })
  t.same(parts[1]!.operation, { type: 'trim', lba: 1, blockCount: 2, fua: true })
  t.same(written(parts[2]!), { lba: 3, cells: [0, 0, 2, 2], edges: [[3, 2]] })
  t.ok(parts.every(({ operation }) => 'fua' in operation && operation.fua))
  t.end()
})

t.test('parts tile the request, stay within slices and bounds', (t) => {
  const edges = [0, 1, 511, 4095, 4096, 4097, 8192, 2 ** 30 - 4096, 2 ** 30 - 1, 2 ** 30, 2 ** 30 + 5000, 2 ** 31]
  let looked = 0
  for (const type of ['read', 'write', 'trim'] as const) {
    for (const offsetBytes of edges) {
      for (const lengthBytes of [
        1,
        512,
        4096,
        4097,
        8191,
        12288,
        20000,
        2 ** 20,
        ...(type === 'trim' ? [2 ** 31] : []),
      ]) {
        const operation = { type, offsetBytes, lengthBytes, data: undefined, fua: false }
        const { first, end } = blocksOf(operation)
        let lba = first
        let bytes = 0
        for (const part of partsOf(operation, 3)) {
          if (part.lba !== lba || part.blockCount < 1) t.fail(`a gap in ${JSON.stringify(operation)}`)
          const last = lba + part.blockCount - 1
          if (Math.floor(lba / 262144) !== Math.floor(last / 262144)) t.fail('a part lies within one slice')
          if (part.type !== 'trim' && part.blockCount > 3) t.fail('a part is small')
          const whole = part.type === 'trim' || part.lengthBytes === part.blockCount * 4096
          if (part.type !== 'read' && whole !== (part.edges.length === 0)) t.fail('edges are what is cut')
          bytes += part.type === 'trim' ? part.blockCount * 4096 : part.lengthBytes
          lba = last + 1
          looked++
        }
        if (lba !== end) t.fail(`not to the end: ${JSON.stringify(operation)}`)
        if (type !== 'read' && bytes !== lengthBytes) t.fail(`not every byte: ${JSON.stringify(operation)}`)
      }
    }
  }
  t.ok(looked > 1000, `${looked} parts`)
  t.end()
})
