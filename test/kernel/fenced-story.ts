/**
 * A pod's machine is lost while it writes: no call reaches it any more, the volume is given to another node, and the
 * time until what the pod wrote is read and verified there is told. Then the machine comes back, from its disk or from
 * its pause, and each of its late writes has to be refused: by the error that it sees, and by what the volume holds.
 *
 *   on n1 (guest)  stage, publish, fio writes `settled` and syncs it, then writes `load` without end
 *   lost           SIGKILL of the machine, or SIGSTOP in the middle of a write
 *   on n3 (host)   unpublish of n1, publish, stage, publish, `settled` verified; every byte of `load` is written anew
 *   n1 is back     killed: its attachment is refused; paused: its fio ends with an error
 *   on n3          unmounted, checked, mounted again: `settled` and `load` are what they have to be
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { GENERATION } from '../../csi/controller/publish-volume.ts'
import { MIB } from '../../engine/units.ts'
import { OWN } from './kernel-guest.ts'
import { Kubernetes, fileSystem, stageCall, startGuestNode } from './guest-kubelet.ts'
import type { Published } from './guest-kubelet.ts'
import type { Ran } from './kernel-guest.ts'
import type { Story } from './story.ts'

/** From the loss to the first verified read. */
const READ_WITHIN_MS = 15_000
const LOAD_BYTES = 8 * MIB
const SETTLED_MIB = 4
const FIRST_READ_BYTES = 64 * 1024
/** What the guest has to tell of its late writes after it went on. */
const LATE_MS = 90_000
const FAILED_PRECONDITION = 9
const EXT4 = fileSystem('ext4')

export const LOSSES = ['killed', 'paused'] as const
type Loss = (typeof LOSSES)[number]

/** @param runs  with each kind of loss */
export async function tellFenced(story: Story, runs: number): Promise<void> {
  await story.start()
  const cluster = await Kubernetes.start(story)
  const volumeId = await cluster.create('data', 256 * MIB, EXT4)
  const longest = new Map<Loss, number>()
  let before: Lost | undefined
  // A machine that was paused is used again; one that was killed has to boot.
  for (const loss of [...LOSSES].reverse()) {
    for (let run = 1; run <= runs; run++) {
      await story.until('every copy is in its set', async () =>
        (await story.control.getVolume({ name: volumeId })).health === 'healthy')
      before = await lose(cluster, volumeId, { loss, name: `${loss} ${run} of ${runs}`, before })
      longest.set(loss, Math.max(longest.get(loss) ?? 0, before.tookMs))
    }
  }
  for (const [loss, tookMs] of longest) {
    story.tell(`${loss}: ${runs} runs, the longest until a verified read ${(tookMs / 1000).toFixed(1)} s`)
  }
  const late = [...longest].filter(([, tookMs]) => tookMs > READ_WITHIN_MS).map(([loss]) => loss)
  if (late.length > 0) throw new Error(`longer than ${READ_WITHIN_MS / 1000} s: ${late.join(', ')}`)
}

interface Lost {
  /** From the loss to the first verified read. */
  tookMs: number
  /** What n3 wrote over all of `load`. */
  byte: number
}

async function lose(
  cluster: Kubernetes, volumeId: string, { loss, name, before }: { loss: Loss; name: string; before: Lost | undefined },
): Promise<Lost> {
  const { story, guest, host } = cluster
  const machine = story.guest
  const lost = await cluster.publish(guest, volumeId, EXT4, 'data')
  const { target } = await cluster.show(guest, lost)
  // Its copy leads now.
  if (before !== undefined) {
    const sum = createHash('sha256').update(Buffer.alloc(LOAD_BYTES, before.byte)).digest('hex')
    const found = await machine.must(`sha256sum ${path.join(target, 'load')}`)
    if (!found.startsWith(sum)) throw new Error(`n1 reads of load other bytes than n3 wrote: ${found}`)
  }
  await machine.must(write(path.join(target, 'settled'), SETTLED_MIB, '--end_fsync=1'))
  const load = await underLoad(cluster, target)

  const lostMs = performance.now()
  if (loss === 'killed') await machine.cutPower()
  else machine.freeze()
  const stepsMs: string[] = []
  const step = async <T>(what: string, doing: Promise<T>): Promise<T> => {
    const startedMs = performance.now()
    const done = await doing
    stepsMs.push(`${what} ${Math.round(performance.now() - startedMs)}`)
    return done
  }
  await step('unpublish', cluster.unpublish(guest, volumeId))
  const moved = await step('publish', cluster.publish(host, volumeId, EXT4, 'data'))
  const shown = await step('stage and show', cluster.show(host, moved))
  await step('read', verified(shown.target, FIRST_READ_BYTES))
  const tookMs = performance.now() - lostMs
  await verified(shown.target)
  story.tell(`${name}: verified read after ${(tookMs / 1000).toFixed(1)} s (ms: ${stepsMs.join(', ')})`)
  const byte = 1 + (Math.floor(lostMs) % 255)
  fill(path.join(shown.target, 'load'), byte)

  const refusal = loss === 'killed' ? await comeBack(cluster, lost) : await goOn(cluster, load)
  story.tell(`${name}: n1 is back: ${refusal}`)
  await cluster.hide(host, moved)
  const again = await cluster.show(host, moved)
  await verified(again.target)
  const found = readFileSync(path.join(again.target, 'load'))
  if (!found.equals(Buffer.alloc(LOAD_BYTES, byte))) {
    const at = found.findIndex((one) => one !== byte)
    throw new Error(`a late write of n1 is in the volume: byte ${at} of load is ${found[at]}, and ${byte} was written`)
  }
  await cluster.hide(host, moved)
  await cluster.unpublish(host, volumeId)
  await cluster.hide(guest, lost)
  return { tookMs, byte }
}

