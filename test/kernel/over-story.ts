/**
 * A pod's data process is dead, and its volume is given away: what the pod waits for is held until somebody says that
 * its attachment is over, and fails then, though no process is there any more that had its sessions. Then its host can
 * end the pod, and unmount.
 *
 *   on n1 (guest)  stage, publish, fio writes without end; node and data process are killed
 *   cluster        unpublish of n1
 *   on n1          still held, for longer than the keeper waits; the node starts again, and offers nothing of it
 *                  fio ends with an error, unpublish and unstage are done, no device is left
 */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SILENT_MS } from '../../csi/host/device-keeper.ts'
import { MIB } from '../../engine/units.ts'
import { Kubernetes, fileSystem } from './guest-kubelet.ts'
import { OWN } from './kernel-guest.ts'
import type { Story } from './story.ts'

const EXT4 = fileSystem('ext4')
/** From when the control API answers here again. */
const ENDED_WITHIN_MS = 60_000

export async function tellOver(story: Story): Promise<void> {
  await story.start()
  const cluster = await Kubernetes.start(story)
  const { guest: kubelet } = cluster
  const { guest: machine } = story
  const volumeId = await cluster.create('data', 64 * MIB, EXT4)
  const published = await cluster.publish(kubelet, volumeId, EXT4, 'data')
  const { target } = await cluster.show(kubelet, published)
  const load = machine.run(`fio --name=load --filename=${path.join(target, 'load')} --size=8M --bs=4k --rw=randwrite `
    + '--ioengine=sync --fsync=1 --time_based --runtime=3600 --minimal')
  const written = `$(awk '$3 == "nbd0" { print $8 }' /proc/diskstats)`
  await machine.must(`before=${written}; until [ ${written} -gt $((before + 50)) ]; do sleep 0.1; done`)
  await machine.must(`kill -9 $(cat ${OWN}/n1/supervisor.pid) $(cat ${OWN}/n1/pid)`)
  story.tell('fio writes, and the node and its data process are killed')
  await cluster.unpublish(kubelet, volumeId)
  story.tell('its attachment is over')
  const early = await Promise.race([load, sleep(SILENT_MS + 10_000, undefined, { ref: false })])
  if (early !== undefined) throw new Error(`it is not held while nobody says that it is over: ${early.output}`)
  await story.startNode()
  const startedMs = performance.now()
  const ended = await Promise.race([load, sleep(ENDED_WITHIN_MS, undefined, { ref: false })])
  if (ended === undefined) throw new Error('what is over is held on')
  if (ended.code === 0) throw new Error(`its writes were taken: ${ended.output}`)
  story.tell(`fio was refused ${((performance.now() - startedMs) / 1000).toFixed(1)} s after its node was back`)
  await cluster.hide(kubelet, published)
  const left = await machine.must('cat /sys/block/nbd*/pid 2>/dev/null | wc -l')
  if (left.trim() !== '0') throw new Error(`${left.trim()} devices are left`)
  story.tell('unpublished and unstaged; no device is left')
}
