/** What the benchmarks read from the kernel, from LevelDB's log and from filefrag, as those tools write it. */
import t from 'tap'
import { countersOf, cpuSecondsOf, memoryOf } from '../../bench/volume/process-figures.ts'
import { deviceBytesOf, indexBytesOf, unwrittenBytesOf } from '../../bench/volume/written-bytes.ts'

t.test('processor time: the name of a process may hold anything', async (t) => {
  const line = '77 (a) b (c d) S 1 77 77 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 7 0 100 1 2'
  t.equal(cpuSecondsOf(line), 3)
})

t.test('counters with and without units', async (t) => {
  t.same(countersOf('VmRSS:\t    1024 kB\nThreads:\t7\nName:\tnode\n'), { VmRSS: 1024 * 1024, Threads: 7 })
  t.same(countersOf('wchar: 12\nwrite_bytes: 4096\n'), { wchar: 12, write_bytes: 4096 })
})

t.test('memory of this process', async (t) => {
  const { rssBytes, anonBytes, fileBytes } = memoryOf(process.pid)
  t.ok(anonBytes > 0 && fileBytes > 0)
  t.equal(rssBytes, anonBytes + fileBytes)
})

t.test('what LevelDB wrote: level-0 tables and the log before them, and compactions', async (t) => {
  const log = [
    '2026/01/01-00:00:00.000000 7f Level-0 table #5: started',
    '2026/01/01-00:00:00.100000 7f Level-0 table #5: 1000 bytes OK',
    '2026/01/01-00:00:01.000000 7f Compacting 4@0 + 1@1 files',
    '2026/01/01-00:00:01.100000 7f Generated table #9@0: 10 keys, 2500 bytes',
    '2026/01/01-00:00:01.200000 7f Compacted 4@0 + 1@1 files => 2500 bytes',
    '2026/01/01-00:00:01.300000 7f Moved #9 to level-2 2500 bytes OK: files[ 0 0 1 0 0 0 0 ]',
  ].join('\n')
  t.equal(indexBytesOf(log), 2 * 1000 + 2500)
})

t.test('extents that are reserved only', async (t) => {
  const listing = [
    'Filesystem type is: ef53',
    'File size of d is 1048576 (256 blocks of 4096 bytes)',
    ' ext:     logical_offset:        physical_offset: length:   expected: flags:',
    '   0:        0..      55:      34816..     34871:     56:            ',
    '   1:       56..     155:      34872..     34971:    100:             unwritten',
    '   2:      156..     255:      40000..     40099:    100:      34972: last,unwritten,eof',
    'd: 3 extents found',
  ].join('\n')
  t.equal(unwrittenBytesOf(listing), 200 * 4096)
})

t.test('bytes to a device: of the whole one, not of a partition with a longer name', async (t) => {
  const stats = ' 253 1 vda1 1 2 3 4 5 6 999 8\n 253 0 vda 1 2 3 4 5 6 100 8 9 10\n'
  t.equal(deviceBytesOf(stats, 'vda'), 51_200)
  t.equal(deviceBytesOf(stats, 'sda'), undefined)
})
