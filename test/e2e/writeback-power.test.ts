/**
 * A `writeback` volume whose copies all lose power with acknowledged writes that nobody flushed (lost-power.ts). Who
 * was connected through a node that stayed up gets errors and nothing else, for good; who connects afterwards, there or
 * elsewhere, goes on.
 */
// test-timeout-seconds: 120
// test-serial: its mount namespaces would keep what other tests have mounted
import t from 'tap'
import { NBD_CMD_FLUSH } from '../../dataplane/nbd/protocol.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { otherBootMissing } from '../cluster/other-boot.ts'
import { connect, nodesThatLosePower, read, write } from './lost-power.ts'

const skip = otherBootMissing() ?? false
const { NONE, EIO } = NBD_ERRNO

t.test('all copies of a writeback volume lose power', { skip }, async (t) => {
  const { cluster, id, n4, cutPower, stop } = await nodesThatLosePower(t)
  const [n1] = cluster.nodes as [ClusterNodeProcess]

  const old = await connect(t, n4)
  const idle = await connect(t, n4)
  t.equal(await write(old, 0, 1), NONE)
  t.equal((await old.ask({ type: NBD_CMD_FLUSH })).errno, NONE)
  t.equal(await write(old, 1, 2), NONE, 'acknowledged, and not flushed')

  await cutPower()
  const held = write(old, 2, 3)
  await cluster.start()
  t.equal(await held, EIO, 'what was under way is told')
  t.equal(await write(old, 3, 4), EIO)
  t.equal(await read(idle, 0), -EIO, 'so is who had asked nothing')

  const next = await connect(t, n4)
  t.equal(await read(next, 0), 1, 'a new connection is served, and has what was flushed')
  t.equal(await write(next, 4, 5), NONE)
  t.equal((await next.ask({ type: NBD_CMD_FLUSH })).errno, NONE)
  t.match((await cluster.config(id)).attach, { generation: 2, mode: 'open', holders: {} })
  t.equal(await read(old, 0), -EIO, 'the old connection is never served again')
  t.notOk(old.closed || idle.closed, 'and not closed: its client would connect again and go on')
  const elsewhere = await connect(t, n1)
  t.equal(await read(elsewhere, 4), 5)

  // Once more, now that generations were made: nothing of it is special to the first time.
  t.equal(await write(elsewhere, 5, 6), NONE)
  await cutPower()
  const again = write(next, 6, 7)
  await cluster.start()
  t.equal(await again, EIO)
  const last = await connect(t, n4)
  t.equal(await read(last, 4), 5)
  t.equal((await cluster.config(id)).attach.generation, 3)
  await stop()
})
