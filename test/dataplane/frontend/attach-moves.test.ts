/**
 * A volume that goes from node to node under load, over real disks and sockets: writers of both nodes never stop
 * trying. What one of them wrote and then reads, under one attachment, is its own: nothing of an older attachment comes
 * between.
 */
import t from 'tap'
import { KeyFolder } from '../../../cluster/keys/key-folder.ts'
import { NodeKeys } from '../../../cluster/keys/node-keys.ts'
import type { Test } from 'tap'
import { requireCipher } from '../../../dataplane/cipher/libcrypto.ts'
import { OfferedVolumes } from '../../../dataplane/frontend/offered-volumes.ts'
import { NBD_ERRNO } from '../../../engine/errors.ts'
import { withHolder } from '../../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import { Device, configOf, hex, specOf, startHosts, until } from '../copy/hosts.ts'
import type { Host } from '../copy/hosts.ts'
import { MemoryConfigs } from '../copy/memory-configs.ts'
import { Random } from '../../sim/random.ts'

const MOVES = 40
const WRITERS = 6
/** For so long a node may not know that it holds the volume no more; its primary does. */
const LATE_MS = 80
const { NONE } = NBD_ERRNO

/** What each node is told of configurations comes late, some later than others. */
class LateHints extends MemoryConfigs {
  readonly #random = new Random(7)

  override watch(hint: (value: VersionedConfig) => void): () => void {
    let isOver = false
    const unwatch = super.watch((value) => {
      setTimeout(() => !isOver && hint(value), this.#random.int(LATE_MS))
    })
    return () => {
      isOver = true
      unwatch()
    }
  }
}

async function offered(t: Test, host: Host, spec: ReturnType<typeof specOf>, configs: MemoryConfigs, index: number) {
  const volumes = new OfferedVolumes({
    node: host.node, configs, frontends: host.worker.frontends, startNumber: index + 1, endSessions: () => undefined,
    keys: new NodeKeys({ node: 'n1', folder: new KeyFolder('f0'.repeat(16)), cluster: undefined, requireCipher }),
    log: { event: () => undefined },
  })
  t.teardown(() => volumes.close())
  await new Promise<void>((resolve, reject) =>
    volumes.offer({ spec, ioTimeoutMs: 0 }, (done) => (done.ok ? resolve() : reject(done.error))))
  return volumes
}

t.test('attached elsewhere again and again, with writes under way', async (t) => {
  const configs = new LateHints()
  const hosts = await startHosts(t, ['n1', 'n2', 'n3'], configs)
  const spec = specOf()
  const copyIds = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, copyIds[i]!])), 'single'))
  await Promise.all(hosts.map((host, i) => host.create(spec, copyIds[i]!)))
  await until(() => hosts[0]!.role(spec.id) === 'primary')
  const users = [hosts[1]!, hosts[2]!]
  const volumes = await Promise.all(users.map((host, i) => offered(t, host, spec, configs, i)))

  let isOver = false
  let stamp = 0
  const served = users.map(() => 0)
  const refused = users.map(() => 0)
  const wrong: string[] = []
  const write = async (user: number, block: number): Promise<void> => {
    const into = Buffer.alloc(4096)
    while (!isOver) {
      const found = volumes[user]!.device('v')
      if (found === undefined) {
        await new Promise((resolve) => setImmediate(resolve))
        continue
      }
      const device = new Device(found)
      let errno: number = NONE
      while (!isOver && errno === NONE) {
        const own = ++stamp
        const data = Buffer.alloc(4096)
        data.writeDoubleLE(own)
        errno = await device.write(block * 4096, data)
        if (errno === NONE) errno = await device.read(block * 4096, into)
        if (errno !== NONE) refused[user]!++
        else {
          served[user]!++
          const read = into.readDoubleLE()
          if (read !== own) wrong.push(`block ${block}: generation ${found.generation} wrote ${own} and read ${read}`)
        }
      }
      found.disconnected()
    }
  }
  const writers = users.flatMap((_, user) => Array.from({ length: WRITERS }, (__, block) => write(user, block)))
  for (let move = 0; move < MOVES; move++) {
    const to = move % users.length
    configs.change(spec.id, (config) => withHolder(config, users[to]!.node, 'single', hex()))
    const before = served[to]!
    // Some moves come while the one before is still under way.
    if (move % 3 > 0) await until(() => served[to]! > before + WRITERS)
  }
  isOver = true
  const last = (MOVES - 1) % users.length
  await Promise.all(writers)
  t.same(wrong, [])
  t.ok(served.every((count) => count > WRITERS), `both were served: ${served.join(', ')} times`)
  t.ok(refused.every((count) => count > 0), `and refused: ${refused.join(', ')} times`)
  t.equal(configs.get(spec.id).attach.holders[users[last]!.node], 1 + MOVES)
})
