/** Servers side by side: what fio is told, how goals are judged, and what the table shows of rounds that differ. */
import t from 'tap'
import { CASES, caseWords } from '../../bench/volume/cases.ts'
import { judge, type RatioGoal, type Sample, type Samples } from '../../bench/volume/comparison.ts'
import { fioArguments, type FioTarget } from '../../bench/volume/fio.ts'
import { samplesTable } from '../../bench/volume/samples-table.ts'

const ONE = '4k randwrite QD32'
const MIB = 2 ** 20

function sample(iops: number, change: Partial<Sample> = {}): Sample {
  return {
    operations: iops, seconds: 1, iops, bytesPerSecond: iops * 4096, latencyMeanUs: 32e6 / iops, p50Us: 1, p99Us: 2,
    p999Us: 3, writes: iops, reads: 0, cpuPerMillion: 20, bytesPerByte: 1.25, ...change,
  }
}

const samplesOf = (servers: Record<string, Array<Sample | undefined>>): Samples =>
  new Map([[ONE, new Map(Object.entries(servers))]])

const goal = (change: Partial<RatioGoal>): RatioGoal =>
  ({ name: 'a', one: ONE, metric: 'iops', ours: 'us', theirs: 'them', compare: 'least', limit: 2, ...change })

t.test('a goal is judged by the median of the ratios within rounds', async (t) => {
  // Figures of the third round are of a machine that is ten times as slow.
  const samples = samplesOf({
    us: [sample(1000), sample(3000), sample(250)], them: [sample(500), sample(1000), sample(100)],
  })
  t.match(judge(goal({}), samples, []), { wanted: '>= 2x', measured: '2.50x (2.00 to 3.00)', met: true })
  t.match(judge(goal({ limit: 2.6 }), samples, []), { met: false })
  const latency = goal({ metric: 'latencyMeanUs', compare: 'most', limit: 0.3 })
  t.match(judge(latency, samples, []), { wanted: '<= 0.3x', measured: '0.40x (0.33 to 0.50)', met: false })
})

t.test('a peer that is not there makes no goal met or missed', async (t) => {
  const samples = samplesOf({ us: [sample(1000)] })
  const judged = judge(goal({}), samples, ['other: x', 'them: ceph-osd is not installed'])
  t.match(judged, { measured: undefined, met: undefined, note: 'them: ceph-osd is not installed' })
  t.match(judge(goal({}), samples, []), { met: undefined, note: 'no round has both' })
})

t.test('the table: medians of each server, ratios of ours to each other one', async (t) => {
  const quiet = { cpuPerMillion: undefined, bytesPerByte: undefined }
  const samples = samplesOf({
    us: [sample(1000), undefined, sample(3000)], them: [sample(500, quiet), sample(1, quiet), sample(1000, quiet)],
  })
  const rows = samplesTable(samples, ['us'], ['them', 'absent']).split('\n').slice(-2)
  t.match(rows[0], /^\| 4k randwrite QD32 \| us \| 2,000 \| 8 \| .* \| 20 \| 1\.25 \| 2\.50 \(2\.00 to 3\.00\) \|  \|$/)
  t.match(rows[1], /^\| 4k randwrite QD32 \| them \| 500 \| .* \|  \|  \|  \|  \|$/)
})

t.test('fio is told the same of every target, and the target for each job', async (t) => {
  const words = caseWords(CASES.find(({ name }) => name === ONE)!, 64 * MIB, 3)
  const jobs = (...targets: FioTarget[]): string => fioArguments(targets, words).join(' ')
  const same = jobs({ uri: 'U' }).replace(/ --name=job0.*/, '')
  t.match(same, /^--name=global --rw=randwrite --bs=4096 --iodepth=32 --size=67108864 .*--runtime=3000ms/)
  const tails: Array<[FioTarget, string]> = [
    [{ uri: 'U' }, '--ioengine=nbd --uri=U'],
    [{ file: 'F', sync: 'none' }, '--ioengine=psync --filename=F'],
    [{ file: 'F', sync: 'each' }, '--ioengine=psync --filename=F --fdatasync=1'],
    [{ file: 'F', sync: 'queue' }, '--ioengine=libaio --filename=F --fdatasync=32'],
    [{ device: 'D' }, '--ioengine=libaio --direct=1 --filename=D'],
    [{ image: 'I', pool: 'P', conf: 'C' }, '--ioengine=rbd --clientname=admin --pool=P --rbdname=I'],
  ]
  for (const [target, tail] of tails) t.equal(jobs(target), `${same} --name=job0 ${tail}`)
  t.match(jobs({ uri: 'U' }, { uri: 'V' }), /--name=job0 --ioengine=nbd --uri=U --name=job1 --ioengine=nbd --uri=V$/)
})

t.test('cases: a mixture, a flush behind every write, a share for each of several volumes', async (t) => {
  const of = (name: string): string =>
    caseWords(CASES.find((one) => one.name === name)!, 64 * MIB, 0.3).join(' ')
  t.match(of('4k 70/30 QD32'), /--rw=randrw .*--rwmixread=70/)
  t.match(of('4k randwrite + flush QD1'), '--fsync=1')
  t.match(of('4k randwrite 4xQD32'), `--size=${16 * MIB} `)
  t.match(of('4k randwrite QD1'), '--runtime=300ms')
  t.notMatch(of('4k randwrite QD1'), /fsync|rwmix/)
})
