/**
 * Volumes in three copies that nobody writes to, all copies in one process and one thread: what their workers cost each
 * node, in percent of a core. Beacons, leases and timers; no NBD, no control plane. Other programs do not count.
 *
 *   bin/node24 --dev bench/micro/replicated-idle.ts [--volumes 100] [--seconds 10] [--rounds 3] [--dir DIR]
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { DEFAULT_TIMING } from '../../dataplane/copy/timing.ts'
import { MIB } from '../../engine/units.ts'
import { configOf, hex, Host, specOf, until } from '../../test/dataplane/copy/hosts.ts'
import { MemoryConfigs } from '../../test/dataplane/copy/memory-configs.ts'
import { pause } from '../volume/scratch.ts'

const DISK_BYTES = 1024 * MIB
/** Watermarks and segments that follow the creation. */
const SETTLE_MS = 5000

const { values } = parseArgs({
  options: {
    volumes: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    dir: { type: 'string', default: os.tmpdir() },
  },
})
const volumes = Number(values.volumes)
const seconds = Number(values.seconds)

const folder = fs.mkdtempSync(path.join(values.dir, 'hf-idle-'))
const configs = new MemoryConfigs()
const names = ['n1', 'n2', 'n3']
const hosts = names.map((node) => {
  const dir = path.join(folder, node)
  fs.mkdirSync(dir)
  return new Host({ node, dir, configs, diskBytes: DISK_BYTES, timing: DEFAULT_TIMING })
})
for (const host of hosts) await host.start()
for (const host of hosts) host.meet(hosts)
for (let i = 0; i < volumes; i++) {
  const spec = specOf({ name: `v${i}`, sizeBytes: 64 * MIB })
  // Each node leads a third of them.
  const ids = Object.fromEntries(names.map((_, j) => [names[(i + j) % names.length]!, hex()]))
  configs.put(configOf(spec.id, ids))
  await Promise.all(hosts.map((host, j) => host.create(spec, ids[names[j]!]!)))
  await until(() => hosts[i % names.length]!.role(spec.id) === 'primary')
}
await pause(SETTLE_MS)
for (let round = 0; round < Number(values.rounds); round++) {
  const beganMs = performance.now()
  const before = process.cpuUsage()
  await pause(seconds * 1000)
  const { user, system } = process.cpuUsage(before)
  const percent = (us: number): string => (us / 10 / (performance.now() - beganMs) / names.length).toFixed(3)
  console.log(`${volumes} volumes: ${percent(user + system)} % of a core a node (${percent(system)} in the kernel)`)
}
for (const host of hosts) await host.stop()
fs.rmSync(folder, { recursive: true, force: true })
process.exit(0)
