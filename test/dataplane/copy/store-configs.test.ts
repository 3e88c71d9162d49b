/** The port of configurations over a real store: what is no configuration is not believed, no outcome is guessed. */
// test-slow: starts real nodes, or a store
import t from 'tap'
import type { Test } from 'tap'
import { configKey, encodeConfig } from '../../../cluster/store/volume-configs.ts'
import type { ConfigCas, ConfigRead } from '../../../dataplane/copy/config-port.ts'
import { StoreConfigs } from '../../../dataplane/copy/store-configs.ts'
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { EMBEDDED, startStore } from '../../conformance/cluster-store/store-process.ts'
import { configOf, hex, until } from './hosts.ts'

async function setUp(t: Test) {
  const storeProcess = await startStore(t, EMBEDDED)
  const store = storeProcess.client()
  const events: string[] = []
  const log = { event: (_: string, message: string) => void events.push(message) }
  const configs = new StoreConfigs({ store, log })
  const read = (volumeId: string): Promise<ConfigRead> => new Promise((resolve) => configs.read(volumeId, resolve))
  const cas = (version: string, config: VolumeConfig): Promise<ConfigCas> =>
    new Promise((resolve) => configs.compareAndSwap(config.volumeId, version, config, resolve))
  return { storeProcess, store, events, configs, read, cas }
}

t.test('reading and swapping', async (t) => {
  const { storeProcess, store, events, read, cas } = await setUp(t)
  const config = configOf(hex(), { n1: 'a', n2: 'b' })
  t.same(await read(config.volumeId), { ok: true, value: undefined }, 'there is none')
  await store.compareAndSwap({ key: configKey(config.volumeId), version: undefined, value: encodeConfig(config) })
  const found = await read(config.volumeId)
  t.match(found, { ok: true, value: { config } })
  const { version } = (found as { value: VersionedConfig }).value
  const next = { ...config, epoch: 2, nonce: hex() }
  const won = await cas(version, next)
  t.equal(won.outcome, 'won')
  t.same(await cas(version, next), { outcome: 'lost' })
  t.match(await read(config.volumeId), { value: { config: next, version: (won as { version: string }).version } })
  const other = hex()
  await store.compareAndSwap({ key: configKey(other), version: undefined, value: Buffer.from('{"epoch":1}') })
  t.same(await read(other), { ok: false }, 'what is no configuration')
  t.equal(events.length, 1, 'and it is said')
  await storeProcess.kill()
  const [answer, outcome] = await Promise.all([read(config.volumeId), cas(version, next)])
  t.same(answer, { ok: false }, 'nobody answers')
  t.match(outcome.outcome, /refused|unknown/)
})

t.test('hints of what is there, of what changes, and again after an outage', async (t) => {
  const { storeProcess, store, configs } = await setUp(t)
  const first = configOf(hex(), { n1: 'a' })
  await store.compareAndSwap({ key: configKey(first.volumeId), version: undefined, value: encodeConfig(first) })
  const hints: VersionedConfig[] = []
  const end = configs.watch((value) => hints.push(value))
  await until(() => hints.length > 0)
  t.match(hints[0], { config: first })
  const second = configOf(hex(), { n1: 'a' })
  await store.compareAndSwap({ key: configKey(second.volumeId), version: undefined, value: encodeConfig(second) })
  await until(() => hints.some(({ config }) => config.volumeId === second.volumeId))
  await storeProcess.kill()
  await storeProcess.start()
  const third = configOf(hex(), { n1: 'a' })
  let made = 'refused'
  while (made !== 'won') {
    const change = { key: configKey(third.volumeId), version: undefined, value: encodeConfig(third) }
    made = (await store.compareAndSwap(change)).outcome
    if (made === 'lost') break
  }
  await until(() => hints.some(({ config }) => config.volumeId === third.volumeId))
  end()
  const count = hints.length
  const version = hints.findLast(({ config }) => config.volumeId === third.volumeId)!.version
  await new Promise<void>((resolve) =>
    configs.compareAndSwap(third.volumeId, version, { ...third, epoch: 2 }, () => resolve()),
  )
  t.equal(hints.length, count, 'none when it has ended')
})

t.test('however many follow, the store is watched once, and who comes later is told what is known', async (t) => {
  const { store } = await setUp(t)
  let watches = 0
  const counted: typeof store = Object.create(store, {
    watch: {
      value: (...what: Parameters<typeof store.watch>) => {
        watches++
        return store.watch(...what)
      },
    },
  })
  const configs = new StoreConfigs({ store: counted, log: { event: () => undefined } })
  const put = async (config: VolumeConfig | undefined, volumeId: string): Promise<void> => {
    const found = await store.get(configKey(volumeId))
    const version = found.ok ? found.value?.version : undefined
    const value = config === undefined ? undefined : encodeConfig(config)
    t.match(await store.compareAndSwap({ key: configKey(volumeId), version, value }), { outcome: 'won' })
  }
  const [a, b] = [configOf(hex(), { n1: 'a' }), configOf(hex(), { n1: 'a' })]
  await put(a, a.volumeId)
  const first: Array<[string, number | undefined]> = []
  const endFirst = configs.follow((volumeId, value) => first.push([volumeId, value?.config.epoch]))
  await until(() => first.length > 0)
  const hints: string[] = []
  const endSecond = configs.watch(({ config }) => hints.push(config.volumeId))
  await until(() => hints.length > 0)
  t.same(hints, [a.volumeId], 'known before it came')
  t.equal(first.length, 1, 'and nobody else hears of it again')
  await put(b, b.volumeId)
  await until(() => hints.length > 1 && first.length > 1)
  t.same(first, [[a.volumeId, 1], [b.volumeId, 1]])
  await put(undefined, a.volumeId)
  await until(() => first.length > 2)
  t.same(first.at(-1), [a.volumeId, undefined], 'it is gone')
  t.equal(hints.length, 2, 'of which a copy hears by reading')
  endFirst()
  await put({ ...b, epoch: 2 }, b.volumeId)
  await until(() => hints.length > 2)
  t.equal(first.length, 3, 'who ended hears no more')
  t.equal(watches, 1)
  endSecond()
  const again = new Promise<string>((resolve) => {
    const end = configs.watch(({ config }) => {
      end()
      resolve(`${config.volumeId} ${config.epoch}`)
    })
  })
  t.equal(await again, `${b.volumeId} 2`, 'of a new watch')
  t.equal(watches, 1, 'that ended before it was begun')
})
