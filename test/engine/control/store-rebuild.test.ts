/** Risk: a rebuilt cluster store loses what was acknowledged, lets two lead, or brings back what was deleted. */
import t from 'tap'
import type { NodeDescription } from '../../../engine/control/node-description.ts'
import { planRebuild } from '../../../engine/control/store-rebuild.ts'
import type { RebuildPlan } from '../../../engine/control/store-rebuild.ts'
import type { VolumeEncryption } from '../../../engine/volume/volume-encryption.ts'
import { MIB } from '../../../engine/units.ts'
import { configOf, copyIdOf, copyOn, nodeOf } from './described.ts'
import type { SaidCopy } from './described.ts'
import { recordOf } from './small-cluster.ts'

const ALL = ['n1', 'n2', 'n3']

/** n1, n2, ... each with a copy of `v` at (epoch, tail), or with nothing. */
function planOf(
  said: Array<readonly [epoch: number, tail: number, copy?: SaidCopy] | undefined>,
  change: Record<string, Partial<NodeDescription>> = {},
): RebuildPlan {
  const nodes = said.map((one, at) => {
    const name = `n${at + 1}`
    const copies = one === undefined ? [] : [copyOn(name, 'v', [one[0], one[1]], one[2])]
    return nodeOf(name, copies, change[name])
  })
  return planRebuild(nodes, 'nonce')
}

const config = configOf('v', 7, ALL, { primary: 'n2', minInSync: 2 })

t.test('three copies of one end: all in sync, who led leads, everything above what was', (t) => {
  const plan = planOf([[7, 90, { config }], [7, 90, { config }], [7, 90, { config }]])
  t.same(plan.problems, [])
  t.match(plan, { starts: 5 + 1024, era: 1, leftOut: [] })
  const [volume] = plan.volumes
  t.match(volume, { record: { trash: null, spec: { name: 'v' } }, formerEpoch: 7, remarks: [] })
  t.match(volume!.config, { primary: 'n2', inSync: ALL, minInSync: 2, epoch: 7 + 2 ** 22, nonce: 'nonce' })
  t.match(volume!.config.attach, { mode: 'open', generation: 3 + 1024, holders: {} })
  t.end()
})

t.test('Q2: the highest id leads; who lacks something is no member of the set', (t) => {
  const out = configOf('v', 7, ['n2', 'n3', 'n1'], {}, 2)
  const evicted = planOf([[6, 500], [7, 90, { config: out }], [7, 90, { config: out }]])
  const behind = { n1: { state: 'catching-up' } }
  t.match(evicted.volumes[0]!.config, { primary: 'n2', inSync: ['n2', 'n3'], members: behind })
  const inFlight = planOf([[7, 80, { config }], [7, 90, { config }], [7, 89, { config }]])
  t.match(inFlight.volumes[0]!.config, { primary: 'n2', inSync: ['n2'], minInSync: 1 })
  t.same(inFlight.problems, [])
  const later = planOf([[7, 80, { config }], [8, 81, { config }], [7, 90, { config }]])
  t.match(later.volumes[0], { formerEpoch: 8, config: { inSync: ['n2'], epoch: 8 + 2 ** 22 } })
  const n1 = { copyId: copyIdOf('v', 'n1'), state: 'needs-full' as const }
  const stale = { ...out, members: { ...out.members, n1 } }
  const forced = planOf([[6, 500], [7, 90, { config: stale }], [7, 90, { config: stale }]])
  t.match(forced.volumes[0]!.config.members, { n1: { state: 'needs-full' } })
  t.end()
})

