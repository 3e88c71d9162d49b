/**
 * Risk: the file system below a node's folder is full or failing, and a daemon that serves ends on a file it cannot
 * write, or speaks to a node of which its folder does not know.
 */
// test-timeout-seconds: 120
import { mkdirSync, rmdirSync } from 'node:fs'
import t from 'tap'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

t.test('a node goes on while its folder cannot be written', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const [n1, n2, n3] = ['n1', 'n2', 'n3'].map((name) => cluster.node(name)) as [Node, Node, Node]
  await Promise.all([n1.start(), n2.start()])
  await cluster.api('n1').createVolume({ name: 'v', sizeBytes: 16 * MIB, parameters: { replicas: '1' } })
  const client = new StampedClient({ socketPath: n1.paths.nbd, exportName: 'v', random: randomNumber, depth: 2 })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  const { pid } = n1
  const said = (message: string) => n1.log().filter((line) => line.message === message)
  const until = async (message: string, isIt: (line: object | undefined) => boolean): Promise<void> => {
    while (!isIt(said(message).at(-1))) {
      const [bug] = said('a bug ends this daemon')
      if (bug !== undefined) throw new Error(String(bug['stack']))
      await sleep(20)
    }
  }
  const notKept = 'a file of the node is not kept; the node goes on and tries again'
  for (const file of [n1.paths.met, n1.paths.knownStore]) mkdirSync(`${file}.new`)

  await n3.start()
  await until(notKept, (line) => line !== undefined)
  const others = (line: object | undefined): string => (line as { others?: string } | undefined)?.others ?? ''
  t.notMatch(others(said('nodes of the cluster').at(-1)), 'n3', 'a new one is not met before that is kept')
  const before = client.counts.writes
  while (client.counts.writes < before + 20) await sleep(20)
  rmdirSync(`${n1.paths.met}.new`)
  await until('nodes of the cluster', (line) => others(line).includes('n3'))
  t.equal(n1.pid, pid)
  t.equal(said('ready').length, 1, 'the daemon is the one that was started')

  // A start has to keep its number; until it can, it is refused and tried again.
  const again = n1.ready()
  n1.killDaemon()
  const isRefused = (): boolean => n1.log().some(({ code }) => code === 'folder-write')
  while (!isRefused()) await sleep(20)
  rmdirSync(`${n1.paths.knownStore}.new`)
  await again
  await client.pause()
  await client.verify()
  t.same([client.problems, client.counts.errors], [[], 0])
  client.close()

  mkdirSync(`${n1.paths.knownStore}.new`)
  t.equal(await n1.stop(), 0)
  t.equal(said('stopped').length, 1, 'it stops in order')
})

type Node = ReturnType<ClusterOfDaemons['node']>
