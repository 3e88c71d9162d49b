/** E3: what a node erases when it is told to, and what it keeps whoever tells it. */
import t from 'tap'
import { whyNotErased } from '../../../cluster/reconcile/erase-rule.ts'
import type { EraseSight } from '../../../cluster/reconcile/erase-rule.ts'
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../../engine/control/node-status.ts'
import type { CopyStatus } from '../../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { MIB } from '../../../engine/units.ts'

const ID = 'a'.repeat(32)
const RECORD: VolumeRecord = {
  spec: {
    id: ID, name: 'data', sizeBytes: MIB, blockSizeBytes: 4096, replicas: 1, durability: 'durable', onFull: 'hold',
    ioTimeoutMs: 0, pool: 'default', diskTags: [],
  },
  minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'open', trash: null,
}
const trash = { deletedAtAgeMs: 0, keepMs: 0, isPurging: false }
const CONFIG: VolumeConfig = {
  volumeId: ID, epoch: 7, primary: 'n1', inSync: ['n1'], members: { n1: { copyId: 'one', state: 'in-sync' } },
  minInSync: 1, attach: { generation: 1, mode: 'open', holders: {} }, nonce: '',
}
const COPY: CopyStatus = {
  volumeId: ID, copyId: 'mine', role: 'out', epoch: 5, isConsistent: true, isWhole: true,
  durability: 'durable', durabilityNext: '', isVirgin: false,
  lostSlices: 0, diskUuids: [], usedBytes: 0, logicalBytes: 0,
  snapshots: 0, newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0,
  seq: 0, commitSeq: 0, lagBytes: 0, hearsPrimary: false, held: '',
  isPoolFull: false, awaits: [], heldRequests: 0, joining: '', failure: '', ...NEVER_SCRUBBED, ...NOTHING_SHARED,
}
const why = (sight: Partial<EraseSight>): string | undefined =>
  whyNotErased({ record: RECORD, config: CONFIG, copy: COPY, epoch: 7, ...sight })

t.test('a copy that is no member goes, under the epoch that the order was planned on', async (t) => {
  t.equal(why({}), undefined)
  t.match(why({ epoch: 6 }), /epoch 7 by now/)
  t.match(why({ epoch: 8 }), /of epoch 8/, 'a configuration that went back is not trusted either')
  t.match(why({ record: { ...RECORD, trash } }), undefined, 'in the trash the same')
})

t.test('a member stays', async (t) => {
  t.match(why({ copy: { ...COPY, copyId: 'one' } }), /member n1/)
  t.match(why({ copy: { ...COPY, copyId: 'one', failure: 'broken' } }), /member n1/)
})

t.test('without a record or a configuration what was in use stays', async (t) => {
  const virgin = { ...COPY, isVirgin: true }
  t.match(why({ record: undefined }), /nothing is known/)
  t.match(why({ record: undefined, copy: { ...virgin, failure: 'broken' } }), /nothing is known/)
  t.match(why({ config: undefined, epoch: 0 }), /was in use/)
  t.match(why({ config: undefined, epoch: 0, copy: { ...COPY, failure: 'broken' } }), /was in use/)
  t.match(why({ config: undefined, epoch: 0, copy: virgin }), /about to be used/)
  t.equal(why({ config: undefined, epoch: 0, copy: { ...virgin, failure: 'broken' } }), undefined)
})

t.test('when it is purged everything goes', async (t) => {
  const record = { ...RECORD, trash: { ...trash, isPurging: true } }
  t.equal(why({ record, copy: { ...COPY, copyId: 'one' } }), undefined)
  t.equal(why({ record, config: undefined, epoch: 0 }), undefined)
})
