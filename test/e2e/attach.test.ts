/**
 * A volume that is attached to one node, as real processes and commands do it: another node is refused, takes it over
 * by force, and what the first one's clients still write is refused, also while its node stands still and wakes up
 * late. Then shared, read-only, and open again.
 */
// test-timeout-seconds: 180
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import * as P from '../../dataplane/nbd/protocol.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { standStill } from '../stand-still.ts'

const { NONE, EIO, EPERM } = NBD_ERRNO
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function open(t: Test, socket: string, name: string): Promise<RawClient> {
  const client = await RawClient.open(socket, { name })
  t.teardown(() => client.close())
  return client
}

const connect = (t: Test, { paths }: ClusterNodeProcess): Promise<RawClient> => open(t, paths.nbd, 'data')

const attachments = ({ paths }: ClusterNodeProcess): string[] => {
  try {
    return readdirSync(paths.attached)
  } catch {
    return []
  }
}

/** Until that node does not offer it any more; it hears of it a moment after the answer. */
async function refused(t: Test, node: ClusterNodeProcess): Promise<void> {
  for (;;) {
    const error = await connect(t, node).then((client) => client.close(), (reason: unknown) => String(reason))
    if (error === undefined) continue
    return void t.match(error, `GO was refused: ${P.NBD_REP_ERR_UNKNOWN}`, `${node.name} does not offer it`)
  }
}

const write = async (client: RawClient, fill: number): Promise<number> =>
  (await client.ask({ type: P.NBD_CMD_WRITE, offset: 0, data: Buffer.alloc(4096, fill) })).errno

const read = async (client: RawClient): Promise<number> =>
  (await client.ask({ type: P.NBD_CMD_READ, offset: 0, length: 4096 })).data[0]!

