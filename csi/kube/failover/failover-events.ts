/** What failover tells (SPEC.md F7): each step as an Event where it happens, with what follows, and as a line. */
import type { EventTarget } from '../event-recorder.ts'
import type { NodeSeen } from './failover-decision.ts'
import type { AttachmentFacts, NodeFacts, PodFacts } from './failover-facts.ts'
import type { FailoverPort } from './failover-port.ts'

const nodeOf = ({ name, uid }: NodeFacts): EventTarget => ({ apiVersion: 'v1', kind: 'Node', name, uid })
const podOf = ({ namespace, name, uid }: PodFacts): EventTarget =>
  ({ apiVersion: 'v1', kind: 'Pod', namespace, name, uid })

const WHY = {
  'dead': 'its kubelet is silent and its data process is down',
  'dead-storage': 'its data process is down, so its pods have no storage',
  'well': 'it came back when the volumes of this pod were fenced already',
} as const

const LINES_MAX = 1000

export class FailoverEvents {
  private readonly port: Pick<FailoverPort, 'tell' | 'log'>
  /** The last one of each object. */
  private readonly lines = new Map<string, string>()

  constructor(port: Pick<FailoverPort, 'tell' | 'log'>) {
    this.port = port
  }

  /** @param why  undefined: it goes on */
  stopped(why: string | undefined, down: readonly NodeSeen[]): void {
    const words = why === undefined ? 'nodes are looked after' : `no pod is moved: ${why}`
    this.port.log(`failover: ${words}`)
    if (why === undefined) return
    const note = `${words}. It goes on by itself when that is over; until then pods stay where they are`
    for (const { node } of down) this.tell(nodeOf(node), 'Warning', 'FailoverStopped', note)
  }

  tainted(node: NodeFacts, which: 'unreachable' | 'out-of-service', verdict: 'dead' | 'dead-storage'): void {
    const follows = which === 'unreachable'
      ? 'no new pods come here; volumes of its pods are fenced next, and these pods are moved'
      : 'Kubernetes releases its attachments; the taint goes by itself when the node is back'
    this.tell(nodeOf(node), 'Warning', which === 'unreachable' ? 'NodeFailover' : 'NodeOutOfService',
      `${WHY[verdict]}: ${follows}`)
  }

  cleaned(node: NodeFacts): void {
    this.tell(nodeOf(node), 'Normal', 'NodeReturned', 'it is back and has no stale sessions: pods may come here again')
  }

  /** @param problem  undefined: it is */
  fenced(pod: PodFacts, volumeId: string, node: string, problem: string | undefined): void {
    const volume = pod.volumes.find((one) => one.isOurs && one.id === volumeId)
    if (volume === undefined || !volume.isOurs) return
    const { claim: name, claimUid: uid } = volume
    const about = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: pod.namespace, name, uid }
    if (problem === undefined) {
      const done = `what node ${node} writes to it is refused; pod ${pod.name} is moved next`
      return this.tell(about, 'Normal', 'VolumeFenced', done)
    }
    const note = `pod ${pod.name} on node ${node} waits until this volume is fenced: ${problem}`
    this.tell(about, 'Warning', 'VolumeNotFenced', note)
  }

  moved(pod: PodFacts, node: string, verdict: keyof typeof WHY): void {
    const note = `moved off node ${node}: ${WHY[verdict]}; its volumes are fenced, and it is made anew elsewhere`
    this.tell(podOf(pod), 'Warning', 'PodMoved', note)
  }

  released(node: NodeFacts, { name, volumeId }: AttachmentFacts): void {
    this.tell(nodeOf(node), 'Normal', 'AttachmentReleased', `VolumeAttachment ${name} of volume ${volumeId} is deleted`)
  }

  private tell(about: EventTarget, type: 'Normal' | 'Warning', reason: string, note: string): void {
    this.port.tell({ about, type, reason, note })
    const where = about.namespace === undefined ? about.name : `${about.namespace}/${about.name}`
    const line = `${about.kind} ${where}: ${reason}: ${note}`
    // What is asked for again each second is told once.
    if (line !== this.lines.get(where)) this.port.log(line)
    this.lines.delete(where)
    this.lines.set(where, line)
    if (this.lines.size > LINES_MAX) this.lines.delete(this.lines.keys().next().value!)
  }
}
