/**
 * Risk: a clone of a volume as it is takes seconds. Its snapshot is ordered, and a copy that does not lead is asked for
 * the clone before it has heard that the snapshot is committed: it makes it as soon as it has.
 */
import t from 'tap'
import type { HostedCopy } from '../../../dataplane/copy/hosted-copy.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { CloneSource } from '../../../engine/volume/copy-sharing.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { MemoryConfigs } from './memory-configs.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'
import type { Host } from './hosts.ts'

const cloned = ({ worker }: Host, name: string, id: string, source: CloneSource): Promise<Result<HostedCopy>> =>
  new Promise((resolve) => worker.copies.create(specOf({ name, id }), hex(), source, resolve))

t.test('every copy of the set makes one at once', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2', 'n3'], configs)
  const spec = specOf()
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  await until(() => hosts[0]!.role(spec.id) === 'primary')
  const device = hosts[0]!.attach(spec)
  for (let round = 1; round <= 3; round++) {
    t.equal(await device.write(0, Buffer.alloc(BLOCK_BYTES, round)), 0)
    const id = hex()
    const change = { operation: 'snapshot', id, title: { name: `s${round}`, createdAtMs: 1, labels: {} } } as const
    const cloneId = hex()
    const asked = await new Promise<Array<Promise<Result<HostedCopy>>>>((resolve, reject) => {
      hosts[0]!.worker.copies.copy(spec.id)!.command({ type: 'change', change }, (ordered) => {
        if (!ordered.ok) return reject(new Error(ordered.code))
        const source = { volumeId: spec.id, snapshotId: id, seq: ordered.seq }
        // In the turn in which it is answered.
        resolve(hosts.map((host) => cloned(host, `clone-${round}`, cloneId, source)))
      })
    })
    const made = await Promise.all(asked)
    t.same(made.map((one) => (one.ok ? 'made' : one.error.message)), ['made', 'made', 'made'])
  }
  const none = await cloned(hosts[1]!, 'none', hex(), { volumeId: spec.id, snapshotId: hex(), seq: 1 })
  t.match(none, { ok: false, error: { code: 'clone-source' } }, 'what does not come is refused')
})