t.test('attached, taken over, shared, read-only, open', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  await cluster.start()
  const api = (node: ClusterNodeProcess) => {
    const client = connectControlApi({ socketPath: node.paths.api, source: 'the test' })
    t.teardown(() => client.close())
    return client
  }
  const say = async (node: ClusterNodeProcess, ...words: string[]) => {
    const { code, stdout, stderr } = await holdfast([...words, '--endpoint', node.paths.api])
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  const anyApi = api(cluster.nodes[0]!)
  while ((await anyApi.listNodes()).nodes.filter(({ disks }) => disks.length === 1).length < 3) await sleep(50)
  const made = { sizeBytes: 16 * MIB, parameters: { replicas: '2' } }
  const { copies, id } = await anyApi.createVolume({ name: 'data', ...made })
  await anyApi.createVolume({ name: 'another', ...made })
  // Nobody needs the one that stands still: it does not lead, and does not decide.
  const leader = copies.find(({ role }) => role === 'primary')!.node
  const decides = await cluster.elected()
  const a = cluster.nodes.find(({ name }) => name !== leader && name !== decides)!
  const [b, other] = cluster.nodes.filter((node) => node !== a) as [ClusterNodeProcess, ClusterNodeProcess]
  const viaA = api(a)
  const view = (): Promise<Volume> => viaA.getVolume({ name: 'data' })
  const until = async (isSo: (volume: Volume) => boolean): Promise<Volume> => {
    for (;;) {
      const volume = await view()
      if (isSo(volume)) return volume
      await sleep(50)
    }
  }
  await until(({ health }) => health === 'healthy')

  t.same(cluster.nodes.map(attachments), [[], [], []], 'what is open has no holder')
  // Asked at another node: it is there with the answer all the same.
  t.match(await say(b, 'volume', 'attach', 'data', '--to', a.name), new RegExp(`single, ${a.name} \\(generation 2\\)`))
  t.same(cluster.nodes.map((node) => attachments(node).length), cluster.nodes.map((node) => Number(node === a)))
  const own = path.join(a.paths.attached, `${id}.2`)
  t.equal(statSync(own).mode & 0o777, 0o600)
  for (const name of ['', id, 'data']) t.equal(await read(await open(t, own, name)), 0, `by the name ${name}`)
  for (const name of ['another', 'data@x', 'nothing']) {
    await t.rejects(open(t, own, name), new RegExp(`GO was refused: ${P.NBD_REP_ERR_UNKNOWN}`), `${name} is not there`)
  }
  const held = await open(t, own, id)
  const first = await connect(t, a)
  t.equal(await write(first, 1), NONE)
  await refused(t, b)
  const seen = await until(({ frontends }) => frontends.length === 5)
  t.same(seen.frontends.map(({ node, generation }) => `${node} ${generation}`), Array(5).fill(`${a.name} 2`))
  t.match(seen.attach, { mode: 'single', generation: 2, holders: [{ node: a.name, generation: 2 }] })
  t.match(seen.nbd, [/data/])
  t.same((await api(b).getVolume({ name: 'data' })).nbd, [], 'and nobody else shows it')
  const denied = await say(b, 'volume', 'attach', 'data', '--to', b.name)
  t.match(denied, new RegExp(`^1: .*attached to ${a.name} in mode single`))

  // Its node stands still, with a write under way, and is not asked.
  await standStill(a.pid)
  const late = write(first, 2)
  const taken = await say(b, 'volume', 'attach', 'data', '--to', b.name, '--force')
  t.match(taken, new RegExp(`single, ${b.name} \\(generation 3\\)\n +nbd\\+unix:`))
  const second = await connect(t, b)
  t.equal(await read(second), 1)
  t.equal(await write(second, 3), NONE)
  process.kill(a.pid, 'SIGCONT')
  t.equal(await late, EIO, 'what was written late is refused')
  t.equal(await write(first, 4), EIO, 'for ever')
  t.equal(await write(held, 4), EIO, 'also by the socket of the attachment')
  t.notOk(first.closed)
  await refused(t, a)
  t.same([attachments(a), attachments(b)], [[], [`${id}.3`]], 'a socket of the attachment that is in force, no other')
  await t.rejects(open(t, own, id), { code: 'ENOENT' })
  t.equal(await read(second), 3, 'and nothing of it is there')
  const told = a.log().filter(({ message }) => message === 'clients of a volume get errors until they connect anew')
  t.match(told, [{ why: /volume data is attached elsewhere, or anew; attach it again where it is to be used/ }])

  // A daemon that starts again holds what it held.
  const back = b.ready()
  b.killDaemon()
  await back
  t.match(await say(b, 'volume', 'attach', 'data', '--to', b.name), /generation 3/, 'the same node, the same one')
  t.equal(await read(await open(t, path.join(b.paths.attached, `${id}.3`), '')), 3, 'its socket as well')
  const third = await connect(t, b)
  t.equal(await write(third, 5), NONE)

  t.match(await say(b, 'volume', 'detach', 'data'), /volume data is detached; it is attached now: open, generation 4/)
  t.equal(await write(third, 6), EIO)
  t.match(await say(b, 'volume', 'attach', 'data', '--to', a.name, '--mode', 'shared'), /generation 5/)
  t.match(await say(b, 'volume', 'attach', 'data', '--to', b.name, '--mode', 'shared'), /generation 6/)
  t.same([attachments(a), attachments(b)], [[`${id}.5`], [`${id}.6`]], 'each has its own')
  const [sharedA, sharedB] = [await connect(t, a), await connect(t, b)]
  t.equal(await write(sharedA, 7), NONE)
  t.equal(await read(sharedB), 7)
  t.match(await say(b, 'volume', 'detach', 'data', '--from', b.name), /shared, /)
  t.equal(await write(sharedB, 8), EIO)
  t.equal(await write(sharedA, 9), NONE, 'the other one is not touched')

  t.match(await say(a, 'volume', 'attach', 'data', '--to', a.name, '--mode', 'read-only'), /^1: .*in mode shared/)
  t.match(await say(a, 'volume', 'detach', 'data'), /open/)
  t.match(await say(a, 'volume', 'attach', 'data', '--to', a.name, '--mode', 'read-only'), /read-only, n/)
  const reader = await connect(t, a)
  t.equal(await read(reader), 9)
  t.equal(await write(reader, 10), EPERM)

  t.match(await say(a, 'volume', 'detach', 'data'), /open/)
  for (;;) {
    const open = await connect(t, other).catch(() => undefined)
    if (open === undefined) {
      await sleep(20)
      continue
    }
    t.equal(await read(open), 9)
    t.equal(await write(open, 11), NONE, 'anybody again')
    break
  }
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
