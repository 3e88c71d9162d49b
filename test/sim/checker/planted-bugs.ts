/**
 * Bugs that the store's tests have to find: the name says what each would do. Whoever changes one of these lines plants
 * the bug anew in the new text. `hunt` is where it was found fastest; the test looks at later seeds too.
 */
import type { Edit, Mutant } from '../mutants.ts'

const LOG = 'engine/log'
const VOLUME = 'engine/volume'

/** Pages that wait are thinned after each write, not after thousands. */
export const THIN_ALWAYS: Edit = {
  file: `${LOG}/pending-entries.ts`,
  replace: 'THIN_EVERY = 4096',
  by: 'THIN_EVERY = 1',
}

/**
 * What a store promises (FORMAT.md), as fsck.ts and the model see it. L10, that the seq of a block's entry never goes
 * back, is broken by "a cleaner's copy replaces what is newer", which fsck sees as L2 first.
 */
export const STORE_PROMISES = {
  L1: 'after a crash the state is a prefix of what was accepted, with all that was durable',
  L2: 'an entry points to a record of its volume, place and version, and its bytes fit',
  L3: 'no two entries share units, and live units are counted',
  L4: 'what entries point to is not given back',
  L5: 'a crash while it opens changes nothing of what it opens to',
  L6: 'nothing below the watermark is cut off',
  L7: 'right bytes or an error',
  L8: 'fsck finds nothing, after anything',
  L9: 'what an uncommitted change let go of is not used again',
  L10: 'a block shows the newest version of its view, each version once',
  L11: 'checkpoint and log together are the map',
  L12: 'no volume shows what is of another',
} as const

