/**
 * Bugs planted in failover, as test/sim/mutants.ts does it: each breaks a rule of csi/kube/SPEC.md, and the simulation
 * has to find it. `seed`: one that finds it soon; the hunt begins there.
 */
import type { Edit } from '../../../sim/mutants.ts'

export interface PlantedBug extends Edit {
  name: string
  breaks: string
  seed: number
  /** Another change that is none by itself, so that the bug is met at all. */
  and?: Edit
}

type Change = [file: string, replace: string, by: string]

const bug = (name: string, breaks: string, [file, replace, by]: Change, seed = 1): PlantedBug =>
  ({ name, breaks, file: `csi/kube/failover/${file}`, replace, by, seed })

export const PLANTED: readonly PlantedBug[] = [
  bug('many dead nodes stop nothing', 'F1', [
    'failover-decision.ts', 'count > 1 && count * 3 >= of', 'count > of',
  ], 2),
  bug('silence of kubelets goes on over a gap of the Kubernetes API', 'Silence', [
    'node-silence.ts', 'const known: Seen = isSame && !wasBlind ?', 'const known: Seen = isSame ?',
  ]),
  bug('a data process is down for 20 s over a gap of the control API', 'Silence', [
    'node-silence.ts', 'if (wasBlind || storage !== known.node.storage)', 'if (storage !== known.node.storage)',
  ], 31),
  {
    ...bug('something is done while the control API is silent', 'F1', [
      'node-silence.ts', 'this.kubernetes.isFresh(nowMs) && this.control.isFresh(nowMs)',
      'this.kubernetes.isFresh(nowMs)',
    ]),
    and: {
      file: 'csi/kube/failover/failover.ts', replace: 'problems.find((one) => one !== undefined)', by: 'problems[0]',
    },
  },
  bug('many dead nodes stop nothing before a turn has ended', 'F1', [
    'failover.ts', 'return this.stopped === undefined && whyStopped(this.silence.all(nowMs)) === undefined',
    'return this.stopped === undefined',
  ], 166),
  bug('a node is emptied before it is tainted', 'F3', [
    'failover-decision.ts', 'if (!taints.some(isOurUnreachable)) {',
    'if (!taints.some(isOurUnreachable) && pods.length === 0) {',
  ], 2),
  bug('one volume of a pod is enough', 'F3', [
    'failover.ts', 'problems.every((problem)', 'problems.some((problem)',
  ], 45),
  bug('a fence without an answer counts', 'F3', [
    'failover.ts', 'return problems.every((problem) => problem === undefined) ? pod : undefined', 'return pod',
  ], 45),
  bug('pods that are opted out are moved', 'F2', [
    'failover-decision.ts', 'if (pod.isOptedOut || pod.isMirror) return false', 'if (pod.isMirror) return false',
  ], 8),
  bug('a pod with a foreign volume is moved', 'F2', [
    'failover-decision.ts', '!pod.volumes.every(({ isOurs }) => isOurs)', '!pod.volumes.some(({ isOurs }) => isOurs)',
  ], 5),
  bug('what nobody makes anew is moved', 'F2', [
    'failover-decision.ts', "return pod.isGoing || (pod.owner !== '' && ", "return pod.isGoing || (",
  ], 5),
  bug('a volume is taken from a pod that stays', 'F2', [
    'failover-decision.ts', 'idsOf(pod).some((id) => kept.has(id))', 'idsOf(pod).some((id) => kept.has(pod.uid + id))',
  ], 5),
  bug('out of service under pods that stay', 'F3', [
    'failover-decision.ts', 'if (toMove.length === 0 && holdBack.length === 0) {', 'if (toMove.length === 0) {',
  ], 2),
  bug('out of service before pods are moved', 'F3', [
    'failover-decision.ts', 'if (toMove.length === 0 && holdBack.length === 0) {', 'if (holdBack.length === 0) {',
  ], 5),
  bug('attachments go while pods use them', 'F3', [
    'failover-decision.ts', '!isGoing && !used.has(volumeId))', '!isGoing)',
  ], 2),
  bug("a human's taint is taken for ours", 'F5', [
    'failover-facts.ts', '(isOutOfService(taint) && taint.value === OURS)', 'isOutOfService(taint)',
  ]),
  bug('a node is clean while it has stale sessions', 'F5', [
    'failover.ts', 'if (use.value.stale.size > 0) return\n', '',
  ], 452),
  bug('a Lease that was only seen renews', 'F5', ['node-silence.ts', 'hasChanged: false', 'hasChanged: true'], 37),
  bug('what was fenced when its node came back is left', 'F5', [
    'failover.ts', 'if (lost.length > 0) return\n', '',
  ], 302),
  bug('who uses a lost attachment is left', 'F5', [
    'failover.ts', 'for (const pod of usersOf(attachment.volumeId, pods)) await',
    'for (const pod of usersOf(attachment.uid, pods)) await',
  ], 22),
  bug('pods go as fast as they can', 'F6', [
    'failover-pace.ts', 'return Math.max(0, (this.moved.get(name) ?? -Infinity) + MOVE_EVERY_MS - nowMs)', 'return 0',
  ], 8),
  bug('all nodes at once', 'F6', [
    'failover-pace.ts', 'if (!isCounted && recent >= 1 + Math.floor(nodes / 10)) return false', '',
  ], 4),
  bug('a job that ended is never begun again', 'liveness', [
    'failover.ts', 'job.catch(failed).finally(() => this.jobs.delete(name))', 'job',
  ]),
  bug('a fence that ended is under way for ever', 'liveness', [
    'failover.ts', '.finally(() => this.fencing.delete(key))', '',
  ]),
]

/** What seeds do not meet: a script does (turns.test.ts). */
export const LAST_LOOK = bug('a Lease is not read again before a pod goes', 'F3', [
  'failover.ts', 'const isSame = this.silence.isUnchanged(name, lease.value, this.port.nowMs())',
  'const isSame = lease.ok',
])

export const ONE_SIGHT = bug('silence of kubelets begins anew after a gap of the control API', 'Silence', [
  'node-silence.ts', 'if (wasBlind || storage !== known.node.storage) known.storageSinceMs = times.nowMs',
  'if (wasBlind) known.leaseSinceMs = times.nowMs',
])

export const LAST_START = bug('that a data process was started is forgotten', 'F4', [
  'failover.ts', 'this.startingAt.set(name, this.port.nowMs())', '',
])

/** The same before a fence. */
export const LAST_GENERATION = bug('a Lease is not read behind the generations', 'F3', [
  'failover.ts', 'if ((await this.stillToday(name, verdict)) === undefined) return\n    const fences', 'const fences',
])

export const LAST_SESSION = bug('a session that is told late is over', 'F5', [
  'lost-attachments.ts', 'nowMs - since.get(uid)! >= LOST_MS', 'since.has(uid)',
])

/** Found at once, else the hunt itself is broken; and one that is none. */
export const CANARY = bug('every node is dead', 'canary', [
  'failover-decision.ts', "if (storage === 'down' && isSilent) return 'dead'", "return 'dead'",
])
export const DECOY = bug('another word', 'decoy', ['failover-events.ts', "'NodeReturned'", "'NodeCameBack'"])
