/**
 * Risk: clients that come in masses over TLS, or open connections and say nothing, end somebody else's session, make
 * the daemon grow, or leave something behind. A small version of the suite `storms`, which measures what is felt.
 */
// test-timeout-seconds: 120
import path from 'node:path'
import t from 'tap'
import { Storm, footprintOf, settled } from '../../bench/volume/storm.ts'
import type { StormTarget } from '../../bench/volume/storm.ts'
import { MIB } from '../../engine/units.ts'
import * as P from '../../dataplane/nbd/protocol.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const HANDSHAKES = 60
const STRANGERS = 600
const BLOCK = 4096

t.test('storms of clients beside one that works', async (t) => {
  const ca = new TestCa(t)
  const tls = ca.issue({ role: 'node', name: 'n1' })
  const words = ['--tls', tls, '--listen-tcp', '127.0.0.1:0', '--workers', '1']
  const node = new NodeProcess(t, path.join(temporaryFolder(t), 'd'), words)
  const ready = await node.ready()
  t.ok(ready, node.stderr)
  const pid = ready!.pid
  await node.client(t).createVolume({ name: 'v', sizeBytes: 8 * MIB, parameters: {} })
  const client = await RawClient.open(node.paths.nbd, { name: 'v' })
  let isOver = false
  let writes = 0
  const work = (async () => {
    for (; !isOver; writes++) {
      const offset = (writes % 1024) * BLOCK
      const { errno } = await client.ask({ type: P.NBD_CMD_WRITE, offset, data: Buffer.alloc(BLOCK, writes) })
      if (errno !== 0) throw new Error(`write ${writes} ended with ${errno}`)
    }
  })()
  const storms: Storm[] = []
  t.teardown(() => Promise.all(storms.map((storm) => storm.end())))
  const target: StormTarget = {
    port: ready!.tcp!.port, folder: ca.issue({ role: 'admin', name: 'alice' }), keep: (child) => child,
  }
  const begin = (...[mode, count]: [ConstructorParameters<typeof Storm>[0], number]): Storm => {
    const storm = new Storm(mode, count, target)
    storms.push(storm)
    return storm
  }
  const shaken = await begin('handshakes', HANDSHAKES).told()
  t.equal(shaken.done, HANDSHAKES)
  const before = footprintOf(pid)
  const writesBefore = writes
  const strangers = begin('strangers', STRANGERS)
  const begun = await strangers.told()
  t.match(begun, { begun: STRANGERS, failed: 0 })
  const during = footprintOf(pid)
  t.ok(during.descriptors - before.descriptors <= 128 + 8, `${during.descriptors - before.descriptors} places`)
  const moreMib = (during.rssBytes - before.rssBytes) / MIB
  t.ok(moreMib < 32, `${moreMib.toFixed(1)} MiB more`)
  const other = await RawClient.open(node.paths.nbd, { name: 'v' })
  t.equal((await other.ask({ type: P.NBD_CMD_READ, offset: 0, length: BLOCK })).errno, 0, 'a local client gets in')
  other.close()
  await strangers.end()
  t.ok(await settled(pid, before, 30_000) !== undefined, 'nothing is left of them')
  isOver = true
  await work
  t.ok(writes > writesBefore, `${writes - writesBefore} writes beside them`)
  client.close()
})