export const PLANTED: Mutant[] = [
  {
    name: 'acknowledged before it is synced',
    hunt: { run: 'full', seed: 1 },
    file: `${LOG}/log-stream.ts`,
    replace: 'const isDurable = batch.number <= this.durableBatch',
    by: 'const isDurable = true',
  },
  {
    name: 'a checkpoint passes records that are not applied',
    promise: 'L11',
    hunt: { run: 'tiny', seed: 1 },
    file: `${LOG}/log-stream.ts`,
    replace: 'if (batch.unapplied > 0)\n        return',
    by: 'if (batch.number < 0)\n        return',
  },
  {
    name: 'an answer is forgotten when another batch goes',
    hunt: { run: 'full', seed: 2 },
    file: `${LOG}/log-stream.ts`,
    replace: 'if (batch.unapplied === 0 && !this.answering) this.forget()',
    by: 'if (batch.unapplied === 0) this.forget()',
  },
  {
    name: 'a sync that failed is tried again',
    hunt: { run: 'errors', fault: 'sync', n: 4, seed: 1 },
    file: `${LOG}/sync-slots.ts`,
    replace: 'if (!ok) return this.o.onFailed()',
    by: 'if (!ok) return void (this.running.pop(), this.o.onEnded())',
  },
  {
    name: 'an index is written before its log is durable',
    hunt: { run: 'tiny', seed: 9 },
    file: `${LOG}/store-stream.ts`,
    replace:
      'if (!(yield* until<boolean>((resume) => this.log.sync(resume)))) return false\n' +
      '    if (!(yield* until<boolean>((resume) => this.syncPeers',
    by: 'if (!(yield* until<boolean>((resume) => this.syncPeers',
  },
  {
    name: 'segments are given back before the index knows',
    promise: 'L9',
    hunt: { run: 'time-travel', seed: 4 },
    file: `${LOG}/store-stream.ts`,
    replace: 'if (!(yield* until<boolean>((resume) => this.syncPeers(resume)))) {',
    by:
      'const freed = collected.freed.map((segment) => [segment, segments.generation[segment]!])\n' +
      'if (!(yield* markFree(context, freed))) {',
  },
  {
    name: 'a segment given back keeps its first batch',
    hunt: { run: 'cycle', seed: 2 },
    file: `${LOG}/store-stream.ts`,
    replace: 'for (const offset of [batchAt, trailerAt])',
    by: 'for (const offset of [trailerAt])',
  },
  {
    name: 'a torn batch behind the watermark is taken',
    hunt: { run: 'tiny', seed: 1 },
    file: `${LOG}/log-tail.ts`,
    replace: 'if (next > watermark && !',
    by: 'if (next > watermark + 1 && !',
  },
  {
    name: 'a gap above the watermark is jumped',
    hunt: { run: 'file', path: 'test/crash/gap-in-tail.test.ts' },
    file: `${LOG}/log-tail.ts`,
    replace: 'from.mayBegin === true ? Math.min(firstBatch, watermark + 1) : firstBatch',
    by: 'firstBatch',
  },
  {
    name: 'the watermark counts for nothing',
    promise: 'L6',
    hunt: { run: 'damage', seed: 3 },
    file: `${LOG}/log-tail.ts`,
    replace: 'if (next <= watermark)',
    by: 'if (next < 0)',
  },
  {
    name: 'a segment half given back stays so',
    hunt: { run: 'nested', seed: 1 },
    file: `${LOG}/log-tail.ts`,
    replace: 'if (header?.free !== true || header.streamId !== streamId) return []',
    by: 'if (header !== undefined) return []',
  },
  {
    name: 'batch numbers are used twice',
    promise: 'L5',
    hunt: { run: 'nested', seed: 3 },
    file: `${LOG}/rebuild.ts`,
    replace: 'sealedLast + 1, base.watermarkBatch + 1)',
    by: 'sealedLast + 1)',
  },
  {
    name: 'a rebuild believes the order on disk',
    promise: 'L1',
    hunt: { run: 'time-travel', seed: 6 },
    file: `${LOG}/page-fold.ts`,
    replace: 'if (extents.rebuilding || map.tombstones.length > 0)',
    by: 'if (!extents.rebuilding && map.tombstones.length > 0)',
  },
  {
    name: 'a checkpoint passes a page that is being loaded',
    hunt: { run: 'calm', seed: 5 },
    file: `${LOG}/page-loads.ts`,
    replace: 'if (this.extents.pending.has(pageKeyOf(map.number, page))) return',
    by: 'if (page < 0) return',
  },
  {
    name: "a cleaner's copy replaces what is newer",
    promise: 'L2',
    hunt: { run: 'time-travel', seed: 12 },
    file: `${LOG}/extent-map.ts`,
    replace: 'segmentOf(words, at) !== move.fromSegment || words[at + 1] !== move.fromUnits',
    by: 'words[at] === 0',
    and: {
      file: `${LOG}/extent-map.ts`,
      replace: 'epochOf(words, at) !== move.epoch || seqOf(words, at) !== move.seq',
      by: '((move.fromSegment = segmentOf(words, at)), false)',
    },
  },
  {
    name: 'a moved block counts at both places',
    promise: 'L3',
    hunt: { run: 'errors', fault: 'sync', n: 40, seed: 1 },
    file: `${LOG}/extent-map.ts`,
    replace: 'this.segments.drop(move.fromSegment, stored)\n',
    by: '\n',
  },
  {
    name: 'a zero is forgotten while older data is on the disk',
    hunt: { run: 'time-travel', seed: 12 },
    file: `${LOG}/cleaner.ts`,
    replace: 'if (mayGo) {',
    by: 'if (!isUnfinished) {',
  },
  {
    name: 'a deletion is forgotten while older data is on the disk',
    hunt: { run: 'file', path: 'test/engine/log/cleaner.test.ts' },
    file: `${LOG}/cleaner.ts`,
    replace: 'snapshots.length === 0 &&\n      record.bornBatch < Math.min(',
    by: 'snapshots.length === 0 && 0 < Math.min(',
  },
  {
    name: 'a merge does not lock its blocks',
    hunt: { run: 'calm', seed: 11 },
    file: `${VOLUME}/range-locks.ts`,
    replace: 'return overlaps(this.held, first, end) || overlaps(this.waiting, first, end)',
    by: 'return first > end',
  },
  {
    name: 'a merge reads before older writes are committed',
    hunt: { run: 'calm', seed: 12 },
    file: `${VOLUME}/volume.ts`,
    replace: 'this.commits.whenCommitted(this.commits.lastSeq, () => {\n',
    by: 'this.commits.whenCommitted(0, () => {\n',
  },
  {
    name: 'a write that was held runs beside a merge',
    hunt: { run: 'time-travel', seed: 10 },
    file: `${VOLUME}/volume.ts`,
    replace: 'if (this.locks.isEmpty || !this.locks.blocks(first, end)) run()',
    by: 'if (first < end) run()',
  },
  {
    name: 'a stop overtakes a merge',
    hunt: { run: 'full', seed: 26 },
    file: `${VOLUME}/volume.ts`,
    replace: 'this.locks.whenIdle(() => this.commits.whenCommitted(this.commits.lastSeq, run))',
    by: 'this.commits.whenCommitted(this.commits.lastSeq, run)',
  },
  {
    name: 'a merge crosses a rollback',
    hunt: { run: 'time-travel', seed: 70 },
    file: `${VOLUME}/volume.ts`,
    replace: 'else this.locks.wait(0, Infinity, run)',
    by: 'else run()',
  },
  {
    name: 'a page is shown before it is rewound',
    hunt: { run: 'file', path: 'test/engine/log/extent-map.test.ts' },
    file: `${LOG}/page-loads.ts`,
    replace: 'page.needsRewind = true\n      map.pages.set(pageNumber, page)',
    by: 'map.pages.set(pageNumber, page)',
  },
  {
    name: 'what a head shows again stays in the history',
    promise: 'L10',
    hunt: { run: 'time-travel', seed: 37 },
    file: `${LOG}/page-rewind.ts`,
    replace: '        dropHistory(map, lba, shown)\n',
    by: '',
  },
  {
    name: 'a rollback that is rolled away still hides',
    hunt: { run: 'file', path: 'test/engine/log/extent-map.test.ts' },
    file: `${VOLUME}/descriptor.ts`,
    replace: 'for (const [above, upTo] of this.lineage(viewSeq)) if',
    by:
      'if (entrySeq > viewSeq) return true\n' +
      'for (const [to, at] of this.rollbacks) if (viewSeq >= at && entrySeq > to && entrySeq <= at) return true\n' +
      'for (const [above, upTo] of [[0, viewSeq]]) if',
  },
  {
    name: "a snapshot's version goes with an overwrite",
    hunt: { run: 'time-travel', seed: 3 },
    file: `${LOG}/extent-map.ts`,
    replace: 'if (map.views.keepsOlder && map.views.seenBelow(seqOf(words, at), newerSeq))',
    by: 'if (newerSeq < 0)',
  },
  {
    name: 'the checksum knows no place',
    hunt: { run: 'file', path: 'test/engine/log/identity.test.ts' },
    file: `${LOG}/identity.ts`,
    replace: 'mix(mix(seed, lba - high * HIGH_UNIT), high)',
    by: 'mix(mix(seed, 0), 0 * high)',
  },
  {
    name: 'the checksum knows no version',
    hunt: { run: 'file', path: 'test/engine/log/identity.test.ts' },
    file: `${LOG}/identity.ts`,
    replace: 'mix(mix(mix(tag, epoch), seq - high * HIGH_UNIT), high)',
    by: 'mix(mix(mix(tag, 0), 0), 0 * high)',
  },
  {
    name: 'a block is read and not verified',
    promise: 'L7',
    hunt: { run: 'damage', seed: 1 },
    file: `${VOLUME}/block-reader.ts`,
    replace: '!== crcOf(words, w)) return i',
    by: '!== crcOf(words, w)) return -1',
  },
  {
    name: 'what a snapshot sees goes while its page waits',
    hunt: { run: 'time-travel', seed: 3 },
    file: `${LOG}/extent-map.ts`,
    replace: '!isNeeded && !map.views.seenBelow(seq, newerSeq[index]!)',
    by: '!isNeeded',
    and: THIN_ALWAYS,
  },
  {
    name: 'what goes while its page waits keeps its space',
    promise: 'L8',
    hunt: { run: 'tiny', seed: 1 },
    file: `${LOG}/extent-map.ts`,
    replace: 'this.releaseEntry(map, words, at)\n        return true',
    by: 'return true',
    and: THIN_ALWAYS,
  },
  {
    name: 'a zero over data that waits is forgotten',
    hunt: { run: 'file', path: 'test/engine/log/extent-map.test.ts' },
    file: `${LOG}/extent-map.ts`,
    replace: '&& !isNeeded && !map.views',
    by: '&& !map.views',
  },
  {
    name: 'a page value counts to 65,535',
    hunt: { run: 'file', path: 'test/engine/log/hot-page.test.ts' },
    file: `${LOG}/index-keys.ts`,
    replace: 'out[1] = count >>> 16',
    by: 'out[1] = 0',
  },
  {
    name: 'a later sync that ends first counts',
    hunt: { run: 'file', path: 'test/engine/log/log-stream.test.ts' },
    file: `${LOG}/sync-slots.ts`,
    replace: 'while (this.running[0]?.ended === true)',
    by: 'while (this.running.some((one) => one.ended))',
  },
  {
    name: 'a batch counts as written before it is',
    hunt: { run: 'time-travel', seed: 1 },
    file: `${LOG}/log-stream.ts`,
    replace: 'this.isWritten(this.writtenBatch + 1)',
    by: 'true',
  },
  {
    name: 'what lies beside dead writes goes with them',
    hunt: { run: 'full', seed: 1 },
    file: `${LOG}/batch-writer.ts`,
    replace: 'if (!append.mapOnly) segments.mixed[segment] = 1',
    by: '',
  },
  {
    name: 'a zero that the cleaner moved is not written again',
    hunt: { run: 'file', path: 'test/engine/log/checkpoint.test.ts' },
    file: `${LOG}/checkpoint.ts`,
    replace: 'if (t.savedSegment === t.segment) continue',
    by: 'if (t.savedSegment !== undefined) continue',
  },
  {
    name: 'rot is copied under its old checksum',
    hunt: { run: 'file', path: 'test/engine/log/cleaner.test.ts' },
    file: `${LOG}/cleaner.ts`,
    replace: 'if (crc !== record.crcs[i]) {',
    by: 'if (crc < 0) {',
  },
  {
    name: 'a segment is given back while entries point to it',
    promise: 'L4',
    hunt: { run: 'full', seed: 1 },
    file: `${LOG}/cleaner.ts`,
    replace: 'segments.live[segment] === 0 && segments.mixed[segment] === 0',
    by: 'segments.live[segment] === 0 || segments.mixed[segment] === 0',
  },
  {
    name: 'volumes share the entries that wait for their pages',
    promise: 'L12',
    hunt: { run: 'time-travel', seed: 4 },
    file: `${LOG}/volume-map.ts`,
    replace: 'volume * PAGES_MAX + page',
    by: 'Math.min(volume, 1) * PAGES_MAX + page',
  },
  {
    name: 'a trim of a wiped history stands for the same one that is filled',
    hunt: { run: 'file', path: 'test/engine/volume/copy-trims.test.ts' },
    file: `${LOG}/cleaner.ts`,
    replace: 'if (isWiped(volume, record)) return true',
    by: '',
  },
  {
    name: 'a trim that was dropped stands for the same one that came again',
    hunt: { run: 'file', path: 'test/engine/volume/copy-trims.test.ts' },
    file: `${LOG}/cleaner.ts`,
    replace: '      !ofBefore &&\n',
    by: '',
  },
  {
    name: 'a trim that is filled is forgotten before what it kills',
    hunt: { run: 'file', path: 'test/engine/volume/copy-trims.test.ts' },
    file: `${VOLUME}/copy-filling.ts`,
    replace: 'if (record.kind === RECORD_KIND.write) record.bornBatch',
    by: 'record.bornBatch',
  },
  {
    name: 'what a filling brings is younger than the trims that came behind its target',
    hunt: { run: 'file', path: 'test/engine/volume/copy-trims.test.ts' },
    file: `${VOLUME}/copy-filling.ts`,
    replace: 'if (record.kind === RECORD_KIND.write) record.bornBatch = this.dataBorn(target)',
    by: 'void this.dataBorn(target)',
  },
  // Of replication, and no seed of the swarm finds it: when all is quick again the filling ends.
  {
    name: 'a filling that is busy is begun anew',
    hunt: { run: 'file', path: 'test/engine/replication/filling.test.ts' },
    file: 'engine/replication/fill-source.ts',
    replace: '(isBegun ? 2 * BUSY_PATIENCES : 1) * patienceMs',
    by: '(isBegun ? 1 : 1) * patienceMs',
  },
  {
    name: 'a segment is given back while it is read',
    hunt: { run: 'file', path: 'test/engine/log/checkpoint.test.ts' },
    file: `${LOG}/checkpoint.ts`,
    replace: 'segments.readers[segment] === 0 &&',
    by: '',
  },
]