t.test('R1: whoever was met, is a member or led is needed, in the set or not', (t) => {
  const two = configOf('v', 7, ['n1', 'n2'])
  const met = planOf([[7, 90, { config: two }], [7, 90, { config: two }]], { n1: { met: ['n2', 'n4'] } })
  t.same(met.problems, ['node n4 was met and did not answer: it may have copies that nobody knows of'])
  const outside = configOf('v', 7, ['n1', 'n2', 'n9'], {}, 2)
  const member = planOf([[7, 90, { config: outside }], [7, 90, { config: outside }]])
  t.match(member.problems, ['node n9 did not answer: it may have what was acknowledged last of volume v'])
  t.match(member.volumes[0]!.config.members, { n9: { state: 'needs-full' } }, 'by force it is filled anew')
  const promised = planOf([[7, 90, { config: two }], [7, 90, { config: two, promise: { epoch: 8, primary: 'n8' } }]])
  t.match(promised.problems, [/node n8 did not answer/])
  t.end()
})

t.test('R2, R3: what is here and not whole', (t) => {
  const here: [number, number, SaidCopy] = [7, 90, { config }]
  const reasons = (...said: Parameters<typeof planOf>) => planOf(...said).problems
  t.match(reasons([here, here, undefined]), ['volume v: n3 does not have its copy any more: it may have been deleted'])
  t.equal(planOf([here, here, undefined]).volumes[0]!.record.trash?.isPurging, false, 'by force not alive')
  const failure = 'what it accepted cannot be read'
  t.match(reasons([here, here, [0, 0, { failure }]]), [/the copy on n3 cannot be read: what it accepted/])
  t.match(reasons([here, here, [7, 60, { config, lostSlices: 2 }]]), [/n3 lost 2 slice\(s\) of it with a disk/])
  const filling = { isConsistent: false }
  t.same(reasons([here, here, [7, 90, { config, ...filling }]]), [])
  t.match(reasons([here, here, [8, 95, { config, ...filling }]]), [/n3 was being filled from a newer copy/])
  const none = planOf([[7, 90, { config: configOf('v', 7, ['n1']), ...filling }]])
  t.match(none, { problems: [/no copy that is here is whole/], volumes: [], leftOut: [{ name: 'v' }] })
  t.match(reasons([here, here, here], { n2: { disks: [{ path: '/d', failure: 'it is damaged' }] } }),
    ['disk /d of n2 cannot be read, nor what is on it: it is damaged'])
  t.end()
})

t.test('Q5: no key that somebody may have written under is forgotten', (t) => {
  const dataKey = { wrappedBy: 'a0'.repeat(8), wrapped: '' }
  const keysOf = (count: number): VolumeEncryption =>
    ({ cipher: 'aes-256-xts', keys: Array.from({ length: count }, () => ({ volumeId: 'v', dataKey })) })
  const noted = (epoch: number, count: number): [number, number, SaidCopy] => {
    const record = { spec: { ...recordOf('v').spec, encryption: keysOf(count) } }
    return [7, 90, { config: { ...config, epoch }, record }]
  }
  for (const said of [[noted(7, 1), noted(7, 2), noted(7, 1)], [noted(7, 1), noted(7, 1), noted(6, 2)]]) {
    t.equal(planOf(said).volumes[0]!.record.spec.encryption?.keys.length, 2)
  }
  t.end()
})

t.test('what is deleted does not come back alive', (t) => {
  const trash = { deletedAtAgeMs: 900, keepMs: 3600, isPurging: false }
  const inTrash = planOf([[7, 90, { config, record: { trash } }], [7, 90, { config }], [7, 90, { config }]])
  t.match(inTrash.volumes[0], { record: { trash: { ...trash, deletedAtAgeMs: 0 } }, remarks: ['it is in the trash'] })
  const older = configOf('v', 6, ALL)
  const purging = planOf([[7, 90, { config }], [7, 90, { config }], [6, 80, { config: older, record: {
    trash: { ...trash, isPurging: true } } }]])
  t.match(purging, { problems: [], volumes: [{ record: { trash: { isPurging: true } } }] }, 'there is no way back')
  const erased = { isErased: true }
  const purged = planOf([[0, 0, erased], [0, 0, erased], [7, 90, { config }]])
  t.match(purged, { volumes: [], problems: [], leftOut: [{ why: 'n1 has erased its copy: it was being purged' }] })
  t.same(planOf([[0, 0, erased], [0, 0, erased]]).leftOut, [])
  const four = configOf('v', 7, [...ALL, 'n4'])
  const unsure = planOf([[0, 0, erased], [7, 90, { config: four }], [7, 90, { config: four }]])
  t.match(unsure, { leftOut: [], problems: [/n4 did not answer/, /n1 does not have its copy/] })
  t.equal(unsure.volumes[0]!.record.trash?.isPurging, false, 'n4 may know more: by force it is in the trash')
  t.end()
})

