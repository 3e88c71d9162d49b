/**
 * A volume whose durability is changed while a client writes, and whose copies then all lose power (lost-power.ts).
 * Behind a change to `durable` its client has every answer it was given, and no error; behind one to `writeback` it is
 * told what may be gone.
 */
// test-timeout-seconds: 180
// test-serial: its mount namespaces would keep what other tests have mounted
import t from 'tap'
import { NBD_ERRNO } from '../../engine/errors.ts'
import { otherBootMissing } from '../cluster/other-boot.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { connect, nodesThatLosePower, read, write } from './lost-power.ts'

const skip = otherBootMissing() ?? false
const { NONE, EIO } = NBD_ERRNO

t.test('all copies lose power behind a change of the durability', { skip }, async (t) => {
  const { cluster, n4, cutPower, stop } = await nodesThatLosePower(t)
  const at = ['--endpoint', n4.paths.api, '-o', 'json']
  const say = async (...words: string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await holdfast(['volume', ...words, ...at])
    t.equal(code, 0, `${words.join(' ')}: ${stderr}`)
    return JSON.parse(stdout) as Record<string, unknown>
  }

  const client = await connect(t, n4)
  t.equal(await write(client, 0, 1), NONE, 'acknowledged, and not flushed')
  // It writes on while the volume is changed.
  const writing = (async (): Promise<number[]> => {
    const answers: number[] = []
    for (let i = 1; i <= 64; i++) answers.push(await write(client, i, i))
    return answers
  })()
  t.match(await say('set', 'data', 'durability=durable'), { durability: 'durable', durabilityNext: '' })
  t.ok((await writing).every((errno) => errno === NONE))
  t.match(await say('inspect', 'data'), { durability: 'durable', durabilityNext: '' })
  t.equal(await write(client, 65, 65), NONE)
  await cutPower()
  const held = write(client, 66, 66)
  await cluster.start()
  t.equal(await held, NONE, 'what was under way goes on: nothing was lost')
  t.equal(await read(client, 0), 1)
  for (let i = 1; i <= 66; i++) t.equal(await read(client, i), i)

  t.match(await say('set', 'data', 'durability=writeback'), { durability: 'writeback' })
  t.equal(await write(client, 67, 67), NONE)
  await cutPower()
  const lost = write(client, 68, 68)
  await cluster.start()
  t.equal(await lost, EIO, 'what may be gone is told')
  const next = await connect(t, n4)
  t.equal(await read(next, 65), 65, 'what was answered in `durable` stays')
  t.match(await say('inspect', 'data'), { durability: 'writeback', durabilityNext: '' })
  await stop()
})
