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