t.test('a copy that was removed and erased is missed by nobody, although an older note names it', (t) => {
  const before = configOf('v', 7, ['n2', 'n3', 'n1'], {}, 2)
  const after = configOf('v', 7, ['n2', 'n3'])
  const plan = planOf([[0, 0, { isErased: true }], [7, 90, { config: after }], [7, 90, { config: before }]])
  t.same([plan.problems, plan.leftOut], [[], []])
  t.same(Object.keys(plan.volumes[0]!.config.members), ['n2', 'n3'])
  t.end()
})

t.test('copies without a note, never used ones, names and sizes', (t) => {
  const bare = planOf([[7, 90], [7, 90], [7, 80]])
  t.match(bare, { problems: [], volumes: [{ config: { inSync: ['n1', 'n2'] }, remarks: [/its copies have no note/] }] })
  t.match(planOf([[7, 90], [7, 90]]).problems, [/made with 3 copies, 2 are here, and none notes where others are/])
  t.match(planOf([[0, 0], [0, 0]]).leftOut, [{ why: 'it was never used' }])
  const other = configOf('w', 2, ['n1'])
  const { spec } = recordOf('v')
  const twin = copyOn('n1', 'w', [2, 9], { config: other })
  twin.noted!.record = { ...recordOf('w'), spec: { ...spec, id: 'w', sizeBytes: 20 * MIB } }
  twin.spec = { ...twin.spec, sizeBytes: 40 * MIB }
  const two = planRebuild([nodeOf('n1', [copyOn('n1', 'v', [7, 90], { config: configOf('v', 7, ['n1']) }), twin])], '')
  t.same(two.volumes.map(({ record }) => record.spec.name), ['v', 'v-w'])
  t.equal(two.volumes[1]!.record.spec.sizeBytes, 40 * MIB, 'the copies grow first')
  t.end()
})

t.test('holders that are here get generations that nobody had', (t) => {
  const attach = { generation: 9, mode: 'shared' as const, holders: { n1: 8, n3: 9 } }
  const held = configOf('v', 7, ['n1', 'n2'], { attach })
  const said: SaidCopy = { config: held, generation: 12 }
  const plan = planOf([[7, 90, said], [7, 90, said]])
  t.same(plan.volumes[0]!.config.attach, { generation: 12 + 1024 + 1, mode: 'shared', holders: { n1: 12 + 1024 + 1 } })
  t.end()
})

t.test('E3: who comes into a rebuilt store brings nothing that may have gone since', (t) => {
  const rebuilt = { nodes: new Set(['n1']), epochs: new Map([['v', 100]]), names: new Set(['v']) }
  const mine = configOf('w', 7, ['n2', 'n1'])
  const copies = [copyOn('n2', 'v', [7, 90], { config }), copyOn('n2', 'w', [7, 90], { config: mine })]
  const plan = planRebuild([nodeOf('n2', copies, { met: ['n1'] })], '', rebuilt)
  t.match(plan.problems, [/volume w is not in the rebuilt store: it may have been moved or deleted since/])
  t.same(plan.volumes.map(({ volumeId }) => volumeId), ['w'])
  const newer = planRebuild([nodeOf('n2', [copyOn('n2', 'v', [101, 9])])], '', rebuilt)
  t.match(newer.problems, [/the copy of volume v on n2 is newer than the rebuilt store/])
  t.end()
})
