/**
 * Risk: a full pool of a replicated volume holds what was to be refused, or says EIO where it is out of space, or does
 * not go on when there is room again. Two nodes as processes, small disks.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { NbdConnection, READ, TRIM, WRITE } from '../../cli/load/nbd-connection.ts'
import type { Answer } from '../../cli/load/nbd-connection.ts'

const ENOSPC = 28
const IO_TIMEOUT = '3s'

const errnoOf = (answer: Answer): number | string => (answer === 'closed' ? answer : answer.errno)

t.test('on-full: error refuses at once; a write that is held longer than io-timeout is out of space', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'] })
  await cluster.start()
  const api = connectControlApi({ socketPath: cluster.node('n2').paths.api, source: 'the test' })
  t.teardown(() => api.close())
  while ((await api.listNodes()).nodes.filter(({ disks }) => disks.length === 1).length < 2) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const open = async (name: string, sizeMib: number, parameters: Record<string, string>): Promise<NbdConnection> => {
    await api.createVolume({ name, sizeBytes: sizeMib * MIB, parameters: { replicas: '1', ...parameters } })
    return (await NbdConnection.open(cluster.node('n2').paths.nbd, name, true))!
  }
  const refusing = await open('refusing', 600, {})
  const brief = await open('brief', 64, { 'io-timeout': '0' })
  // Both are changed while they are in use: their connections know nothing of it.
  await api.modifyVolume({ name: 'refusing', parameters: { 'on-full': 'error' } })
  await api.modifyVolume({ name: 'brief', parameters: { 'io-timeout': IO_TIMEOUT } })
  const waiting = await open('waiting', 64, {})
  const resting = await open('resting', 64, {})
  const write = (connection: NbdConnection, mib: number): Promise<Answer> =>
    connection.ask({ type: WRITE, offset: mib * MIB, data: Buffer.alloc(MIB, 1 + mib) })
  for (let mib = 0; mib < 8; mib++) t.equal(errnoOf(await write(resting, mib)), 0)
  await resting.disconnect()
  await api.deleteVolume({ name: 'resting', force: true })
  let filled = 0
  let answer = await write(refusing, filled)
  while (errnoOf(answer) === 0) answer = await write(refusing, ++filled)
  t.equal(errnoOf(answer), ENOSPC, `after ${filled} MiB`)
  t.ok(filled > 200, 'most of the disk can be used')
  const read = await refusing.ask({ type: READ, offset: 0, length: MIB })
  t.ok(read !== 'closed' && read.errno === 0 && read.data[0] === 1, 'it is read while full')
  t.equal((await api.getVolume({ name: 'refusing' })).health, 'healthy', 'nothing is held')

  // The cleaner may find some room still.
  let askedMs = 0
  let mib = 0
  do {
    askedMs = performance.now()
    answer = await write(brief, mib++)
  } while (errnoOf(answer) === 0)
  t.equal(errnoOf(answer), ENOSPC, 'not EIO')
  t.ok(performance.now() - askedMs >= 3000, 'held until its time is over')

  const held: Promise<Answer>[] = []
  let counted = 0
  while (counted < 2) {
    held.push(write(waiting, held.length % 64))
    for (let looks = 0; looks < 20 && counted < 2; looks++) {
      const { health, heldRequests } = await api.getVolume({ name: 'waiting' })
      counted = health === 'suspended' ? heldRequests : 0
    }
  }
  t.ok(counted <= held.length, `${counted} are told to be held, of ${held.length} that were sent`)
  const { problems } = await api.status()
  const room = /^n1(, n2)? ha(s|ve) no room in pool default: delete or trim .* \(`holdfast disk add`\)/
  const { next } = problems.find(({ what }) => what === 'volume waiting')!
  t.match(next, room)
  t.match(next, /; the trash holds \d+ MiB of it in 1 volume\(s\): `holdfast volume purge` frees them now$/)

  t.equal(errnoOf(await refusing.ask({ type: TRIM, offset: 0, length: filled * MIB })), 0)
  do answer = await write(refusing, 0)
  while (errnoOf(answer) === ENOSPC)
  t.equal(errnoOf(answer), 0, 'it is written again when there is room')
  t.same((await Promise.all(held)).map(errnoOf), held.map(() => 0), 'what was held went on')
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
