/**
 * Where a compare-and-swap can go wrong without anybody telling: lost answers, lost requests, stopped and killed
 * stores, old backups and other stores in the place of the known one.
 */
import { cpSync, rmSync } from 'node:fs'
import type { Test } from 'tap'
import type { CasOutcome, Version } from '../../../cluster/store/cluster-store.ts'
import { standStill } from '../../stand-still.ts'
import { listAll, read, swap, textOf } from './calls-suite.ts'
import { bytes } from './raw-etcd.ts'
import { HOST, freePort } from './store-process.ts'
import type { StartStore } from './store-process.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { Told } from './watch-suite.ts'

export async function failureSuite(t: Test, startStore: StartStore): Promise<void> {
  await t.test('lost answers and lost requests are unknown, and reading tells which', async (t) => {
    const process = await startStore(t)
    const proxy = await TcpProxy.start(t, process.port)
    const [store, direct] = [process.client({ addresses: proxy.address }), process.client()]
    const version = await swap(store, 'k', undefined, 'old')
    const told = new Told(t, direct, 'k', (await listAll(direct, 'k')).position)
    proxy.lose('answers')
    const applied = store.compareAndSwap({ key: 'k', version, value: bytes('nonce-1') })
    await told.until('k=nonce-1')
    proxy.cut()
    t.match(await applied, { outcome: 'unknown', error: { code: 'store-unreachable' } })
    const found = await read(store, 'k')
    t.equal(textOf(found), 'nonce-1', 'it was applied, as its content says')

    proxy.lose('requests')
    const lost = proxy.lost()
    const never = store.compareAndSwap({ key: 'k', version: found!.version, value: bytes('nonce-2') })
    await lost
    proxy.cut()
    t.match(await never, { outcome: 'unknown' })
    t.equal((await read(store, 'k'))!.version, found!.version, 'it was not')
    await swap(store, 'k', found!.version, 'nonce-3')
    t.same(told.words.filter((word) => word.includes('nonce-1')), ['k=nonce-1'], 'applied once')

    proxy.lose('answers')
    const deleting = store.compareAndSwap({ key: 'k', version: (await read(direct, 'k'))!.version, value: undefined })
    await told.until('k!')
    proxy.cut()
    t.match(await deleting, { outcome: 'unknown' })
    t.equal(await read(store, 'k'), undefined)
  })

  await t.test('a store that stands still: deadlines, then it goes on', async (t) => {
    const process = await startStore(t)
    const [store, patient] = [process.client({ timeoutMs: 600 }), process.client()]
    const version = await swap(patient, 'k', undefined, '1')
    while (!(await store.get('k')).ok);
    await standStill(process.pid)
    const startedMs = performance.now()
    const silent = { code: 'store-unreachable', message: /did not answer in time/ }
    t.match(await store.compareAndSwap({ key: 'k', version, value: bytes('2') }), { outcome: 'unknown', error: silent })
    t.match(await store.get('k'), { ok: false, error: { code: 'store-unreachable' } })
    const elsewhere = await store.compareAndSwap({ key: 'j', version: undefined, value: bytes('1') })
    t.match(elsewhere, { outcome: 'refused', error: { code: 'store-unreachable' } }, 'not sent')
    t.ok(performance.now() - startedMs < 5000)
    process.signal('SIGCONT')
    // Late or never, not twice: who reads sees one of both, and goes on from there.
    const found = (await read(patient, 'k'))!
    t.ok(['1', '2'].includes(textOf(found)!))
    const next = await patient.compareAndSwap({ key: 'k', version: found.version, value: bytes('3') })
    const isLate = next.outcome === 'lost' && textOf(next.current) === '2'
    t.ok(next.outcome === 'won' || isLate, 'unless the late one lands')
    t.equal(await read(patient, 'j'), undefined)
    while (!(await store.get('k')).ok);
    t.pass('the client that had given up reads again')
  })

  await t.test('a restart and kill -9 at any moment keep what was answered', async (t) => {
    const process = await startStore(t)
    const clients = Array.from({ length: 6 }, () => process.client({ timeoutMs: 10_000 }))
    const answered = clients.map(() => 0)
    let killAt = 50
    let kills = 0
    let restarting: Promise<void> | undefined
    const restart = async () => {
      await process.kill()
      await process.start()
      restarting = undefined
    }
    const work = async (client: (typeof clients)[number], i: number) => {
      let version: Version | undefined
      let known = 0
      while (kills < 3 || restarting !== undefined) {
        const cas: CasOutcome = await client.compareAndSwap({ key: `n/${i}`, version, value: bytes(String(known + 1)) })
        if (cas.outcome === 'won') {
          version = cas.version
          answered[i] = ++known
        } else {
          if (cas.outcome === 'lost') t.fail(`client ${i} lost its own key`)
          const found = await read(client, `n/${i}`)
          version = found?.version
          const value = Number(textOf(found) ?? '0')
          t.ok(value === known || value === known + 1, `${value} is there, ${known} was answered`)
          known = value
        }
        if (restarting === undefined && kills < 3 && answered.reduce((a, b) => a + b) >= killAt) {
          killAt += 50
          kills++
          restarting = restart()
        }
      }
    }
    await Promise.all(clients.map(work))
    const fresh = process.client()
    for (const [i, least] of answered.entries()) t.ok(Number(textOf(await read(fresh, `n/${i}`))) >= least)
    await process.stop()
    await process.start()
    for (const [i, least] of answered.entries()) t.ok(Number(textOf(await read(fresh, `n/${i}`))) >= least)
  })

  await t.test('an old backup and another store are refused', async (t) => {
    const process = await startStore(t)
    const store = process.client()
    const version = await swap(store, 'k', undefined, 'old')
    await process.stop()
    const backup = `${process.dir}.backup`
    t.teardown(() => rmSync(backup, { recursive: true, force: true }))
    cpSync(process.dir, backup, { recursive: true })
    await process.start()
    const newer = await swap(store, 'k', version, 'new')
    for (let i = 0; i < 5; i++) await swap(store, `more/${i}`, undefined, '1')
    const told = new Told(t, store, 'k', (await listAll(store, 'k')).position)
    const known = store.known()!
    await process.stop()
    rmSync(process.dir, { recursive: true })
    cpSync(backup, process.dir, { recursive: true })
    await process.start()
    const behind = { code: 'store-behind', message: /went back in time.*holdfast store rebuild --from-nodes/ }
    t.match(await store.get('k'), { ok: false, error: behind })
    const cas = await store.compareAndSwap({ key: 'k', version: newer, value: bytes('x') })
    t.match(cas, { outcome: 'refused', error: behind })
    t.match(await told.ended(), { type: 'failed', error: behind })
    const restarted = process.client({ known })
    t.match(await restarted.list({ prefix: '' }), { ok: false, error: behind }, 'also by who restarted')
    t.equal(textOf(await read(process.client(), 'k')), 'old', 'nothing was changed there')

    await process.kill()
    const other = await startStore(t, process.port)
    // An etcd makes its id of its addresses; only a store with another one is another one.
    const replaced = other.kind.name === 'etcd' ? behind : { code: 'store-replaced', message: /is another one/ }
    t.match(await store.get('k'), { ok: false, error: replaced })
    const making = await restarted.compareAndSwap({ key: 'k', version: undefined, value: bytes('x') })
    t.match(making, { outcome: 'refused', error: replaced })
    t.equal(await read(other.client(), 'k'), undefined)
    const elsewhere = other.client({ known: { ...known, clusterId: '1', revision: 1 } })
    t.match(await elsewhere.get('k'), { ok: false, error: { code: 'store-replaced' } })
  })

  await t.test('closing ends what is under way', async (t) => {
    const process = await startStore(t)
    const store = process.client({ timeoutMs: 60_000 })
    const version = await swap(store, 'k', undefined, '1')
    await standStill(process.pid)
    const [get, cas] = [store.get('k'), store.compareAndSwap({ key: 'k', version, value: bytes('2') })]
    const told = new Told(t, store, 'k', (String(store.known()!.revision)) as never)
    await new Promise((resolve) => setImmediate(resolve))
    store.close()
    t.match(await get, { ok: false })
    t.match((await cas).outcome, /unknown|refused/)
    t.match(await store.get('k'), { ok: false, error: { code: 'shutting-down' } })
    t.equal(told.end, undefined, 'a watch that is closed says nothing')
    process.signal('SIGCONT')
    for (let turns = 0; turns < 25; turns++) {
      const closing = process.client()
      await read(closing, 'k')
      const calls = [closing.get('k'), closing.list({ prefix: '' })]
      const change = closing.compareAndSwap({ key: `turn/${turns}`, version: undefined, value: bytes('1') })
      for (let turn = 0; turn < turns; turn++) await undefined
      closing.close()
      for (const answer of await Promise.all(calls)) t.type(answer.ok, 'boolean', 'at whatever moment')
      t.match((await change).outcome, /unknown|refused|won/)
    }
  })
}

/** Of a store with several members: the next one is asked when one fails or is silent. */
export async function addressesSuite(t: Test, startStore: StartStore): Promise<void> {
  const process = await startStore(t)
  const nobody = `http://${HOST}:${freePort()}`
  const silent = await TcpProxy.start(t, process.port)
  const addresses = `${nobody},${silent.address},${process.address}`
  const startedMs = performance.now()
  const version = await swap(process.client({ addresses, timeoutMs: 60_000 }), 'k', undefined, '1')
  t.ok(performance.now() - startedMs < 10_000, 'a refused connection is not waited for')
  const store = process.client({ addresses, timeoutMs: 3000 })
  t.equal(textOf(await read(store, 'k')), '1')
  silent.lose('requests', 'answers')
  t.equal(textOf(await read(store, 'k')), '1')
  await swap(store, 'k', version, '2')
  const wrong = process.client({ addresses: nobody, timeoutMs: 200 })
  t.match(await wrong.get('k'), { ok: false, error: { code: 'store-unreachable', message: /nothing answers there/ } })
  t.match(await wrong.compareAndSwap({ key: 'k', version, value: bytes('x') }), { outcome: 'refused' })
}
