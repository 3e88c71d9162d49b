/** Risk: nothing is moved, and nobody is told. */
import t from 'tap'
import { MetricsPage } from '../../../../cluster/metrics/registry.ts'
import { FAILOVER_METRICS } from '../../../../csi/kube/failover/failover-metrics.ts'
import type { FailoverFigures } from '../../../../csi/kube/failover/failover-metrics.ts'
import { Scrape } from '../../../e2e/scrape.ts'

const scrape = async (figures: FailoverFigures): Promise<Scrape> =>
  new Scrape(await new MetricsPage(FAILOVER_METRICS).of(figures))

t.test('who leads tells what it sees, others that they do not lead', async (t) => {
  const counts = { stopped: '2 of 3 kubelets are silent', dead: 2, deadStorage: 1, waiting: 4, moved: 7 }
  const leads = await scrape({ counts, moved: 9, eventsLeftOut: 0 })
  t.equal(leads.value('holdfast_failover_leads', {}), 1)
  t.equal(leads.value('holdfast_failover_stopped', {}), 1)
  t.equal(leads.value('holdfast_failover_dead_nodes', { kind: 'storage' }), 1)
  t.equal(leads.value('holdfast_failover_waiting_pods', {}), 4)
  t.equal(leads.value('holdfast_failover_moved_pods_total', {}), 9)
  const other = await scrape({ counts: undefined, moved: 0, eventsLeftOut: 0 })
  t.equal(other.value('holdfast_failover_leads', {}), 0)
  t.equal(other.value('holdfast_failover_stopped', {}), undefined)
})
