/**
 * Which attachment a client connection gets, and what becomes of it: a primary that is played here says that a session
 * broke or that somebody else took its place; a configuration says who may attach. What is over stays over for the
 * connections that used it, and the next connection works.
 */
import t from 'tap'
import { KeyFolder } from '../../../cluster/keys/key-folder.ts'
import { NodeKeys } from '../../../cluster/keys/node-keys.ts'
import type { Test } from 'tap'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { requireCipher } from '../../../dataplane/cipher/libcrypto.ts'
import { clock } from '../../../dataplane/clock.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import { TurnLoop } from '../../../dataplane/copy/turn-loop.ts'
import { WakeTimer } from '../../../dataplane/copy/wake-timer.ts'
import { FrontendHost } from '../../../dataplane/frontend/frontend-host.ts'
import { OfferedVolumes } from '../../../dataplane/frontend/offered-volumes.ts'
import { NBD_ERRNO } from '../../../engine/errors.ts'
import { withHolder, withHolderAnew, withoutHolder } from '../../../engine/replication/configuration.ts'
import type { AttachMode, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { FrontendMessage, FrontendResult } from '../../../engine/replication/messages.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import type { BlockDevice } from '../../../engine/volume/block-device.ts'
import { payloadOf } from '../../../engine/volume/copy-headers.ts'
import { configOf, hex, specOf, until } from '../copy/hosts.ts'
import { MemoryConfigs } from '../copy/memory-configs.ts'

const { NONE, EIO, ESHUTDOWN } = NBD_ERRNO
const BLOCK = Buffer.alloc(4096, 1)

/** The copy that leads: what it serves follows from the configuration, and from which generation broke last. */
class PlayedPrimary {
  brokenGeneration = 0
  /** What each request is answered with. */
  versions: BlockVersion[] = []
  /** Who was served: generations, each once, in order. */
  readonly served: number[] = []
  readonly incarnations = new Set<number>()
  readonly configs: MemoryConfigs
  readonly volumeId: string

  constructor(configs: MemoryConfigs, volumeId: string) {
    this.configs = configs
    this.volumeId = volumeId
  }

  answer(node: string, message: FrontendMessage, tell: (message: FrontendMessage) => void): void {
    if (message.type !== 'open' && message.type !== 'request') return
    const { generation, incarnation } = message.type === 'open' ? message.session : message.id
    const id = message.type === 'open' ? { generation, incarnation, request: 0, part: 0, parts: 1 } : message.id
    const { attach, epoch } = this.configs.get(this.volumeId)
    const reply = (result: FrontendResult) => tell({ type: 'reply', id, epoch, result })
    if (generation <= this.brokenGeneration) return reply({ ok: false, code: 'session-broken' })
    if (generation > attach.generation) return
    const given = attach.mode === 'open' ? attach.generation : attach.holders[node]
    if (given !== generation) return reply({ ok: false, code: 'stale-session' })
    if (message.type === 'request') return reply({ ok: true, versions: this.versions })
    if (this.served.at(-1) !== generation) this.served.push(generation)
    this.incarnations.add(incarnation)
    tell({ type: 'opened', session: message.session, epoch, sizeBytes: 64 * 2 ** 20 })
  }
}

interface Given {
  mode?: AttachMode
  configs?: MemoryConfigs
}

async function offered(t: Test, { mode = 'open', configs = new MemoryConfigs() }: Given = {}) {
  const spec = specOf()
  configs.put({ ...configOf(spec.id, { p: hex() }, mode) })
  if (mode !== 'open') configs.change(spec.id, (config) => withHolder(config, 'n1', mode, hex()))
  const primary = new PlayedPrimary(configs, spec.id)
  const loop = new TurnLoop(clock)
  const timer = new WakeTimer(loop)
  const ended: string[] = []
  const logged: string[] = []
  const frontends = new FrontendHost({
    self: { node: 'n1' }, loop, timer, configs, pool: new SlabPool(), limits: { resendMs: 20, retryMs: 5 },
    askHere: () => undefined,
    askPeer: (to, volumeId, message) =>
      primary.answer('n1', message, (answer) => frontends.tell(volumeId, to, answer)),
  })
  const volumes = new OfferedVolumes({
    node: 'n1', configs, frontends, startNumber: 3, endSessions: (name) => ended.push(name),
    keys: new NodeKeys({ node: 'n1', folder: new KeyFolder('f0'.repeat(16)), cluster: undefined, requireCipher }),
    log: { event: (_, message, { why }) => logged.push(`${message}: ${why}`) },
  })
  t.teardown(() => {
    volumes.close()
    frontends.close()
    timer.stop()
    loop.stop()
  })
  const offer = { spec, ioTimeoutMs: 0 }
  await new Promise<void>((resolve, reject) =>
    volumes.offer(offer, (done) => (done.ok ? resolve() : reject(done.error))))
  const change = (next: (config: VolumeConfig) => VolumeConfig) => configs.change(spec.id, next)
  const attach = () => configs.get(spec.id).attach
  const connect = () => volumes.device('v')
  return { configs, spec, primary, volumes, ended, logged, change, attach, connect }
}

const write = (device: BlockDevice | undefined): Promise<number> =>
  new Promise((resolve) => device!.write(0, BLOCK, false, resolve))

t.test('a read that is answered with other blocks fails, and shows nothing of what lay in its memory', async (t) => {
  const { primary, connect, logged } = await offered(t)
  const version = (lba: number): BlockVersion =>
    ({ epoch: 1, seq: 1, lba, kind: 'write', payload: payloadOf(crc32c, BLOCK) })
  const device = connect()!
  const read = (into: Uint8Array) => new Promise<number>((resolve) => device.read(0, into, resolve))
  for (const [lbas, errno, bytes] of [[[0, 1], NONE, 1], [[0, 0], EIO, 0], [[0, 999], EIO, 0]] as const) {
    const into = new Uint8Array(8192).fill(255)
    primary.versions = lbas.map(version)
    t.equal(await read(into), errno, lbas.join())
    t.ok(into.every((byte) => byte === bytes))
  }
  const told = logged.filter((one) => JSON.stringify(one).includes('a block that was not asked for'))
  t.equal(told.length, 1, 'one in a while is told')
})

t.test('open: a broken session fails what is connected for good, and the next connection works', async (t) => {
  const { primary, connect, attach, ended, logged } = await offered(t)
  const first = connect()
  const second = connect()
  t.equal(await write(first), NONE)
  primary.brokenGeneration = 1
  t.equal(await write(first), EIO)
  const third = connect()
  t.equal(await write(third), NONE, 'a new connection is a new attachment')
  t.match(attach(), { generation: 2, mode: 'open', holders: {} })
  t.equal(await write(first), EIO, 'the old one never goes on')
  t.equal(await write(second), EIO, 'also who had asked nothing')
  t.same(primary.served, [1, 2])
  t.same(ended, [], 'nobody is disconnected: the error is the message')
  t.equal(logged.length, 1)
  t.match(logged[0], /may lack writes that were answered: all its copies lost power/)
})

t.test('open: a connection that comes while the cluster store is away waits for the new generation', async (t) => {
  const { primary, connect, attach, configs } = await offered(t)
  const first = connect()
  t.equal(await write(first), NONE)
  configs.isAway = true
  primary.brokenGeneration = 1
  t.equal(await write(first), EIO)
  const held = write(connect())
  let isAnswered = false
  void held.then(() => (isAnswered = true))
  // Long enough for the frontend to have asked the primary again and again.
  const asked = performance.now()
  await until(() => performance.now() - asked > 100)
  t.notOk(isAnswered, 'held, not failed')
  t.equal(attach().generation, 1)
  configs.isAway = false
  t.equal(await held, NONE)
  t.equal(attach().generation, 2)
  t.equal(await write(first), EIO)
})

t.test('open: of two nodes that hear it one makes the generation, and both use it', async (t) => {
  const configs = new MemoryConfigs()
  const here = await offered(t, { configs })
  const { primary, connect, attach, change } = here
  const first = connect()
  t.equal(await write(first), NONE)
  primary.brokenGeneration = 1
  // Another node was faster, and it is heard of before our own session is told.
  change((config) => withHolderAnew(config, 'n2', hex()))
  await until(() => here.logged.length > 0)
  t.equal(await write(first), EIO)
  t.equal(await write(connect()), NONE)
  t.equal(attach().generation, 2, 'one for both')
  t.equal(await write(first), EIO)
})

t.test('open: an unknown outcome and a lost swap end in one generation', async (t) => {
  class Contended extends MemoryConfigs {
    swaps = 0
    override compareAndSwap(...[id, version, config, ended]: Parameters<MemoryConfigs['compareAndSwap']>): void {
      const swap = ++this.swaps
      // First somebody else changes something; then it happens and nobody says so.
      if (swap === 1) this.change(id, (now) => ({ ...now, minInSync: 1, nonce: hex() }))
      super.compareAndSwap(id, version, config, (cas) => ended(swap === 2 ? { outcome: 'unknown' } : cas))
    }
  }
  const configs = new Contended()
  const { primary, connect, attach } = await offered(t, { configs })
  t.equal(await write(connect()), NONE)
  primary.brokenGeneration = 1
  const old = connect()
  t.equal(await write(old), EIO)
  t.equal(await write(connect()), NONE)
  await until(() => attach().generation === 2 && configs.swaps === 2)
  t.equal(await write(connect()), NONE)
  t.equal(attach().generation, 2)
})

t.test('open: it can break again', async (t) => {
  const { primary, connect, attach } = await offered(t)
  for (const generation of [1, 2, 3]) {
    const device = connect()
    t.equal(await write(device), NONE)
    t.equal(attach().generation, generation)
    primary.brokenGeneration = generation
    t.equal(await write(device), EIO)
  }
  t.equal(primary.incarnations.size, 3, 'no session is used twice')
})

t.test('single: a broken session stays broken until its holder lets go and takes it anew', async (t) => {
  const { primary, connect, attach, change } = await offered(t, { mode: 'single' })
  const first = connect()
  t.equal(await write(first), NONE)
  primary.brokenGeneration = attach().generation
  t.equal(await write(first), EIO)
  for (let i = 0; i < 5; i++) t.equal(await write(connect()), EIO, 'nobody makes a generation behind its back')
  t.equal(primary.incarnations.size, 1, 'and no session is spent on it')
  change((config) => withHolder(withoutHolder(config, 'n1', hex()), 'n1', 'single', hex()))
  await until(() => attach().generation === 3)
  let last: number = EIO
  await until(() => {
    void write(connect()).then((errno) => (last = errno))
    return last === NONE
  })
  t.equal(await write(first), EIO)
})

t.test('single: who holds it no more gets errors at once, and no new connection', async (t) => {
  const { connect, change, ended, logged, primary } = await offered(t, { mode: 'single' })
  const first = connect()
  const idle = connect()
  t.equal(await write(first), NONE)
  change((config) => withHolder(config, 'n2', 'single', hex()))
  await until(() => connect() === undefined)
  t.equal(await write(first), EIO)
  t.equal(await write(idle), EIO)
  t.same(ended, [], 'its host hears it as an error, not as a connection that went away')
  t.match(logged[0], /attached elsewhere/)
  change((config) => withHolder(config, 'n1', 'single', hex()))
  await until(() => connect() !== undefined)
  t.equal(await write(connect()), NONE, 'held again, under a generation of its own')
  t.equal(await write(first), EIO, 'and what is over stays over')
  t.same(primary.served, [2, 4])
})

t.test('single: a primary that knows first is believed, before the configuration is heard of', async (t) => {
  class Silent extends MemoryConfigs {
    override watch(): () => void {
      return () => undefined
    }
  }
  const configs = new Silent()
  const { connect, change } = await offered(t, { mode: 'single', configs })
  const first = connect()
  t.equal(await write(first), NONE)
  change((config) => withHolder(config, 'n2', 'single', hex()))
  t.equal(await write(first), EIO, 'the primary says so')
  await until(() => connect() === undefined)
})

t.test('single: attached again and again, each under its generation, without end', async (t) => {
  const { connect, change, attach } = await offered(t, { mode: 'single' })
  for (let i = 0; i < 300; i++) {
    change((config) => withHolder(withoutHolder(config, 'n1', hex()), 'n1', 'single', hex()))
    const { generation } = attach()
    await until(() => connect()?.generation === generation)
    if (i % 50 === 0) t.equal(await write(connect()), NONE)
  }
})

t.test('read-only is what the configuration says, not what was offered before', async (t) => {
  const { connect, change } = await offered(t)
  t.equal(connect()!.readOnly, false)
  change((config) => withHolder(config, 'n1', 'read-only', hex()))
  await until(() => connect()?.readOnly === true)
})

t.test('a volume that is withdrawn ends its clients', async (t) => {
  const { connect, volumes, spec, ended } = await offered(t)
  const first = connect()
  t.equal(await write(first), NONE)
  volumes.withdraw(spec.id)
  t.same(ended, ['v'])
  t.equal(await write(first), ESHUTDOWN)
  t.equal(connect(), undefined)
})
