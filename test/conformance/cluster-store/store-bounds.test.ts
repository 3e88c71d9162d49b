/**
 * The embedded store stays within its bounds: live bytes are refused above the limit, history is compacted by itself,
 * and a client that does not read its watch costs one answer of memory, however much happens meanwhile.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { openEmbeddedStore } from '../../../cluster/store/embedded/embedded-store.ts'
import { KvService } from '../../../cluster/store/embedded/kv-service.ts'
import { Refusal } from '../../../cluster/store/embedded/refusals.ts'
import { RawEtcd, bytes } from './raw-etcd.ts'
import { EMBEDDED, startStore } from './store-process.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const MIB = 2 ** 20
const VALUE = Buffer.alloc(65_536, 'x')
const PUT = { lease: '0', prevKv: false, ignoreValue: false, ignoreLease: false }

t.test('live bytes are bounded, deletions and smaller values are not refused', async (t) => {
  const store = await openEmbeddedStore(temporaryFolder(t))
  const header = (revision: number) => ({ clusterId: '1', memberId: '1', revision: String(revision), raftTerm: '1' })
  const kv = new KvService(store, header)
  const put = (i: number, value: Buffer) => kv.put({ key: bytes(`k${i}`), value, ...PUT })
  const refusalOf = async (run: () => unknown): Promise<string> => {
    try {
      await run()
      return 'none'
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return error.message
    }
  }
  const most = Math.floor((64 * MIB) / (65_536 + 256 + 4))
  for (let i = 0; i < most; i += 100) {
    await Promise.all(Array.from({ length: Math.min(100, most - i) }, (_, j) => put(i + j, VALUE)))
  }
  t.equal(await refusalOf(() => put(5000, VALUE)), 'holdfast store: it is full')
  t.equal(store.history.newestRevision, most + 1, 'what is refused takes no revision')
  t.equal(await refusalOf(() => put(7, VALUE)), 'none', 'no larger than before')
  t.equal(await refusalOf(() => put(7, bytes('small'))), 'none')
  const deletion = { key: bytes('k8'), rangeEnd: bytes(''), prevKv: false }
  t.match(await kv.deleteRange(deletion), { deleted: '1' })
  t.equal(await refusalOf(() => put(5000, VALUE)), 'none')
  const everything = {
    key: bytes('k'), rangeEnd: bytes('l'), limit: '0', revision: '0', sortOrder: 'NONE', sortTarget: 'KEY',
    serializable: false, keysOnly: false, countOnly: false, minModRevision: '0', maxModRevision: '0',
    minCreateRevision: '0', maxCreateRevision: '0',
  } as const
  t.match(await refusalOf(() => kv.range(everything)), /the answer has more than 16777216 bytes; give a limit/)
  const flood = Array.from({ length: 300 }, (_, i) => refusalOf(() => put(i % 5 + 20, VALUE)))
  t.ok((await Promise.all(flood)).includes('etcdserver: too many requests'))
  await store.close()
})

const residentMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024

t.test('who does not read costs one answer, and is told what it missed', async (t) => {
  const process = await startStore(t, EMBEDDED)
  const raw = new RawEtcd(t, process.address)
  const put = (key: string) => raw.call('KV', 'Put', { key: bytes(key), value: VALUE })
  const watches = Array.from({ length: 4 }, () => new RawEtcd(t, process.address).watches(t))
  for (const stream of watches) {
    for (let i = 0; i < 3; i++) stream.send({ createRequest: { key: bytes('k'), startRevision: '1' } })
    for (let i = 0; i < 3; i++) t.match(await stream.next(), { created: true })
    stream.call.pause()
  }
  await put('k')
  // 75 MiB, of which 32 MiB are kept.
  for (let i = 0; i < 1200; i += 50) await Promise.all(Array.from({ length: 50 }, () => put('k')))
  const { header } = await raw.call('KV', 'Range', { key: bytes('k') })
  t.equal(header.revision, '1202')
  const mib = residentMib(process.pid)
  t.ok(mib < 350, `${Math.round(mib)} MiB resident`)
  for (const stream of watches) {
    stream.call.resume()
    let revision = 1
    const ended = new Set<string>()
    while (ended.size < 3) {
      const { events, canceled, compactRevision, watchId } = await stream.next()
      if (canceled) {
        ended.add(watchId)
        t.ok(Number(compactRevision) > 600, 'behind what is kept')
      } else if (watchId === '0') {
        for (const { kv } of events) if (Number(kv.modRevision) !== ++revision) t.fail('one was skipped')
      }
    }
  }
  const late = raw.watches(t)
  late.send({ createRequest: { key: bytes('k'), startRevision: '1202' } })
  t.match(await late.events(1), [{ kv: { modRevision: '1202' } }])
})
