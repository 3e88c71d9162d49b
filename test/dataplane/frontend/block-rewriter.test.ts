/**
 * Risk: what a user writes while blocks are written anew under another data key is undone; a block is left under a
 * former one; holes become blocks; a pass ends although it could not read something.
 */
import t from 'tap'
import type { Test } from 'tap'
import { newDataKey } from '../../../cluster/keys/data-key.ts'
import type { UnwrappedKeys } from '../../../cluster/keys/data-key.ts'
import { BlockRewriter } from '../../../dataplane/frontend/block-rewriter.ts'
import type { HostedFrontend } from '../../../dataplane/frontend/hosted-frontend.ts'
import { Secret } from '../../../engine/secret.ts'
import { BLOCK_BYTES, MIB } from '../../../engine/units.ts'
import { blobsOf } from '../../../engine/volume/copy-headers.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import { Random } from '../../sim/random.ts'
import { configOf, hex, specOf, startHosts, until } from '../copy/hosts.ts'
import { MemoryConfigs } from '../copy/memory-configs.ts'

const SIZE_BYTES = 2 * MIB
const BLOCKS = SIZE_BYTES / BLOCK_BYTES
const WISH = '1'.repeat(16)
const DATA_KEYS = [newDataKey(), newDataKey()]

/** Of an attachment that knows so many data keys of a volume. */
function keysOf(volumeId: string, count: number, writesUnder = count): UnwrappedKeys {
  const keys = DATA_KEYS.slice(0, count).map((key) => ({ volumeId, dataKey: new Secret(key.reveal().slice()) }))
  return { cipher: 'aes-256-gcm', keys, writesUnder, newestFrom: count }
}

/** Two frontends of a volume on n1: one on each node. */
async function begin(t: Test) {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const spec = specOf({ sizeBytes: SIZE_BYTES, replicas: 0 })
  const copyId = hex()
  configs.put(configOf(spec.id, { n1: copyId }, 'open'))
  await hosts[0]!.create(spec, copyId)
  await until(() => hosts[0]!.role(spec.id) === 'primary')
  const attach = (at: number): HostedFrontend =>
    hosts[at]!.worker.frontends.attach({
      volumeId: spec.id, sizeBytes: SIZE_BYTES, blockSizeBytes: BLOCK_BYTES, description: 'v', mode: 'write',
      compression: 'lz4', ioTimeoutMs: 0, keys: keysOf(spec.id, 1),
      session: { generation: configs.get(spec.id).attach.generation, incarnation: 1 + at },
    })
  return { spec, n1: attach(0), n2: attach(1) }
}

const errnoOf = (ask: (done: (errno: number) => void) => void): Promise<number> => new Promise(ask)

const write = (one: HostedFrontend, offsetBytes: number, data: Uint8Array): Promise<number> => {
  const operation = { type: 'write' as const, offsetBytes, lengthBytes: data.length, data, fua: false }
  return errnoOf((done) => one.request(1000, operation, done))
}
const trim = (one: HostedFrontend, offsetBytes: number, lengthBytes: number): Promise<number> =>
  errnoOf((done) => one.request(1000, { type: 'trim', offsetBytes, lengthBytes, fua: false }, done))

async function read(one: HostedFrontend): Promise<Buffer> {
  const into = Buffer.alloc(SIZE_BYTES)
  const operation = { type: 'read' as const, offsetBytes: 0, lengthBytes: SIZE_BYTES }
  t.equal(await errnoOf((done) => one.request(1000, operation, done, into)), 0)
  return into
}

/** Key number of each block that is none of a hole. */
async function keyNumbers(one: HostedFrontend): Promise<Map<number, number>> {
  let found: readonly BlockVersion[] = []
  const operation = { type: 'read' as const, offsetBytes: 0, lengthBytes: SIZE_BYTES }
  await errnoOf((done) => one.request(1000, operation, done, undefined, (versions) => void (found = versions)))
  return new Map(found.filter(({ payload }) => payload !== undefined).map(({ lba, payload }) =>
    [lba, Buffer.from(blobsOf(payload!).bytes).readUInt32LE(4)]))
}

