/**
 * A cluster in trouble for some minutes, looked after by controllers that are killed at any moment, followed by others,
 * and two at a time now and then; then calm, in which everything has to come to its end. By hand:
 * `bin/node24 --dev test/csi/kube/failover/run.ts FIRST LAST`.
 */
import { Failover, TURN_MS } from '../../../../csi/kube/failover/failover.ts'
import { sortPods } from '../../../../csi/kube/failover/failover-decision.ts'
import { isOurTaint, isOutOfService } from '../../../../csi/kube/failover/failover-facts.ts'
import { CheckedPort } from './checked-port.ts'
import { VirtualTime } from './virtual-time.ts'
import { World } from './world.ts'

const TROUBLE_MS = 240_000
/** Of volumes whose primary comes back, pods one a second, and nodes that are begun one a minute. */
const CALM_MS = 320_000

export interface RunResult {
  violations: string[]
  did: Record<string, number>
}

class Controllers {
  readonly ports: CheckedPort[] = []
  readonly #world: World
  readonly #time: VirtualTime
  /** Of who leads. */
  #untilMs = { atMs: Infinity }

  constructor(world: World, time: VirtualTime) {
    this.#world = world
    this.#time = time
  }

  /** Another one leads; who did goes on for a moment, or is killed. */
  next(overlapMs: number): void {
    const former = this.ports.at(-1)
    if (former !== undefined && overlapMs === 0) former.isKilled = true
    this.#untilMs.atMs = this.#time.nowMs + overlapMs
    const until = (this.#untilMs = { atMs: Infinity })
    const port = new CheckedPort(this.#world, this.#time)
    const isLeading = (): boolean => this.#time.nowMs < until.atMs
    const failover = new Failover(port, isLeading)
    this.ports.push(port)
    void (async () => {
      while (isLeading()) {
        const nextAtMs = port.nowMs() + TURN_MS
        await failover.turn()
        await port.pause(Math.max(1, nextAtMs - port.nowMs()))
      }
    })()
  }
}

export async function runWorld(seed: number): Promise<RunResult> {
  const time = new VirtualTime()
  const world = new World(seed)
  const { random } = world
  const controllers = new Controllers(world, time)
  void (async () => {
    for (;;) {
      world.nowMs = time.nowMs
      world.second()
      await time.sleep(1000)
    }
  })()
  const each = (): void => {
    world.nowMs = time.nowMs
  }
  await time.run(20_000, each)
  controllers.next(0)
  for (let endMs = 20_000; endMs < TROUBLE_MS;) {
    endMs += random.chance(0.3) ? random.int(5000) : random.int(90_000)
    await time.run(Math.min(endMs, TROUBLE_MS), each)
    const port = controllers.ports.at(-1)!
    port.lagSeconds = random.chance(0.4) ? random.int(random.chance(0.3) ? 36 : 10) : 0
    if (random.chance(0.5)) controllers.next(random.chance(0.5) ? 0 : 3000)
  }
  const most = Math.max(1, Math.ceil(world.nodes.length / 3) - 1)
  const dead = random.shuffle([...world.nodes]).slice(0, random.int(most + 1)).map(({ name }) => name)
  world.calm(dead)
  controllers.next(0)
  await time.run(TROUBLE_MS + CALM_MS, each)
  const did: Record<string, number> = {}
  for (const port of controllers.ports) {
    for (const [what, n] of Object.entries(port.did)) did[what] = (did[what] ?? 0) + n
  }
  const violations = controllers.ports.flatMap((port) => port.violations)
  return { violations: [...violations, ...unfinished(world, dead)], did }
}

/** What should be done by now. */
function unfinished(world: World, dead: readonly string[]): string[] {
  const found: string[] = []
  for (const node of world.nodes) {
    const isDead = dead.includes(node.name)
    const ours = node.taints.filter(isOurTaint)
    if (!isDead && ours.length > 0) found.push(`in the end: ${node.name} is well and has taint ${ours[0]!.key}`)
    if (!isDead) continue
    const pods = world.podsOn(node.name).map((pod) => ({ ...pod, version: '1' }))
    const { toMove, holdBack } = sortPods(pods)
    for (const { name } of toMove) found.push(`in the end: pod ${name} is still on ${node.name}, which is dead`)
    const isOut = node.taints.some(isOutOfService)
    if (pods.length > 0 && holdBack.length === 0 && !isOut && ours.length > 0) {
      found.push(`in the end: ${node.name} is not out of service`)
    }
    const used = new Set(pods.flatMap(({ volumes }) => volumes.flatMap((one) => (one.isOurs ? [one.id] : []))))
    for (const { node: on, volumeId } of world.attachments.values()) {
      if (on === node.name && !used.has(volumeId)) found.push(`in the end: ${volumeId} is attached to ${node.name}`)
    }
  }
  for (const pod of world.pods.values()) {
    const node = world.nodes.find(({ name }) => name === pod.node)
    const failed = [...node?.sessions ?? []].filter(([id, generation]) =>
      !world.isAccepted(world.volumes.get(id)!, node!.name, generation)).map(([id]) => id)
    const lost = pod.volumes.flatMap((one) => (one.isOurs && failed.includes(one.id) ? [one.id] : []))
    // Where a human took a node out of service that lives, Kubernetes detaches under its pods, and nobody mends that.
    if (lost.length > 0 && !lost.some((id) => world.fencedByUs.has(`${pod.node} ${id}`))) continue
    if (lost.length > 0) found.push(`in the end: pod ${pod.name} on ${pod.node} goes on with a device that has failed`)
    const isStuck = pod.node !== undefined && !dead.includes(pod.node) && pod.owner === 'StatefulSet' && !pod.wasStarted
    if (isStuck && sharesNothing(world, pod.volumes.flatMap((one) => (one.isOurs ? [one.id] : [])), pod.uid)) {
      found.push(`in the end: pod ${pod.name} has not started on ${pod.node}`)
    }
  }
  return found
}

/** Of what others have, who waits is theirs to say. */
const sharesNothing = (world: World, ids: string[], uid: string): boolean =>
  ids.every((id) => world.podsUsing(id).every((pod) => pod.uid === uid))
