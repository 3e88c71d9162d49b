/**
 * kill -9 under a client that writes through a node that stays: it sees pauses and no error; those that were killed
 * come back and are filled; all copies are the same in the end.
 */
// test-serial: takes over within half a grace
import t from 'tap'
import { clock } from '../../dataplane/clock.ts'
import { reportEnded } from '../../dataplane/peer/supervisor-report.ts'
import { CLUSTER, hex } from '../dataplane/copy/hosts.ts'
import { meetAll } from '../dataplane/copy/node-processes.ts'
import type { NodeProcess } from '../dataplane/copy/node-processes.ts'
import { PROCESS_TIMING, startWriting, until } from './replicated-cluster.ts'

t.test('kill -9 of the primary, then of a replica, under a client that writes', async (t) => {
  const cluster = await startWriting(t)
  const { nodes, n1, n2, moreWritten, config, isWhole } = cluster
  const killAndBack = async (victim: NodeProcess, what: string): Promise<void> => {
    await victim.kill()
    await moreWritten(300)
    const { inSync, primary } = await config()
    t.notOk(inSync.includes(victim.node), `${what}: it was let go`)
    t.not(primary, victim.node)
    await victim.start()
    await meetAll(nodes)
    await until(isWhole)
    t.pass(`${what}: it came back`)
  }
  await killAndBack(n1, 'the primary is killed')
  const { primary } = await config()
  await killAndBack(primary === 'n1' ? n2 : n1, 'a replica is killed')
  await moreWritten(100)
  const { longestMs } = await cluster.end()
  t.ok(longestMs > PROCESS_TIMING.graceMs / 2, `the longest waited ${Math.round(longestMs)} ms`)
})

t.test('a supervisor that saw its daemon die says so, and nobody waits for the end of a grace', async (t) => {
  const timing = { ...PROCESS_TIMING, leaseMs: 20_000, graceMs: 21_000 }
  const cluster = await startWriting(t, timing)
  const { nodes, n1, moreWritten, config } = cluster
  const ended = n1.instance
  await n1.kill()
  const begin = performance.now()
  const self = { clusterId: CLUSTER, node: 'n1', instance: hex(), worker: 0, role: 'supervisor' as const }
  for (const { node, endpoint } of nodes.slice(1)) {
    const heard = await reportEnded({ self, to: { node, worker: 0, endpoint }, ended, clock, deadlineMs: 5000 })
    t.ok(heard, `${node} heard it`)
  }
  await moreWritten(100)
  t.ok(performance.now() - begin < timing.graceMs / 2, `after ${Math.round(performance.now() - begin)} ms`)
  t.not((await config()).primary, 'n1')
  await n1.start()
  await meetAll(nodes)
  await until(cluster.isWhole)
  await cluster.end()
})
