/**
 * Bugs planted in the control plane, as test/sim/mutants.ts does it: each breaks a rule of engine/control/SPEC.md, and
 * the simulation has to find it. `seed`: one that finds it soon; the hunt begins there.
 */
import type { Edit } from '../sim/mutants.ts'

export interface PlantedBug extends Edit {
  name: string
  breaks: string
  seed: number
}

type Change = [file: string, replace: string, by: string]

function bug(name: string, breaks: string, [file, replace, by]: Change, seed = 1): PlantedBug {
  return { name, breaks, file: `engine/control/${file}`, replace, by, seed }
}

export const PLANTED: readonly PlantedBug[] = [
  bug('a copy is taken while the primary reconciles', 'I23', [
    'copy-safety.ts',
    "if (role !== 'primary') return `its primary on ${primary} does not serve yet (${role})`",
    '',
  ]),
  bug('a copy is taken by the word of a primary of another epoch', 'I23', [
    'copy-safety.ts',
    'if (fact.status.epoch !== epoch) return',
    'if (fact.status.epoch > epoch) return',
  ], 7),
  bug('what was said long ago counts', 'I23', ['copy-safety.ts', 'nowMs - saidAtMs <= options.freshMs', 'true'], 12),
  bug('a member is removed while nobody serves', 'I23', [
    'copy-safety.ts',
    "before it is removed')\n  const inactive = whyNoActivePrimary(cluster, volume, facts, nowMs)",
    "before it is removed')\n  const inactive = undefined",
  ], 3),
  bug('a member that is asked for a block is removed when there are copies enough', 'E5', [
    'copy-safety.ts',
    'nowMs) ? undefined : whyAwaited(facts, node)',
    'nowMs) ? undefined : undefined',
  ], 52),
  bug('a copy is erased while nobody serves', 'I23', [
    'copy-safety.ts',
    "return 'it is a member'\n  return whyNoActivePrimary(cluster, volume, facts, nowMs)",
    "return 'it is a member'\n  return undefined",
  ]),
  bug('a leaving copy goes before its replacement is there', 'V3', [
    'assess.ts',
    '  if (complete.length < wanted) return undefined\n  const going',
    '  const going',
  ]),
  bug('a replacement that is filled counts as there', 'V3', [
    'assess.ts',
    'complete: keepers.filter(isComplete)',
    "complete: keepers.filter(({ presence }) => presence !== 'away')",
  ], 4),
  bug('an evicted copy may join again', 'E1', ['member-change.ts', "state: 'failed' } }", "state: 'catching-up' } }"]),
  bug('a volume is made with the copies that happen to be there', 'V1', [
    'creation.ts',
    'if (chosen.length < wanted && (!mayBeFewer || chosen.length === 0)) {',
    'if (chosen.length === 0) {',
  ], 3),
  bug('the budget is not looked at', 'B1', [
    'plan.ts',
    'if (table.length + added.length >= rebuildsMax) {',
    'if (table.length + added.length >= 200) {',
  ], 11),
  bug('a busy node gets one more', 'B1', ['plan.ts', '    if (isBusy(to)) {', '    if (false) {']),
  bug('zones do not matter', 'P2', ['placement.ts', 'if (inZone !== 0) return inZone < 0', '']),
  bug('zones of copies that stay do not matter', 'P2', [
    'placement.ts',
    'if (node !== undefined) add(zoneOf(node))',
    '',
  ]),
  bug('a cordoned node gets copies', 'N3', ['node-state.ts', "if (node.wish.isCordoned) return 'is cordoned'", ''], 14),
  bug('the age jumps', 'T2', ['trash.ts', 'Math.min(nowMs - ageSeenAtMs, AGE_STEP_MS)', '(nowMs - ageSeenAtMs)'], 27),
  bug('two controllers age the cluster twice', 'T2', ['cluster.ts', '  cluster.ageSeenAtMs = nowMs\n', '']),
  bug('the trash is emptied a minute early', 'T2', ['volume-record.ts', ' + AGE_STEP_MS - ageMs', ' - ageMs']),
  bug('a volume in use is purged', 'T3', [
    'trash.ts',
    'if (keptForMs(record.trash, ageMs) > 0 || Object.keys(config?.attach.holders ?? {}).length > 0) return undefined',
    'if (keptForMs(record.trash, ageMs) > 0) return undefined',
  ], 4),
  bug('a purged volume is forgotten while a copy is away', 'T3', [
    'trash.ts',
    'if (!isThere) away.push(name)',
    'if (!isThere) continue',
  ], 22),
  bug('minInSync follows what is left', 'V5', [
    'assess.ts',
    'const wished = wishedMinInSync(volume.record!)\n  if (config',
    'const wished = Math.max(1, Math.min(wishedMinInSync(volume.record!), complete.length))\n  if (config',
  ]),
  bug('a moved only copy is one too many', 'V7', [
    'assess.ts',
    "const isOnly = complete.length > wanted && complete.every((fact) => fact.isPrimary || fact.node === move?.to)",
    'const isOnly = false',
  ], 21),
  bug('who was moved is one too many', 'V7', [
    'assess.ts',
    '!fact.isPrimary && move?.to !== fact.node)',
    '!fact.isPrimary)',
  ], 4),
  bug('a failed copy is waited for', 'V2', [
    'copy-facts.ts',
    "if (status.failure !== '') return 'failed'",
    "if (status.failure !== '') return 'away'",
  ], 16),
  bug('an orphan blocks its node', 'V2', [
    'assess.ts',
    "if (copy === undefined || copy.failure !== '' || livenessOf",
    "if (copy === undefined || copy.failure !== '' || !copy.isVirgin || livenessOf",
  ], 48),
  bug('a wish is over when who is heard shares nothing', 'O3', [
    'hydration.ts',
    'if (share === undefined) away.push(fact.node)',
    '',
  ], 30),
  bug('a node that restarted is not told again', 'O2', [
    'hydration.ts',
    'if (!isThere || share.isHydrating) continue',
    'if (!isThere || share.isHydrating || volume.asked.has(`hydrate-copy ${fact.node}`)) continue',
  ], 25),
  bug('a wish has no end', 'O3', [
    'hydration.ts',
    "actions.push({ type: 'change-volume', volumeId, version, record: notHydrated(record!), why })",
    "if (left > 99) actions.push({ type: 'change-volume', volumeId, version, record: notHydrated(record!), why })",
  ], 5),
  bug('each clone of a long chain is hydrated', 'O4', [
    'hydration.ts',
    "return isBegunThere ? undefined : 'depth'",
    "return isBegunThere && sharing.length > 99 ? undefined : 'depth'",
  ], 5),
  bug('a long chain is left', 'O4', ['hydration.ts', 'levels >= options.hydrateLevels)', 'levels > 99)'], 5),
  bug('what several read is copied for each', 'O4', [
    'hydration.ts',
    'sharing.every(({ isLastReader }) => isLastReader)',
    'sharing.every(({ sharedSlices }) => sharedSlices > 0)',
  ], 45),
  bug('remains with one reader stay', 'O4', [
    'hydration.ts',
    "sharing.every(({ isLastReader }) => isLastReader) ? 'remains' : undefined",
    "sharing.length > 99 ? 'remains' : undefined",
  ], 5),
  bug('a volume has too many clones for ever', 'O4', [
    'hydration.ts',
    'if (crowded.length === 0) return undefined',
    'if (crowded.length < 99) return undefined',
  ], 165),
  bug('a copy follows nobody', 'U1', [
    'locality.ts',
    'if (record?.dataLocality === undefined || record.trash',
    'if (record === undefined || record.trash',
  ], 29),
  bug('a copy does not follow', 'U2', ['assess.ts', 'if (follows) count = 1', ''], 9),
  bug('what follows is one too many while it is filled', 'U2', [
    'assess.ts',
    "return entry !== undefined || (presence === 'filling' && !status!.isPoolFull)",
    'return false',
  ], 159),
  bug('who is near is one too many', 'U4', [
    'assess.ts',
    'others.filter(({ node }) => node !== (near ?? firstNode))',
    'others.filter(({ node }) => node !== firstNode)',
  ], 39),
  bug('the lead is waited for, and does not come', 'U3', [
    'assess.ts',
    'const wish = isMoved ? move?.to : leadGoesTo(sight)',
    'const wish = isMoved ? move?.to : undefined',
  ], 9),
  bug('the lead follows who has gone', 'A6', [
    'assess.ts',
    'if (move.isFollowing === true && config.attach.holders[move.to] === undefined) {',
    'if (move.isFollowing === true && facts.length > 99) {',
  ], 619),
]

/** Found at once, or the hunt sees nothing. */
export const CANARY = bug('a leaving copy goes when any other is there', 'I23', [
  'assess.ts',
  'if (complete.length < wanted) return undefined\n  const going',
  'if (complete.length < 1) return undefined\n  const going',
])
/** No bug: an order among equals. */
export const DECOY = bug('the other one of two equals', '-', [
  'placement.ts',
  'a.node.name < b.node.name : a.fullness',
  'a.node.name > b.node.name : a.fullness',
])
