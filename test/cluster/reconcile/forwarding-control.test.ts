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
  const connect = (api: string): ControlClient => {
    const purgeVolume = async (): Promise<object> => {
      asked.push(api)
      if (api === 'former') throw new HoldfastError('unreachable', { endpoint: api, source: 'elected', reason })
      return {}
    }
    return { purgeVolume, close: () => {} } as unknown as ControlClient
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
