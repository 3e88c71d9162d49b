/** Risk: an upgrade stands still, or a drain waits, and nobody is told. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { MetricsPage } from '../../../cluster/metrics/registry.ts'
import { CONTROLLER_METRICS } from '../../../csi/kube/controller-metrics.ts'
import type { ToldEvent } from '../../../csi/kube/event-recorder.ts'
import { LeaveEvents } from '../../../csi/kube/leaving/leave-events.ts'
import type { LeavePlan } from '../../../csi/kube/leaving/leave-step.ts'
import { Scrape } from '../../e2e/scrape.ts'

const PLAN: LeavePlan = {
  actions: [],
  replacement: { state: 'stopped', node: 'w2', why: 'w2 is not back after 11 min', former: 2, pods: 3 },
  waiting: [{ node: 'w1', hindrance: { last: ['data'], below: [], awaited: ['w2'] } }],
  closed: ['w1', 'w3'],
}

const scrape = async (plan: LeavePlan | undefined): Promise<Scrape> =>
  new Scrape(await new MetricsPage(CONTROLLER_METRICS).of({ leaving: { plan }, failover: undefined }))

t.test('the page says what is shown', async (t) => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../../../docs/metrics.md'), 'utf8')
  const part = page.split('## Of the controller')[1]!.split('\n## ')[0]!
  const rows = [...part.matchAll(/^\| `(holdfast_\w+)` \| (\w+) \| ([^|]*) \|/gm)]
  t.same(rows.map(([, name, type, labels]) => [name, type, labels === '-' ? [] : labels!.split(', ')]),
    CONTROLLER_METRICS.map(({ name, type, labels }) => [name, type, labels]))
})

t.test('metrics of who leads, and of who does not', async (t) => {
  const leads = await scrape(PLAN)
  t.equal(leads.value('holdfast_leaving_nodes_leads', {}), 1)
  t.equal(leads.value('holdfast_replacement_former_pods', {}), 2)
  t.equal(leads.value('holdfast_replacement_stopped', {}), 1)
  t.equal(leads.value('holdfast_drain_guards_closed', {}), 2)
  t.equal(leads.value('holdfast_drain_waiting_nodes', {}), 1)
  t.equal((await scrape({ ...PLAN, replacement: undefined })).value('holdfast_replacement_stopped', {}), 1)
  const other = await scrape(undefined)
  t.equal(other.value('holdfast_leaving_nodes_leads', {}), 0)
  t.equal(other.value('holdfast_replacement_stopped', {}), undefined)
})

t.test('Events: when something changes, and what waits for somebody again', async (t) => {
  const told: ToldEvent[] = []
  const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', namespace: 'storage', name: 'holdfast-node' }
  const events = new LeaveEvents({ namespace: 'storage', daemonSet, tell: (event) => void told.push(event) })
  events.tell(PLAN, 0)
  t.same(told.map(({ about, type, reason }) => [about.kind, about.name, type, reason]), [
    ['DaemonSet', 'holdfast-node', 'Warning', 'ReplacementStopped'],
    ['Node', 'w1', 'Warning', 'DrainWaits'],
    ['PodDisruptionBudget', 'holdfast-guard-w1', 'Warning', 'DrainWaits'],
  ])
  t.match(told[1]!.note, /last complete copy of data; w2 may be away at any moment.*holdfast node drain w1 moves/)
  events.tell(PLAN, 119_000)
  t.equal(told.length, 3)
  events.tell(PLAN, 121_000)
  t.equal(told.length, 6)
  told.length = 0
  const waits = { state: 'waits' as const, node: '', why: 'node n2 is down', former: 1, pods: 3 }
  for (const nowMs of [0, 121_000]) events.tell({ ...PLAN, waiting: [], replacement: waits }, nowMs)
  t.match(told, [{ type: 'Normal', reason: 'ReplacementWaits', note: /^node n2 is down; 1 of 3 pods/ }])
  t.equal(told.length, 1, 'what goes on by itself is told once')
  told.length = 0
  events.tell({ ...PLAN, waiting: [], replacement: { ...waits, state: 'done', former: 0 } }, 0)
  t.same(told, [])
  events.tell({ ...PLAN, replacement: undefined, waiting: [] }, 0)
  const typed = /kubectl annotate daemonset holdfast-node -n storage holdfast.io\/may-leave-$/
  t.match(told, [{ type: 'Warning', note: typed }])
})
