/** Risk: guards that were turned off stay, and their closed budgets stop every drain for ever. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import t from 'tap'
import { parseArguments } from '../../cli/arguments.ts'
import { COMMANDS } from '../../cli/commands.ts'
import { leavingOf } from '../../cli/csi-leaving.ts'
import { guardBudget, guardDeployment } from '../../csi/kube/leaving/guard-objects.ts'
import { standIn } from '../cluster/kubernetes/stand-in.ts'
import { temporaryFolder } from '../temporary-folder.ts'

type Json = Record<string, any>

const command = COMMANDS.find(({ words }) => words === 'csi controller')!
const given = (...words: string[]) => parseArguments(words, command, '')
const DAEMON_SET: Json = {
  metadata: { name: 'holdfast-node', uid: 'set', resourceVersion: '1', generation: 1 },
  spec: { selector: {}, template: { spec: { containers: [{ name: 'data', image: 'r/holdfast:1' }] } } },
  status: {},
}

/** An API with one node and its guard, and a Lease that nobody has. */
class Api {
  readonly deleted: string[] = []
  /** Told when both parts of the guard are gone. */
  onGone = (): void => {}
  readonly #guard: Record<string, object>

  constructor() {
    const source = { namespace: 'storage', daemonSet: DAEMON_SET, node: 'w1', taints: [] }
    this.#guard = { deployments: guardDeployment(source), poddisruptionbudgets: guardBudget(source) }
  }

  readonly listen = (request: IncomingMessage, response: ServerResponse): void => {
    let text = ''
    request.on('data', (part: Buffer) => (text += part)).on('end', () => {
      const [status, body] = this.#answer(request.method!, new URL(request.url!, 'https://api').pathname, text)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  }

  #answer(method: string, place: string, text: string): [number, object] {
    if (method === 'POST' || method === 'PUT') {
      const { metadata, ...rest } = JSON.parse(text) as Json
      return [201, { ...rest, metadata: { ...metadata, resourceVersion: '1' } }]
    }
    const kind = place.split('/').find((one) => this.#guard[one] !== undefined)
    if (method === 'DELETE') {
      if (kind === undefined) return [404, {}]
      this.deleted.push(kind)
      delete this.#guard[kind]
      if (Object.keys(this.#guard).length === 0) this.onGone()
      return [200, {}]
    }
    if (place.endsWith('/daemonsets/holdfast-node')) return [200, DAEMON_SET]
    if (place.includes('/leases/')) return [404, {}]
    const nodes = place === '/api/v1/nodes' ? [{ metadata: { name: 'w1' } }] : []
    return [200, { metadata: { resourceVersion: '1' }, items: kind === undefined ? nodes : [this.#guard[kind]] }]
  }
}

t.test('guards that are turned off are taken away', async (t) => {
  const api = new Api()
  const { client: kubernetes } = await standIn(t, api.listen)
  const endpoint = { socketPath: path.join(temporaryFolder(t), 'none.sock'), source: 'from the test' }
  const leaving = leavingOf(given('--no-drain-guard'), { kubernetes, endpoint, log: (line) => t.comment(line) })
  t.ok(leaving)
  t.equal(leaving?.figures(), undefined, 'it decides nothing')
  const told = new AbortController()
  api.onGone = () => told.abort()
  await leaving?.run(told.signal)
  t.same(api.deleted, ['deployments', 'poddisruptionbudgets'], 'the budget last')
})

t.test('only where it is said', async (t) => {
  const { client: kubernetes } = await standIn(t, (_, response) => response.end())
  const parts = { kubernetes, endpoint: { socketPath: '/none', source: '' }, log: () => {} }
  t.equal(leavingOf(given('--events'), parts), undefined, 'another controller may keep them')
  t.throws(() => leavingOf(given('--drain-guard', '--no-drain-guard'), parts), { code: 'usage' })
})
