/**
 * What a database would live through on a kernel device of ours: load on the mounted file system while processes are
 * killed, or changed for those of another commit. A single I/O error ends the story.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControlApi } from '../../cluster/api/client.ts'
import { MIB } from '../../engine/units.ts'
import { OWN } from './kernel-guest.ts'
import { AT, CLI, ROOT, VOLUME_BYTES } from './story.ts'
import type { Story } from './story.ts'

/** There: the load may end. */
const ENOUGH = '/run/enough'
const SHORT_SECONDS = 8

/** Random reads and writes past the page cache, each block verified. */
const fio = (seconds: number, file: string): string =>
  `fio --name=${file} --filename=${AT}/${file} --size=48M --bs=4k --rw=randrw --ioengine=libaio --iodepth=8 --direct=1 `
    + `--verify=crc32c --verify_fatal=1 --time_based --runtime=${seconds} --minimal`

/** Again and again until `end` is told; one that fails ends it. */
function underLoad({ guest }: Story): { end(): Promise<void> } {
  const rounds = guest.run(`rounds=0; while [ ! -e ${ENOUGH} ]; do ${fio(10, 'load')} || exit 1; `
    + 'rounds=$((rounds+1)); done; echo "rounds: $rounds"')
  return {
    end: async () => {
      await guest.must(`touch ${ENOUGH}`)
      const { code, output } = await rounds
      if (code !== 0) throw new Error(`fio ended with ${code}: ${output}`)
    },
  }
}

/** The whole of it. */
export async function tellAll(story: Story): Promise<void> {
  const { guest, hosts, control } = story
  const name = 'data'
  await story.begin(name)
  const outside = await guest.run(
    `unshare -n ${process.execPath} ${CLI} attach ${name} --state ${OWN}/outside --endpoint ${OWN}/n1`)
  if (outside.code === 0 || !/network namespace of the host/.test(outside.output)) {
    throw new Error(`outside the network namespace of the host: ${outside.code} ${outside.output}`)
  }
  await guest.must(`kill $(cat ${OWN}/outside/keeper.lock)`)
  story.tell('outside the network namespace of the host it says so')
  const device = (/\/dev\/nbd\d+/.exec(await story.holdfast(`attach ${name}`)))![0]
  story.tell(`attached: ${device}`)
  await guest.must(`mkfs.ext4 -q ${device} && mkdir -p ${AT} && mount ${device} ${AT}`)
  story.tell('mkfs.ext4, mounted')
  const quiet = await guest.must(fio(5, 'first'))
  const [, , , , , , , readIops] = quiet.split(';')
  story.tell(`fio alone: 5 s, ${readIops} reads/s and as many writes`)
  const load = underLoad(story)
  await sleep(3000)
  await story.killDaemon()
  story.tell('kill -9 of the daemon: another one serves')
  await sleep(6000)
  await story.killKeeper()
  story.tell('kill -9 of the keeper')
  await sleep(2000)
  await story.holdfast(`attach ${name}`)
  story.tell('another keeper')
  await sleep(3000)
  await Promise.all([story.killKeeper(), story.killDaemon()])
  await story.holdfast(`attach ${name}`)
  story.tell('kill -9 of both: others serve')
  await sleep(6000)
  await control.moveVolume({ name, what: 'primary', to: 'n2', from: '' })
  await sleep(2000)
  const n2 = hosts[0]!
  const back = n2.ready()
  n2.killDaemon()
  await back
  story.tell('kill -9 of the primary on another node')
  await load.end()
  const wrong = await story.errors()
  if (wrong !== '') throw new Error(wrong)
  story.tell('fio under all that: verified, 0 errors; the file system is read-write')
  const api = connectControlApi({ socketPath: n2.paths.api, source: 'of the story' })
  await api.resizeVolume({ name, sizeBytes: VOLUME_BYTES + 64 * MIB, force: false })
  api.close()
  await story.holdfast(`attach ${name}`)
  await guest.must(`resize2fs ${device}`)
  story.tell(`grown while mounted: ${(await guest.must(`df -h --output=size ${AT} | tail -1`)).trim()}`)
  await guest.must(`umount ${AT}`)
  await guest.must(`e2fsck -fn ${device}`)
  await story.holdfast(`detach ${name}`)
  const left = await guest.must('cat /sys/block/nbd*/pid 2>/dev/null | wc -l')
  if (left.trim() !== '0') throw new Error(`devices are left: ${left}`)
  story.tell('unmounted, e2fsck is content, detached')
}

/** From the commit before this one to this one, and back, under load. */
export async function tellUpgrade(story: Story): Promise<void> {
  const { control } = story
  const name = 'data'
  const before = story.treeOf(process.env.UPGRADE_FROM ?? 'HEAD~1')
  await story.begin(name)
  await story.holdfast(`attach ${name} --mount ${AT}`)
  await story.changeTo(before, name)
  story.tell('attached and mounted; the commit before serves')
  const load = underLoad(story)
  await sleep(5000)
  await story.changeTo(ROOT, name)
  story.tell('this commit serves')
  await sleep(10_000)
  await story.changeTo(before, name)
  story.tell('the one before again')
  await load.end()
  const wrong = await story.errors()
  if (wrong !== '') throw new Error(wrong)
  await story.until('every copy is in its set', async () => (await control.getVolume({ name })).health === 'healthy')
  await story.holdfast(`detach ${name}`)
  story.tell('fio under all that: verified, 0 errors; unmounted, detached')
}

/** What every change is tried with: a mounted file system sees nothing of its daemon and keeper that are killed. */
export async function tellShort(story: Story): Promise<void> {
  const { guest } = story
  await story.begin('data')
  await story.holdfast(`attach data --mount ${AT}`)
  story.tell('attached and mounted')
  const load = guest.run(fio(SHORT_SECONDS, 'load'))
  await sleep(1000)
  await Promise.all([story.killDaemon(), story.killKeeper()])
  await story.holdfast('attach data')
  story.tell('kill -9 of daemon and keeper: others serve')
  const { code, output } = await load
  if (code !== 0) throw new Error(`fio ended with ${code}: ${output}`)
  const wrong = await story.errors()
  if (wrong !== '') throw new Error(wrong)
  await story.holdfast('detach data')
  story.tell('fio under that: verified, 0 errors; unmounted, detached')
}
