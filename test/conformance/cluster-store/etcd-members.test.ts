/**
 * An etcd of three members, one of which is killed or stopped again and again, the leader first: one client with all
 * three addresses goes on, no answered compare-and-swap is lost, and a watch tells every value in order.
 */
import t from 'tap'
import type { Version } from '../../../cluster/store/cluster-store.ts'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import { listAll, read, swap, textOf } from './calls-suite.ts'
import { RawEtcd, bytes } from './raw-etcd.ts'
import { ETCD, HOST, StoreProcess, etcdMissing, freePort } from './store-process.ts'
import type { Kind } from './store-process.ts'
import { Told } from './watch-suite.ts'

const members = [0, 1, 2].map((i) =>
  ({ name: `m${i}`, port: freePort(), peer: `http://${HOST}:${freePort() + 20_000}` }))
const cluster = members.map(({ name, peer }) => `${name}=${peer}`).join()

function memberKind({ name, port, peer }: (typeof members)[number]): Kind {
  const client = `http://${HOST}:${port}`
  return {
    ...ETCD,
    command: (dir) => [
      'etcd', `--name=${name}`, `--data-dir=${dir}/data`, `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`, `--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${cluster}`, '--heartbeat-interval=50', '--election-timeout=500', '--log-outputs=stderr',
    ],
  }
}

t.test('members die and stand still', { skip: etcdMissing() }, async (t) => {
  const processes = members.map((member) => new StoreProcess(t, memberKind(member), member.port))
  await Promise.all(processes.map((process) => process.start()))
  const raws = processes.map(({ address }) => new RawEtcd(t, address))
  const addresses = processes.map(({ address }) => address).join()
  const connect = (timeoutMs: number) => {
    const store = connectEtcdStore({ addresses, root: '/test/', timeoutMs, keepaliveMs: 5000 })
    t.teardown(() => store.close())
    return store
  }
  const [store, patient] = [connect(1500), connect(30_000)]
  const told = new Told(t, patient, 'n', (await listAll(patient, 'n')).position)
  let version: Version | undefined = await swap(patient, 'n', undefined, '0')
  let value = 0
  let unknown = 0

  /** Count to `target`, judging what is unknown by reading. */
  const countTo = async (target: number) => {
    while (value < target) {
      const cas = await store.compareAndSwap({ key: 'n', version, value: bytes(String(value + 1)) })
      if (cas.outcome === 'won') {
        version = cas.version
        value++
        continue
      }
      if (cas.outcome === 'unknown') unknown++
      const found = (await read(patient, 'n'))!
      const there = Number(textOf(found))
      t.ok(there === value || there === value + 1, `${value} was answered, ${there} is there`)
      // An unknown one may land after this read; then the next one is lost to it.
      t.ok(cas.outcome !== 'lost' || there === value + 1, 'lost to nobody but itself')
      version = found.version
      value = there
    }
  }
  const leader = async (): Promise<StoreProcess> => {
    for (;;) {
      for (const [i, raw] of raws.entries()) {
        const { header, leader } = await raw.call('Maintenance', 'Status', {})
        if (leader !== undefined && leader === header.memberId) return processes[i]!
      }
    }
  }

  await countTo(20)
  for (const how of ['kill', 'stand still', 'kill'] as const) {
    const process = await leader()
    if (how === 'kill') await process.kill()
    else process.signal('SIGSTOP')
    await countTo(value + 20)
    if (how === 'kill') await process.start()
    else process.signal('SIGCONT')
    await countTo(value + 20)
  }
  await told.until(`n=${value}`)
  t.same(told.words, Array.from({ length: value + 1 }, (_, i) => `n=${i}`), 'each value once, in order')
  t.comment(`${value} counted, ${unknown} unknown`)
  const fresh = connect(10_000)
  t.equal(textOf(await read(fresh, 'n')), String(value))
})
