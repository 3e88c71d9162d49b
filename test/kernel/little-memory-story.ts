/**
 * A machine with 256 MiB of memory and no swap, whose page cache is full of what has to go through the NBD device to a
 * data process of the same machine: file systems that wait for memory wait for that process, and it must not wait for
 * them. Buffered writes that fill the memory with dirty pages, and beside them many small writes with an fsync each.
 *
 * What the kernel says while it runs is told: how much memory is dirty, free and cached, how often code had to be read
 * again because memory was short, and where tasks wait that cannot be interrupted.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { AT, STATE } from './story.ts'
import type { Story } from './story.ts'
import { OWN } from './kernel-guest.ts'

export const LITTLE_MEMORY = '256M'
const RUN_SECONDS = 40
/** All of it: a machine that waits for itself does not end. */
const END_WITHIN_MS = 600_000
const SAMPLE_EVERY_S = 5

const fio = (name: string, words: string): string =>
  `fio --name=${name} --directory=${AT} --thread --verify=crc32c --verify_fatal=1 --fallocate=none --time_based `
    + `--runtime=${RUN_SECONDS} --minimal ${words}`
const DIRTY = fio('dirty', '--size=160M --bs=64k --rw=write --ioengine=psync --do_verify=0')
const STORM = fio('storm', '--size=4M --bs=4k --rw=randwrite --ioengine=psync --fsync=1 --numjobs=8 --group_reporting')

const MEMORY = '/^(MemFree|MemAvailable|Dirty|Writeback|Cached|Active.file.|Inactive.file.|AnonPages|Slab):/'
const COUNTS = '/^(pgmajfault|workingset_refault_file|allocstall_normal|oom_kill|pgscan_direct|pgsteal_direct) /'
const SAMPLE = `while [ ! -e /run/enough ]; do
  echo "sample: $(awk '${MEMORY} { printf "%s%d ", $1, $2 / 1024 }' /proc/meminfo)" \\
    "$(awk '${COUNTS} { printf "%s:%d ", $1, $2 }' /proc/vmstat)" > /dev/tty0
  for p in /proc/[0-9]*; do
    read -r pid name state rest < $p/stat 2>/dev/null || continue
    [ "$state" = D ] && echo "sample: D $pid $name $(tr '\\n' ' ' < $p/stack | cut -c 1-300)" > /dev/tty0
  done
  sleep ${SAMPLE_EVERY_S}
done`

export async function tellLittleMemory(story: Story): Promise<void> {
  const { guest } = story
  await story.begin('data')
  const memory = await guest.must('grep -E "MemTotal|SwapTotal" /proc/meminfo')
  story.tell(memory.replaceAll(/\s+/g, ' '))
  const sampling = guest.run(SAMPLE)
  const device = (/\/dev\/nbd\d+/.exec(await story.holdfast('attach data')))![0]
  await guest.must(`mkfs.ext4 -q ${device} && mkdir -p ${AT} && mount ${device} ${AT}`)
  story.tell('attached, mkfs.ext4, mounted')
  const files = [`${OWN}/n1/supervisor.pid`, `${OWN}/n1/pid`, `${STATE}/keeper.lock`]
  const processes = await guest.must(`for pid in $(cat ${files.join(' ')}); do `
    + `grep -E "^(Rss|Pss_Anon|Pss_File|Private_Dirty|Locked):" /proc/$pid/smaps_rollup | tr -s " \\n" " "; echo; done`)
  story.tell(`supervisor, daemon, keeper: ${processes.trim().replaceAll('\n', '; ')}`)
  const work = Promise.all([guest.run(DIRTY), guest.run(STORM)])
  const ended = await Promise.race([work, sleep(END_WITHIN_MS, undefined, { ref: false })])
  story.tell(`what the kernel said:\n${samplesOf(guest.console)}`)
  if (ended === undefined) throw new Error('it has not ended: the machine waits for itself, or has no room')
  for (const { code, output } of ended) if (code !== 0) throw new Error(`fio ended with ${code}: ${output}`)
  const [dirty, storm] = ended.map(({ output }) => output.trim().split('\n').at(-1)!.split(';'))
  story.tell(`${RUN_SECONDS} s: ${(Number(dirty![46]) / 1024).toFixed(0)} MiB written into the page cache, `
    + `${Number(storm![46]) / 4} writes with an fsync each, all verified`)
  await guest.must('touch /run/enough')
  await sampling
  await guest.must(`umount ${AT}`)
  await guest.must(`e2fsck -fn ${device}`)
  await story.holdfast('detach data')
  const wrong = await story.errors()
  if (wrong !== '') throw new Error(wrong)
  story.tell('unmounted, e2fsck is content, detached, 0 errors')
}

function samplesOf(console: string): string {
  const word = 'sample: '
  return console.split('\n').filter((line) => line.startsWith(word)).map((line) => line.slice(word.length)).join('\n')
}
