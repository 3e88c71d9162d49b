/** The guest's side of guest-devices.ts, a process of its own as it enters a network for good: ROUNDS SECONDS. */
import '../../test/csi/node/own-mounts.ts'
import { spawnSync } from 'node:child_process'
import { MIB } from '../../engine/units.ts'
import { OWN } from '../../test/kernel/kernel-guest.ts'
import { Story } from '../../test/kernel/story.ts'
import { CASES, caseWords } from './cases.ts'
import { fioArguments } from './fio.ts'
import { parseFioReport } from './fio-report.ts'
import { SAMPLE, type GuestSample } from './guest-devices.ts'

const SIZE_BYTES = 64 * MIB
const NAME = 'data'
const QEMU_DEVICE = '/dev/nbd3'
const NAMES = ['4k randwrite QD1', '4k randwrite QD32', '4k randread QD32', '128k write QD8']

const [rounds, seconds] = process.argv.slice(2).map(Number) as [number, number]
const say = (line: string): void => void process.stdout.write(`${line}\n`)

// Of this process's own mounts: guests, which have copies of them, hear of what is unmounted.
spawnSync('mount', ['--make-rshared', '/'])

await Story.tell({ say }, async (story) => {
  const { guest } = story
  await story.begin(NAME)
  const device = (/\/dev\/nbd\d+/.exec(await story.holdfast(`attach ${NAME}`)))![0]
  const file = `${OWN}/peer.raw`
  await guest.must(`dd if=/dev/zero of=${file} bs=1M count=${SIZE_BYTES / MIB} conv=fsync`)
  await guest.must(`dd if=/dev/zero of=${device} bs=1M count=${SIZE_BYTES / MIB} oflag=direct conv=fsync`)
  const served = `--socket=${OWN}/peer.sock --format=raw --cache=writethrough ${file}`
  await guest.must(`qemu-nbd --connect=${QEMU_DEVICE} ${served}`)
  story.tell('both devices are full')
  const devices = { device3: device, 'qemu-wt': QEMU_DEVICE } as const
  const servers = Object.keys(devices) as Array<keyof typeof devices>
  for (let round = 0; round < rounds; round++) {
    for (const one of CASES.filter(({ name }) => NAMES.includes(name))) {
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        const words = fioArguments([{ device: devices[server] }], caseWords(one, SIZE_BYTES, seconds))
        await guest.must('sync')
        const output = await guest.must(`fio ${words.map((word) => `'${word}'`).join(' ')}`)
        const sample: GuestSample = { one: one.name, server, round, report: parseFioReport(output) }
        say(`${SAMPLE}${JSON.stringify(sample)}`)
      }
    }
  }
  await guest.must(`qemu-nbd --disconnect ${QEMU_DEVICE}`)
  await story.holdfast(`detach ${NAME}`)
})