t.test('under load, from two frontends: all is under the newest key, and as its users wrote it', async (t) => {
  const { spec, n1, n2 } = await begin(t)
  const random = new Random(11)
  const model = Buffer.alloc(SIZE_BYTES)
  const change = async (one: HostedFrontend, firstByte: number, bytes: number): Promise<void> => {
    const length = random.between(1, 30_000)
    const offset = firstByte + random.int(bytes - length)
    if (random.chance(0.2)) {
      t.equal(await trim(one, offset, length), 0)
      model.fill(0, offset, offset + length)
      return
    }
    const data = Buffer.alloc(length)
    for (let at = 0; at < length; at += 64) data.fill(random.int(256), at, Math.min(at + 64, length))
    t.equal(await write(one, offset, data), 0)
    data.copy(model, offset)
  }
  for (let i = 0; i < 80; i++) await change(n1, 0, SIZE_BYTES)
  t.same(new Set((await keyNumbers(n1)).values()), new Set([1]))

  for (const one of [n1, n2]) one.renewKeys(keysOf(spec.id, 2, 1))
  await change(n1, 0, SIZE_BYTES)
  t.same(new Set((await keyNumbers(n1)).values()), new Set([1]), 'known, and not written under')
  t.equal(n1.rewriteFormer(WISH), undefined, 'what is rewritten now would stay under the former key')
  for (const one of [n1, n2]) one.renewKeys(keysOf(spec.id, 2))
  const pass = n1.rewriteFormer(WISH)!
  // Halves of their own, so that the array tells what each block has to be.
  const users = [n1, n2].map(async (one, half) => {
    for (let i = 0; i < 60 || pass.lba < pass.endLba; i++)
      await change(one, half * SIZE_BYTES / 2, SIZE_BYTES / 2)
  })
  await until(() => pass.isDone)
  await Promise.all(users)
  const forAnother = n1.rewriteFormer('2'.repeat(16))!
  t.not(forAnother, pass, 'what was done before another wish is not done for that')
  t.notOk(forAnother.isDone)
  await until(() => forAnother.isDone)
  t.equal(n1.rewriteFormer('2'.repeat(16)), forAnother, 'it was made')
  t.ok(pass.rewritten > 20, `${pass.rewritten} blocks`)
  t.same(new Set((await keyNumbers(n1)).values()), new Set([2]))
  for (const one of [n1, n2]) t.ok((await read(one)).equals(model))

  const before = await keyNumbers(n1)
  n2.renewKeys(keysOf(spec.id, 2))
  const again = n2.rewriteFormer(WISH)!
  await until(() => again.isDone)
  t.equal(again.rewritten, 0, 'a second pass finds nothing')
  t.same(await keyNumbers(n1), before, 'holes are holes')
  n1.state.failed = 'session-broken'
  t.equal(n1.rewriteFormer(WISH), undefined, 'nothing is asked of a session that broke')
  n1.state.failed = undefined
  n1.end()
  t.equal(n1.rewriteFormer(WISH), undefined)
})

const clock = { nowMs: () => 0, after: (_: number, run: () => void) => (setImmediate(run), { cancel: () => {} }) }
const versionAt = (lba: number): BlockVersion => ({ epoch: 1, seq: 1, lba, kind: 'write', payload: undefined })

t.test('what cannot be read is passed by, and the pass has not done it', async (t) => {
  const bad = new Set([3, 40, 41])
  const rewritten: number[] = []
  const pass = new BlockRewriter({
    sizeBytes: () => BLOCKS * BLOCK_BYTES,
    hasFailed: () => false,
    isBusy: () => true,
    look: (lba, count, seen) => {
      const lbas = Array.from({ length: count }, (_, i) => lba + i)
      seen(lbas.some((one) => bad.has(one)) ? 5 : 0, lbas.map(versionAt))
    },
    isFormer: ({ lba }) => lba % 2 === 0,
    rewrite: (lba, done) => {
      rewritten.push(lba)
      setImmediate(() => done(lba === 100 ? 5 : 0))
    },
  }, clock)
  await until(() => pass.lba === pass.endLba)
  t.same(rewritten, Array.from({ length: BLOCKS / 2 }, (_, i) => 2 * i).filter((lba) => !bad.has(lba)))
  t.equal(pass.damaged, 4)
  t.notOk(pass.isDone)
})

t.test('it ends with what it goes over: a session that broke, or what a shrink left', async (t) => {
  for (const how of ['broken', 'broken while it writes', 'shrunk', 'shrunk to before'] as const) {
    let [hasFailed, sizeBytes, asked] = [false, SIZE_BYTES, 0]
    const isOut = (lba: number): boolean => hasFailed || (lba + 1) * BLOCK_BYTES > sizeBytes
    const pass = new BlockRewriter({
      sizeBytes: () => sizeBytes,
      hasFailed: () => hasFailed,
      isBusy: () => false,
      look: (lba, count, seen) => {
        asked++
        if (lba >= 64 && how === 'broken') hasFailed = true
        if (lba >= 64 && how === 'shrunk') sizeBytes = 70 * BLOCK_BYTES
        if (lba >= 64 && how === 'shrunk to before') sizeBytes = 10 * BLOCK_BYTES
        const lbas = Array.from({ length: count }, (_, i) => lba + i)
        setImmediate(() => seen(lbas.some(isOut) ? 5 : 0, lbas.map(versionAt)))
      },
      isFormer: () => true,
      rewrite: (lba, done) => {
        asked++
        if (lba >= 64 && how === 'broken while it writes') hasFailed = true
        setImmediate(() => done(isOut(lba) ? 5 : 0))
      },
    }, clock)
    let before = -1
    while (before !== asked) {
      before = asked
      for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    }
    t.equal(pass.damaged, 0, how)
    t.equal(pass.isDone, how.startsWith('shrunk'), how)
    t.ok(pass.rewritten >= 64 && pass.rewritten <= 71, `${how}: ${pass.rewritten}`)
  }
})
