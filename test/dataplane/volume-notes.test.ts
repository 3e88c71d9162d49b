/** What the store says of a volume reaches its copy, whole, the newest, and one at a time. */
import t from 'tap'
import { VolumeNotes } from '../../dataplane/volume-notes.ts'
import type { Seen } from '../../dataplane/volume-notes.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { configOf } from '../engine/control/described.ts'
import { recordOf } from '../engine/control/small-cluster.ts'

const seen = (epoch: number): Seen => ({ record: recordOf('v'), config: configOf('v', epoch, ['n1', 'n2']) })

t.test('whole, the newest, one at a time, and again when it was too early', async (t) => {
  const written: number[] = []
  const waiting: Array<{ end: () => void; refuse: () => void }> = []
  let tell = (): void => undefined
  const notes = new VolumeNotes({
    node: 'n1',
    retryMs: 1,
    onBug: (error) => t.fail(String(error)),
    note: (volumeId, copyId, { config }) => {
      t.same([volumeId, copyId], ['v', 'v.n1'])
      written.push(config!.epoch)
      tell()
      return new Promise((resolve, reject) => {
        const refuse = (): void => reject(new HoldfastError('copy-not-found', { node: 'n1', volume: 'v' }))
        waiting.push({ end: resolve, refuse })
      })
    },
  })
  t.teardown(() => notes.close())
  const next = (): Promise<void> => new Promise((resolve) => (tell = resolve))
  notes.seen('v', { ...seen(1), record: undefined })
  notes.seen('v', { ...seen(1), config: undefined })
  notes.seen('v', { ...seen(1), config: configOf('v', 1, ['n2']) })
  t.same(written, [], 'half of it, or of a volume that has no copy here')
  notes.seen('v', seen(1))
  notes.seen('v', seen(2))
  notes.seen('v', seen(3))
  t.same(written, [1])
  const third = next()
  waiting.shift()!.end()
  await third
  t.same(written, [1, 3])
  const again = next()
  waiting.shift()!.refuse()
  await again
  t.same(written, [1, 3, 3], 'refused because it was too early')
  waiting.shift()!.end()
})
