/**
 * Bugs of what a copy does when its disk lost something (SPEC section 10), hunted over the engine's own store.
 */
import { focusOn, storeBug } from './planted-bug.ts'

export const DISKS = [
  storeBug(
    'a block of a copy is read and not verified',
    'I9, D1',
    [['volume/copy-reader.ts', '!== crcOf(words, w)) return undefined', '!== crcOf(words, w)) void 0']],
  ),
  storeBug(
    'a client is told of damage that another member could mend',
    'I22, D4',
    [
      [
        'replication/reads.ts',
        'return awaitRepair(turn, primary, read, damaged)',
        "return answer(turn, read.from, read.id, { ok: false, code: 'damaged' })",
      ],
    ],
    // What was written just now rots and is read.
    { looksAt: ({ faults, weights }) => faults.includes('block-rot') && weights.read >= 4 },
  ),
  // What all copies have lost: planted/losses.ts.
  storeBug(
    'a member says that it lacks what it has not applied yet',
    'I22, D2',
    [['replication/repair.ts', '(id) => id.seq <= fetch.appliedSeq && !found', '(id) => !found']],
    {
      // What was written just now rots and is read.
      looksAt: ({ faults, blocksPerSlice, copies, weights, focus }) =>
        faults.includes('block-rot') && blocksPerSlice <= 4 && copies <= 3 && weights.read >= 4 && focus !== 'leases',
    },
  ),
  storeBug(
    'a repaired version is not in the map',
    'I22, D3',
    [
      [
        'volume/copy-repair.ts',
        'const isMoved = yield* moveEntry(stream, map, record, append)',
        'const isMoved = true',
      ],
    ],
    // Of many blocks some are not written again.
    { looksAt: ({ faults, blocksPerSlice }) => faults.includes('block-rot') && blocksPerSlice >= 16 },
  ),
  storeBug(
    'damage that the source of a fill met is forgotten',
    'I22, D4',
    [['replication/fill-source.ts', 'if (damaged !== undefined) noteDamage(turn, damaged)', '']],
    {
      // Somebody is filled while another one has what rotted, and nobody reads it before.
      looksAt: ({ faults, blocksPerSlice, copies, spares, weights, actions }) =>
        faults.includes('block-rot') &&
        blocksPerSlice >= 16 &&
        copies + spares >= 3 &&
        weights.read <= 4 &&
        (actions.includes('evict') || actions.includes('add-copy') || actions.includes('replace-disk')),
    },
  ),
  storeBug(
    'a slice is whole on disk before its versions are',
    'I16, D6',
    [
      [
        'volume/copy-bodies.ts',
        'if (facts.consistency !== undefined) this.copy.filling.whenFilled(keepNow)',
        'if (false as boolean) void 0',
      ],
    ],
    { looksAt: focusOn('fullFills') },
  ),
  storeBug(
    'a slice is said to be whole before it is',
    'I16, D6',
    [
      [
        'replication/fill-target.ts',
        'port.store.keep(factToken, {',
        'state.consistency = consistency\n  port.store.keep(factToken, {',
      ],
    ],
    { looksAt: focusOn('fullFills') },
  ),
  storeBug(
    'rot in the log is taken for a torn tail',
    'I6, D5',
    [['log/log-tail.ts', 'if (next <= watermark)', 'if (next < 0)']],
    {
      // What one disk has forgotten another one may call applied.
      looksAt: ({ faults, disks }) => disks > 1 && (faults.includes('lost-tail') || faults.includes('disk-rot')),
      caughtBy: 'test/engine/volume/copy-store-disks.test.ts',
    },
  ),
  storeBug(
    'a copy that lost a disk takes records for it',
    'I5, D7',
    [['replication/replica.ts', 'lostSlices.length > 0 && consistency', 'lostSlices.length > 99 && consistency']],
    { looksAt: focusOn('staleRecords') },
  ),
  storeBug(
    'what a scrub finds is told to nobody',
    'D1, I17',
    [['volume/copy-scrub.ts', 'this.copy.tellDamage(waiting)', 'void waiting']],
  ),
  storeBug(
    'a scrub looks at the head alone',
    'D1, I21',
    [
      [
        'volume/deep-window.ts',
        'for (const words of versions) if (kindOf(words, 0) === ENTRY_KIND.data) visit(lba, words, 0)',
        'void [lba, versions]',
      ],
    ],
    // What snapshots show is overwritten, of many blocks.
    {
      looksAt: ({ actions, blocksPerSlice, copies }) =>
        actions.includes('snapshot') && blocksPerSlice <= 16 && copies > 1,
    },
  ),
  storeBug(
    'a scrub verifies the first block of what it reads',
    'D1, I17',
    [['volume/place-reads.ts', 'for (const slot of slots) {', 'for (const slot of slots.slice(0, 1)) {']],
    { looksAt: ({ blocksPerSlice, copies }) => blocksPerSlice >= 4 && copies > 1 },
  ),
  storeBug(
    'a scrub takes what it cannot read for whole',
    'D1, I17',
    [['volume/medium-blocks.ts', "if (fits) return 'whole'", "return 'whole'"]],
  ),
  storeBug(
    'who does not lead repairs nothing',
    'D2, I17',
    [
      [
        'replication/repair.ts',
        'if (state.damaged.length === 0 || state.config === undefined) return',
        'if (state.damaged.length === 0 || state.config === undefined || state.primary === undefined) return',
      ],
    ],
  ),
  storeBug(
    'what a trim left behind counts in a digest',
    'M5',
    [
      [
        'volume/copy-digest.ts',
        'if (kindOf(words, 0) !== ENTRY_KIND.data || (seq !== headSeq',
        'if ((seq !== headSeq',
      ],
    ],
    { looksAt: ({ weights, copies }) => weights.trim >= 3 && copies > 1 },
  ),
]
