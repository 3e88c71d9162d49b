/**
 * Nothing dies, and still nobody may be wrong: a primary stands still, the cluster store is away, the lead is handed
 * over, while a client writes. It sees no error, and all copies are the same in the end.
 */
import t from 'tap'
import { startWriting, until } from './replicated-cluster.ts'

t.test('a primary that stood still wakes up when another one leads', async (t) => {
  const cluster = await startWriting(t)
  const { n1, moreWritten, config, isWhole, statusOf } = cluster
  n1.signal('SIGSTOP')
  await until(async () => (await config()).primary !== 'n1')
  await moreWritten(300)
  n1.signal('SIGCONT')
  await until(isWhole)
  await until(async () => (await statusOf(n1)).role === 'replica')
  await moreWritten(100)
  await cluster.end()
})

t.test('the cluster store is killed: I/O goes on, also when it is back', async (t) => {
  const cluster = await startWriting(t)
  const { storeProcess, moreWritten, config } = cluster
  const { epoch } = await config()
  await storeProcess.kill()
  await moreWritten(1000)
  await storeProcess.start()
  await moreWritten(200)
  t.equal((await config()).epoch, epoch, 'nothing had to change')
  await cluster.end()
})

t.test('the lead is handed over on demand', async (t) => {
  const cluster = await startWriting(t)
  const { n1, moreWritten, config } = cluster
  const before = await config()
  const begin = performance.now()
  t.match(await cluster.handOver(n1, 'n2'), { ok: true })
  await until(async () => (await cluster.statusOf(cluster.n2)).role === 'primary')
  t.comment(`after ${Math.round(performance.now() - begin)} ms`)
  const after = await config()
  t.equal(after.primary, 'n2')
  t.ok(after.epoch > before.epoch)
  t.equal(after.inSync.length, 3, 'nobody was let go')
  await moreWritten(200)
  await cluster.end()
})
