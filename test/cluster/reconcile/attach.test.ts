/** Who may use a volume: attached to nodes, taken over by force only, let go, and not beside a deletion. */
import t from 'tap'
import type { Test } from 'tap'
import { AGE_KEY } from '../../../cluster/store/cluster-age.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import { configKey, encodeConfig } from '../../../cluster/store/volume-configs.ts'
import { volumeKey } from '../../../cluster/store/volume-records.ts'
import type { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { ControlCluster } from './control-cluster.ts'

async function withVolume(t: Test, parameters: Record<string, string> = {}) {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const { volumes } = cluster.elected()[0]!
  const made = await cluster.answered(volumes.createVolume({ name: 'data', sizeBytes: 64 * MIB, parameters }))
  const attach = async (node: string, { mode = '', force = false } = {}) =>
    (await volumes.attachVolume({ name: 'data', node, mode, force })).attach
  const detach = async (node = '') => (await volumes.detachVolume({ name: 'data', node })).attach
  const agreed = async () => (await cluster.config(made.id))!.attach
  return { cluster, volumes, made, attach, detach, agreed }
}

t.test('single: one node at a time, another one by force only, and a generation for each', async (t) => {
  const { volumes, made, attach, detach, agreed } = await withVolume(t)
  t.same(made.attach, { mode: 'open', generation: 1, holders: [] })
  const held = { mode: 'single', generation: 2, holders: [{ node: 'n1', generation: 2 }] }
  t.same(await attach('n1'), held)
  t.same(await attach('n1', { mode: 'single' }), held, 'again: the same generation')
  const refused = await attach('n2').then(() => undefined, (error: HoldfastError) => error)
  t.equal(refused?.code, 'volume-attached')
  t.match(refused?.message, /volume data is attached to n1 in mode single; .*volume detach data.* or add --force/)
  t.same(await attach('n2', { force: true }), {
    mode: 'single', generation: 3, holders: [{ node: 'n2', generation: 3 }],
  })
  t.same(await agreed(), { mode: 'single', generation: 3, holders: { n2: 3 } })
  await t.rejects(detach('n1'), { code: 'volume-not-attached', message: /not attached to "n1"/ })
  t.same(await detach('n2'), { mode: 'open', generation: 4, holders: [] }, 'as it was made')
  await t.rejects(detach(), { code: 'volume-not-attached' })
  await t.rejects(attach('n9'), { code: 'node-not-found' })
  await t.rejects(attach('n1', { mode: 'open' }), { code: 'parameter', message: /single, shared, read-only/ })
  const unknown = { name: 'none', node: 'n1', mode: '', force: false }
  await t.rejects(volumes.attachVolume(unknown), { code: 'volume-not-found' })
})

t.test('shared and read-only: several nodes, each with its own generation', async (t) => {
  const { cluster, volumes, attach, detach } = await withVolume(t)
  await attach('n1', { mode: 'shared' })
  const { holders } = await attach('n2', { mode: 'shared' })
  t.same(holders, [{ node: 'n1', generation: 2 }, { node: 'n2', generation: 3 }])
  await t.rejects(attach('n1', { mode: 'read-only' }), { code: 'volume-attached', message: /to n1, n2 in mode shared/ })
  await t.rejects(detach(), { code: 'parameter', message: /from.*allowed: n1, n2/ }, 'which one is to be said')
  t.same(await detach('n1'), { mode: 'shared', generation: 3, holders: [{ node: 'n2', generation: 3 }] })
  t.same(await attach('n3', { mode: 'read-only', force: true }), {
    mode: 'read-only', generation: 4, holders: [{ node: 'n3', generation: 4 }],
  })
  await cluster.round()
  t.match(await volumes.getVolume({ name: 'data' }), { attach: { mode: 'read-only', holders: [{ node: 'n3' }] } })
})

t.test('no more nodes hold a volume than their copies can tell each other', async (t) => {
  const { cluster, made, attach } = await withVolume(t)
  const holders = Object.fromEntries(Array.from({ length: 1023 }, (_, i) => [`h${i}`, i + 1]))
  const config = (await cluster.config(made.id))!
  const held: typeof config = { ...config, attach: { generation: 1023, mode: 'shared', holders } }
  await cluster.put(configKey(made.id), encodeConfig(held))
  await attach('n1', { mode: 'shared' })
  await t.rejects(attach('n2', { mode: 'shared', force: true }), { code: 'parameter', message: /1024 nodes/ })
})

t.test('an open volume with clients is taken by force only', async (t) => {
  const { cluster, volumes, made, attach } = await withVolume(t)
  cluster.node('n2').fake.sessions = [{ volumeId: made.id, session: '1', generation: 1, snapshot: '' }]
  await cluster.until('it is told', async () => (await volumes.getVolume({ name: 'data' })).frontends.length === 1)
  await t.rejects(attach('n1'), { code: 'volume-in-use' })
  t.equal((await attach('n1', { force: true })).generation, 2)
  // Its connection is still there, and is over: nobody has to ask for it again.
  await cluster.round()
  await volumes.detachVolume({ name: 'data', node: '' })
  t.equal((await attach('n3')).generation, 4)
})

t.test('attaching is answered when the node offers it, and without its answer when it is away', async (t) => {
  const { cluster, attach } = await withVolume(t)
  const asked: unknown[] = []
  const wrapped = cluster.wrapCalls
  cluster.wrapCalls = (calls, from, to) => ({
    ...wrapped(calls, from, to),
    awaitOffer: async (request) => {
      asked.push([to, request.generation])
      return calls.awaitOffer(request)
    },
  })
  // Who decides calls itself directly.
  const [elected] = cluster.elected()
  const [one, other] = [...cluster.nodes.keys()].filter((name) => name !== elected!.name) as [string, string]
  await attach(one)
  t.same(asked, [[one, 2]])
  cluster.node(other).fake.isAlive = false
  t.match(await attach(other, { force: true }), { generation: 3, holders: [{ node: other }] })
  t.same(asked, [[one, 2], [other, 3]])
})

t.test('a volume that is made for single use rests with nobody', async (t) => {
  const { made, attach, detach } = await withVolume(t, { 'attach-mode': 'single' })
  t.same(made.attach, { mode: 'single', generation: 0, holders: [] })
  t.equal((await attach('n3')).generation, 1)
  t.same(await detach(), { mode: 'single', generation: 1, holders: [] })
  t.equal((await attach('n3')).generation, 2, 'back, and new')
})

t.test('what is attached is deleted by force only, and then held by nobody', async (t) => {
  const { cluster, volumes, made, attach, agreed } = await withVolume(t)
  await attach('n1')
  await t.rejects(volumes.deleteVolume({ name: 'data', force: false }), { code: 'volume-attached' })
  t.equal((await volumes.getVolume({ name: 'data' })).id, made.id, 'it is there')
  await volumes.deleteVolume({ name: 'data', force: true, purge: true })
  t.same(await agreed(), { mode: 'open', generation: 3, holders: {} })
  await cluster.until('so it can be purged', async () => (await cluster.config(made.id)) === undefined)
})

t.test('attaching beside a deletion: one of both gives way', async (t) => {
  for (const force of [false, true]) {
    const { cluster, volumes, made, agreed } = await withVolume(t)
    const deleting = new VolumeWishes(new RecordStore(cluster.store))
    let isDeleted: boolean | undefined
    /** The deletion comes between the holder and the look at the record. */
    class Between extends RecordStore {
      override async put(...words: Parameters<RecordStore['put']>): Promise<boolean> {
        const isPut = await super.put(...words)
        if (words[0] === configKey(made.id) && isDeleted === undefined) {
          isDeleted = false
          isDeleted = await deleting.delete('data', { force, keepMs: 60_000 }).then(() => true, () => false)
        }
        return isPut
      }
    }
    const wishes = new VolumeWishes(new Between(cluster.store))
    const attaching = wishes.attach(await wishes.find('data'), { node: 'n1', mode: 'single', force: false }, [])
    if (force) await t.rejects(attaching, { code: 'volume-not-found' }, 'it is in the trash by then')
    else await attaching
    t.equal(isDeleted, force)
    t.same((await agreed()).holders, force ? {} : { n1: 2 })
    if (!force) t.equal((await volumes.getVolume({ name: 'data' })).id, made.id)
  }
})

t.test('letting go ends no attachment that was begun behind it', async (t) => {
  const { cluster, volumes, made: { id }, attach, agreed } = await withVolume(t)
  const held = await attach('n1')
  const late = { name: id, node: 'n1', generation: held.generation - 1 }
  await t.rejects(volumes.detachVolume(late), { code: 'volume-attached', detail: { holders: 'n1' } })
  await t.rejects(volumes.detachVolume({ ...late, node: '', generation: 1 }), { code: 'volume-attached' })
  t.same((await volumes.detachVolume({ ...late, node: '', all: true })).attach, held, 'of nobody older')
  t.same((await volumes.detachVolume({ ...late, generation: held.generation })).attach.holders, [])

  // Without a generation it is the one of the first look.
  await attach('n1')
  const others = new VolumeWishes(new RecordStore(cluster.store))
  const anew = async () => {
    await others.detach(id, { node: 'n1' })
    return others.attach(await others.find(id), { node: 'n1', mode: 'single', force: false }, [])
  }
  let isBetween = false
  class Slow extends RecordStore {
    override async put(...words: Parameters<RecordStore['put']>): Promise<boolean> {
      if (words[0] === configKey(id) && !isBetween) {
        isBetween = true
        await anew()
      }
      return super.put(...words)
    }
  }
  const { was } = await new VolumeWishes(new Slow(cluster.store)).detach(id, { node: 'n1' })
  t.ok(was, 'the attachment that was meant is over')
  const { holders, generation } = await agreed()
  t.same(holders, { n1: generation }, 'who came between keeps it')
})

t.test('an attachment of unknown outcome begins nothing behind a letting go that was answered', async (t) => {
  const { cluster, volumes, made: { id }, agreed } = await withVolume(t, { 'attach-mode': 'single' })
  const follows = async () => ({ generation: (await volumes.getVolume({ name: id })).attach.generation })
  const attach = async (node: string, more: object = {}) =>
    (await volumes.attachVolume({ name: id, node, mode: '', force: false, follows: await follows(), ...more })).attach
  const letGo = (node: string) => volumes.detachVolume({ name: id, node, generation: 0, spend: true })
  /** Its caller has given up, and it goes on behind what the others do. */
  const late = async (between: () => Promise<unknown>, more: object = {}) => {
    const read = await follows()
    await between()
    return volumes.attachVolume({ name: id, node: 'n1', mode: '', force: false, follows: read, ...more })
  }
  const overtaken = { code: 'attachment-overtaken', message: /not attached to n1: its attachments have changed/ }
  const nothingThere = () => t.rejects(letGo('n1'), { code: 'volume-not-attached' })
  await t.rejects(late(nothingThere), overtaken)
  t.same((await agreed()).holders, {})
  const held = await attach('n1')
  t.same(await attach('n1', { follows: { generation: 0 } }), held, 'it holds it: nothing is begun')
  await t.rejects(late(() => letGo('n1')), overtaken)
  await t.rejects(late(() => letGo('n1').catch(() => undefined), { force: true }), overtaken)
  t.same((await agreed()).holders, {})
  // Beside another holder, which keeps what it has.
  await attach('n2')
  const { holders } = await agreed()
  await t.rejects(late(nothingThere, { force: true }), overtaken)
  t.same((await agreed()).holders, holders)
  await t.rejects(late(async () => {
    await nothingThere()
    await volumes.detachVolume({ name: id, node: 'n2' })
  }), overtaken, 'also when the other one went without spending')

  // Between the look and the compare-and-swap.
  const { generation } = await agreed()
  const others = new VolumeWishes(new RecordStore(cluster.store))
  let isBetween = false
  class Slow extends RecordStore {
    override async put(...words: Parameters<RecordStore['put']>): Promise<boolean> {
      if (words[0] === configKey(id) && !isBetween) {
        isBetween = true
        await others.detach(id, { node: 'n1' }, 0, true)
      }
      return super.put(...words)
    }
  }
  const slow = new VolumeWishes(new Slow(cluster.store))
  const wish = { node: 'n1', mode: 'single', force: false, follows: generation } as const
  await t.rejects(slow.attach(await slow.find(id), wish, []), overtaken)
  t.ok(isBetween)
  t.same((await agreed()).holders, {})
  t.equal((await attach('n1')).holders.length, 1, 'who looks again gets it')
})

t.test('letting go spends no generation of an open volume', async (t) => {
  const { cluster, made: { id }, agreed } = await withVolume(t)
  await new VolumeWishes(new RecordStore(cluster.store)).detach(id, { node: 'n1' }, 0, true)
  t.same(await agreed(), { mode: 'open', generation: 1, holders: {} })
})

t.test('an attachment that finds a deletion gives back its own alone', async (t) => {
  const { cluster, made: { id }, agreed } = await withVolume(t)
  const others = new VolumeWishes(new RecordStore(cluster.store))
  let stage = 'begun'
  class Between extends RecordStore {
    override async put(...words: Parameters<RecordStore['put']>): Promise<boolean> {
      const isPut = await super.put(...words)
      if (words[0] === configKey(id) && stage === 'begun') {
        stage = 'deleted'
        await others.delete(id, { force: true, keepMs: 60_000 })
      }
      return isPut
    }

    override async read<T>(key: string, decode: (value: Uint8Array) => T | undefined) {
      const found = await super.read(key, decode)
      if (key === volumeKey(id) && stage === 'deleted') {
        stage = 'restored'
        await others.attach(await others.restore(id), { node: 'n1', mode: 'single', force: false }, [])
      }
      return found
    }
  }
  const wishes = new VolumeWishes(new Between(cluster.store))
  const record = await others.find(id)
  await t.rejects(wishes.attach(record, { node: 'n1', mode: 'single', force: false }, []), { code: 'volume-not-found' })
  const { holders, generation } = await agreed()
  t.same(holders, { n1: generation })
})

t.test('who was elected before lets nobody go, and changes nothing', async (t) => {
  const { cluster, volumes: former, made: { id }, attach, agreed } = await withVolume(t)
  await attach('n1')
  const [first] = cluster.elected()
  cluster.stall(first!.name)
  await cluster.until('another one is elected', () => cluster.elected().length === 1)
  cluster.goOn(first!.name)
  const late = former.detachVolume({ name: id, node: 'n1' })
  await t.rejects(late, { code: 'no-controller' })
  t.same((await agreed()).holders, { n1: 2 })
  const modified = former.modifyVolume({ name: id, parameters: { 'qos-iops': '100' } })
  await t.rejects(modified, { code: 'no-controller' })
  t.same((await cluster.elected().find((one) => one !== first)!.volumes.getVolume({ name: id })).qos.iops, 0)
})

t.test('a deletion that is refused takes back its own entry of the trash alone', async (t) => {
  const { cluster, made: { id }, attach } = await withVolume(t)
  await attach('n1')
  let goOn = () => {}
  const gate = new Promise<void>((resolve) => (goOn = resolve))
  class Forced extends RecordStore {
    override async read<T>(key: string, decode: (value: Uint8Array) => T | undefined) {
      if (key === AGE_KEY) await gate
      return super.read(key, decode)
    }
  }
  // It found the volume before the other one put it into the trash.
  const forced = new VolumeWishes(new Forced(cluster.store)).delete(id, { force: true, keepMs: 60_000 })
  class Refused extends RecordStore {
    override async read<T>(key: string, decode: (value: Uint8Array) => T | undefined) {
      const found = await super.read(key, decode)
      if (key === configKey(id)) {
        goOn()
        await forced
      }
      return found
    }
  }
  const refused = new VolumeWishes(new Refused(cluster.store))
  await t.rejects(refused.delete(id, { force: false, keepMs: 60_000 }), { code: 'volume-attached' })
  const wishes = new VolumeWishes(new RecordStore(cluster.store))
  t.match((await wishes.recordOf(id))?.trash, { isPurging: false })
  t.equal((await wishes.restore(id)).trash, null)
})
