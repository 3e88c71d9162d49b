/** A disk becomes suspect by so many blocks, not by one that is met often; and it stays so behind a restart. */
import path from 'node:path'
import t from 'tap'
import { DiskErrors, SUSPECT_BLOCKS } from '../../../dataplane/copy/disk-errors.ts'
import { joinDisks } from '../../../dataplane/joined-disks.ts'
import { SuspectDisks, suspectDisks } from '../../../dataplane/suspect-disks.ts'
import type { DiskStatus } from '../../../engine/volume/volume-spec.ts'

const diskOf = (change: Partial<DiskStatus>): DiskStatus => ({
  uuid: 'd', path: '/d', pool: 'default', tags: [], state: 'online', reason: '', capacityBytes: 1, freeBytes: 1,
  reserveBytes: 0, checksumErrors: 0, ...change,
})

t.test('each block counts once, and each disk is told once', async (t) => {
  const told: string[] = []
  const errors = new DiskErrors((uuid, reason) => told.push(`${uuid}: ${reason}`))
  for (let i = 0; i < 1000; i++) errors.damaged('d', 'v', { lba: 7, epoch: 1, seq: 9 })
  for (let lba = 0; lba < SUSPECT_BLOCKS - 1; lba++) {
    errors.damaged('e', lba % 2 === 0 ? 'v' : 'w', { lba: Math.floor(lba / 2), epoch: 1, seq: 9 })
  }
  t.same(told, [])
  for (let lba = 1000; lba < 1200; lba++) errors.damaged('e', 'v', { lba, epoch: 1, seq: 9 })
  t.same(told, [`e: ${SUSPECT_BLOCKS} blocks of it were found damaged`])
})

t.test('it is kept, logged once, and one worker is enough', async (t) => {
  const file = path.join(t.testdir(), 'suspect-disks.json')
  const events: string[] = []
  const log = { event: (level: string, message: string) => void events.push(`${level} ${message}`) }
  const suspects = new SuspectDisks(file, log)
  suspects.seen([diskOf({}), diskOf({ uuid: 'f', state: 'failed', reason: 'gone' })])
  t.same(suspectDisks(file), [])
  const both = [diskOf({ checksumErrors: 1 }), diskOf({ state: 'suspect', reason: 'so', checksumErrors: 2 })]
  for (const told of [both, [...both].reverse()]) {
    const [joined] = joinDisks(told)
    t.match(joined, { state: 'suspect', reason: 'so', checksumErrors: 3 })
    suspects.seen([joined!])
  }
  t.match(suspectDisks(file), [{ uuid: 'd', path: '/d', reason: 'so' }])
  t.equal(suspectDisks(file).length, 1)
  t.same(events, ['error a disk is suspect: its copies are placed elsewhere, replace it'])
  new SuspectDisks(file, log).seen([joinDisks(both)[0]!])
  t.equal(events.length, 1, 'a start that knows it says nothing')
  t.match(joinDisks([diskOf({ state: 'suspect' }), diskOf({ state: 'failed' })])[0]!.state, 'failed')
})
