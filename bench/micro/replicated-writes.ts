/**
 * Durable 4 KiB writes and reads through the frontend on the primary's node, without NBD: one copy alone, and three
 * copies in three processes over loopback TCP, each with a disk file in FOLDER, and the embedded cluster store in this
 * process. All share the machine: three copies on two cores measure processor time rather than latency.
 * `node bench/micro/replicated-writes.ts [FOLDER]`, about 30 s, 6 GB.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { connectEtcdStore } from '../../cluster/store/etcd-store.ts'
import { openEmbeddedStore } from '../../cluster/store/embedded/embedded-store.ts'
import { serveStore } from '../../cluster/store/embedded/store-server.ts'
import { configKey, encodeConfig } from '../../cluster/store/volume-configs.ts'
import { DEFAULT_TIMING } from '../../dataplane/copy/timing.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { configOf, hex, specOf } from '../../test/dataplane/copy/hosts.ts'
import { meetAll, NodeProcess } from '../../test/dataplane/copy/node-processes.ts'

const SIZE_BYTES = 256 * MIB
const SECONDS = 3
const WARM_SECONDS = 2

const folder = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'holdfast-bench-'))
const subfolder = (name: string): string => {
  const dir = path.join(folder, name)
  fs.mkdirSync(dir)
  return dir
}
const embedded = await openEmbeddedStore(subfolder('store'))
const server = await serveStore({
  store: embedded,
  listen: { host: '127.0.0.1', port: 0 },
  onBug: (error) => {
    throw error
  },
})
const store = connectEtcdStore({ addresses: server.url })

async function measure(copies: number): Promise<void> {
  const names = ['n1', 'n2', 'n3'].slice(0, copies)
  const nodes = names.map((node) => new NodeProcess({
    node, dir: subfolder(`${copies}-${node}`), storeAddress: server.url, timing: DEFAULT_TIMING, diskBytes: 2 * GIB,
  }))
  await Promise.all(nodes.map((node) => node.start()))
  await meetAll(nodes)
  const spec = specOf({ sizeBytes: SIZE_BYTES, replicas: copies - 1 })
  const ids = nodes.map(() => hex())
  const config = configOf(spec.id, Object.fromEntries(names.map((node, i) => [node, ids[i]!])))
  await store.compareAndSwap({ key: configKey(spec.id), version: undefined, value: encodeConfig(config) })
  await Promise.all(nodes.map((node, i) => node.call('create', spec, ids[i]!)))
  const primary = nodes[0]!
  await primary.call('attach', spec, { generation: 1, incarnation: 1 })
  for (const [kind, depth] of [['write', 32], ['write', 1], ['read', 32]] as const) {
    const before = await Promise.all(nodes.map((node) => node.call('cpuUs')))
    const result = await primary.call('load', {
      kind, depth, seconds: SECONDS, warmSeconds: WARM_SECONDS, blockBytes: 4096, sizeBytes: SIZE_BYTES,
    })
    const after = await Promise.all(nodes.map((node) => node.call('cpuUs')))
    const cpu = after.map((us, i) => ((us - before[i]!) / result.total).toFixed(1))
    const { perSecond, errors, p50Ms, p99Ms } = result
    const name = `${copies} ${copies === 1 ? 'copy' : 'copies'}`.padEnd(10)
    console.log(`${name}${kind.padEnd(6)}4 KiB QD${depth}`.padEnd(30)
      + `${Math.round(perSecond).toString().padStart(7)} per s  p50 ${p50Ms.toFixed(2)} ms  `
      + `p99 ${p99Ms.toFixed(2)} ms  `
      + `processor us each: ${cpu.join(' + ')}${errors > 0 ? `  ERRORS ${errors}` : ''}`)
  }
  await Promise.all(nodes.map((node) => node.stop()))
}

await measure(1)
await measure(3)
store.close()
await server.close(0)
await embedded.close()
fs.rmSync(folder, { recursive: true, force: true })
