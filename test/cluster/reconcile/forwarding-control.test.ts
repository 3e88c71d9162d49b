/**
 * What is asked of any node and answered by whoever is elected: asked again when nothing can have been begun, as when
 * the elected daemon started again on another port, and never else.
 */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import { ForwardingControl } from '../../../cluster/reconcile/forwarding-control.ts'
import { HoldfastError } from '../../../engine/errors.ts'

/** Who is elected is known by its former address for some looks, and then by its new one. */
function control(reason: string): { control: ForwardingControl; asked: string[] } {
  const asked: string[] = []
  const connect = (_: string, api: string): ControlClient => {
    const purgeVolume = async (): Promise<object> => {
      asked.push(api)
      if (api === 'former') throw new HoldfastError('unreachable', { endpoint: api, source: 'elected', reason })
      return {}
    }
    return { purgeVolume, rekeyVolume: purgeVolume, close: () => {} } as unknown as ControlClient
  }
  const leader = () => ({ node: 'n2', api: asked.length < 2 ? 'former' : 'now', instance: '' })
  const options = {
    node: 'n1', leader, connect, storeProblem: () => undefined, nbdOf: () => [],
  } as unknown as ConstructorParameters<typeof ForwardingControl>[0]
  return { control: new ForwardingControl(options), asked }
}

t.test('nobody listens where the elected one was: it is looked for', async (t) => {
  const { control: one, asked } = control('nothing listens there any more')
  t.same(await one.purgeVolume({ name: 'v' }), {})
  t.same(asked, ['former', 'former', 'now'])
})

t.test('what may have been begun is not asked for again', async (t) => {
  const { control: one, asked } = control('ECONNRESET')
  await t.rejects(one.purgeVolume({ name: 'v' }), { code: 'unreachable' })
  t.same(asked, ['former'])
})

t.test('the step of a rekey is asked for again: it is what is so, and due', async (t) => {
  const { control: one, asked } = control('ECONNRESET')
  t.same(await one.rekeyVolume({ name: 'v' }), {})
  t.same(asked, ['former', 'former', 'now'])
})

/** Each try of who is elected ends so; what was asked of it. */
function tries(...ends: Array<'done' | HoldfastError>) {
  const asked: Array<{ method: string; id: string }> = []
  const answer = (method: string) => async ({ id = '' }: { id?: string }) => {
    asked.push({ method, id })
    const end = method === 'get' ? 'done' : ends.shift() ?? 'done'
    if (end !== 'done') throw end
    return { id: 'f'.repeat(32) }
  }
  const local = {
    createSnapshot: answer('create'), deleteSnapshot: answer('delete'), getSnapshot: answer('get'),
  }
  const options = {
    node: 'n1', local, leader: () => ({ node: 'n1', api: '', instance: '' }), storeProblem: () => undefined,
  } as unknown as ConstructorParameters<typeof ForwardingControl>[0]
  return { control: new ForwardingControl(options), asked }
}

const snapshot = { volume: 'v', name: 's', labels: {}, id: '' }
const lost = new HoldfastError('unreachable', { endpoint: 'e', source: 's', reason: 'ECONNRESET' })
const unknown = new HoldfastError('change-outcome', { what: 'snapshot s', volume: 'v', reason: 'so' })

t.test('T3: a snapshot is asked for again under the id it had, until it is known what became of it', async (t) => {
  const { control: one, asked } = tries(lost, unknown, 'done')
  await one.createSnapshot(snapshot)
  t.equal(asked.length, 3)
  t.match(asked[0]!.id, /^[0-9a-f]{32}$/)
  t.equal(new Set(asked.map(({ id }) => id)).size, 1)
  const given = tries('done')
  await given.control.createSnapshot({ ...snapshot, id: 'a'.repeat(32) })
  t.equal(given.asked[0]!.id, 'a'.repeat(32))
})

t.test('an elected node that has just started, and lets no node in yet, has begun nothing', async (t) => {
  const unchecked = new HoldfastError('node-unchecked', { name: 'n1', reason: 'so' })
  const { control: one, asked } = tries(unchecked, unchecked, 'done')
  await one.createSnapshot(snapshot)
  t.equal(asked.length, 3)
  t.equal(new Set(asked.map(({ id }) => id)).size, 1)
})

t.test('T4: a refusal behind a lost answer is told only if it was made of what the volume has', async (t) => {
  const which = { volume: 'v', snapshot: 's', difference: '', made: 'at seq 1', id: 'i' }
  const exists = new HoldfastError('snapshot-exists', which)
  await t.rejects(tries(lost, exists).control.createSnapshot(snapshot), { code: 'snapshot-exists' })
  await t.rejects(tries(exists).control.createSnapshot(snapshot), { code: 'snapshot-exists' })
  const gone = new HoldfastError('volume-not-found', { name: 'v' })
  await t.rejects(tries(gone).control.createSnapshot(snapshot), { code: 'volume-not-found' }, 'nothing was begun')
})

t.test('T3: which snapshot is deleted is known before the first try', async (t) => {
  const { control: one, asked } = tries(lost, 'done')
  await one.deleteSnapshot({ volume: 'v', name: 's', id: '' })
  const id = 'f'.repeat(32)
  t.same(asked, [{ method: 'get', id: '' }, { method: 'delete', id }, { method: 'delete', id }])
})