/** Random writes of 4 KiB past the page cache, each block with a checksum of its own. */
const write = (file: string, mebibytes: number, ...more: string[]): string =>
  `fio --name=w --filename=${file} --size=${mebibytes}M --bs=4k --rw=write --ioengine=libaio --iodepth=4 --direct=1 `
    + `--verify=crc32c --do_verify=0 --fallocate=none --minimal ${more.join(' ')}`

/** Writes and reads back what it wrote, without end; resolves when it is in the middle of that. */
async function underLoad({ story: { guest } }: Kubernetes, target: string): Promise<{ ran: Promise<Ran> }> {
  const file = path.join(target, 'load')
  await guest.must(write(file, LOAD_BYTES / MIB, '--end_fsync=1'))
  const ran = guest.run(`fio --name=load --filename=${file} --size=${LOAD_BYTES / MIB}M --bs=4k --rw=randwrite `
    + '--ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --time_based --runtime=3600 '
    + '--minimal; code=$?; dmesg | grep -E "I/O error" | tail -n 3; exit $code')
  const written = `$(awk '$3 == "nbd0" { print $8 }' /proc/diskstats)`
  await guest.must(`before=${written}; until [ ${written} -gt $((before + 50)) ]; do sleep 0.1; done`)
  return { ran }
}

/** It was paused in the middle of writes. @returns how its late writes ended */
async function goOn({ story: { guest } }: Kubernetes, { ran }: { ran: Promise<Ran> }): Promise<string> {
  guest.thaw()
  const startedMs = performance.now()
  const ended = await Promise.race([ran, sleep(LATE_MS, undefined, { ref: false })])
  if (ended === undefined) throw new Error('its late writes are neither done nor refused')
  if (ended.code === 0) throw new Error(`its late writes were taken: ${ended.output}`)
  const error = /error=([^;:\n]+)/.exec(ended.output)?.[1] ?? /I\/O error[^\n]*/.exec(ended.output)?.[0]
  if (error === undefined) throw new Error(`fio ended otherwise: ${ended.code} ${ended.output}`)
  return `its fio was refused after ${((performance.now() - startedMs) / 1000).toFixed(1)} s: ${error}`
}

/** It boots from the disk that it had. @returns how what it had was refused */
async function comeBack({ story, guest }: Kubernetes, lost: Published): Promise<string> {
  await story.boot()
  await story.startNode()
  await startGuestNode(story)
  const generation = lost.publishContext[GENERATION]
  const offered = await story.guest.must(`ls ${OWN}/n1/attached 2>/dev/null || true`)
  if (offered.includes(`${lost.volumeId}.${generation}`)) throw new Error(`it offers what is over: ${offered}`)
  const [answer] = await guest.call([stageCall(guest, lost)])
  if (answer?.code !== FAILED_PRECONDITION) throw new Error(`staged as before: ${answer?.code} ${answer?.message}`)
  return answer.message
}

/** What fio in the guest wrote and synced, checksum by checksum. */
async function verified(target: string, bytes = SETTLED_MIB * MIB): Promise<void> {
  const words = [
    '--name=settled', `--filename=${path.join(target, 'settled')}`, `--size=${bytes}`, '--bs=4k', '--rw=read',
    '--verify=crc32c', '--verify_fatal=1', '--minimal',
  ]
  try {
    await promisify(execFile)('fio', words)
  } catch (error) {
    throw new Error(`what n1 had synced is not there: ${error}`)
  }
}

function fill(file: string, byte: number): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, Buffer.alloc(LOAD_BYTES, byte))
  fsyncSync(fd)
  closeSync(fd)
}
