/**
 * A Kubernetes cluster, a Holdfast cluster and two controllers that both believe to lead, by seed: upgrades,
 * drains, machines that die, copies that fail, answers that are lost or come late. The decision is the product's
 * (leave-step.ts); everything else here is a model of what it sees and does.
 *
 * Checked whenever a pod is deleted or a guard evicted, of what is true then:
 *   register        it is in the register, whoever opened the budget or deleted the pod, and when
 *   one-at-a-time   no other node that we took down is away still
 *   paused          for long enough that no call of before can be on its way
 *   last-copy       each volume there has a complete copy on a node that may not be away; but for volumes that lost one
 *                   by a failure a moment before, which nobody could have seen
 * and at the end, when nothing fails any more: every pod is of the newest template, and nothing moves.
 */
import { registerOf, registerText } from '../../../csi/kube/leaving/leave-register.ts'
import { leaveStep } from '../../../csi/kube/leaving/leave-step.ts'
import type { LeaveAction } from '../../../csi/kube/leaving/leave-step.ts'
import type { GuardView, HoldfastNode, KubeNodeView, LeaveLook, NodePod } from '../../../csi/kube/leaving/leave-look.ts'
import type { VolumeFact } from '../../../csi/kube/leaving/leave-rules.ts'
import { Random } from '../../sim/random.ts'

const STEP_MS = 200
const TROUBLE_MS = 15 * 60_000
const REST_MS = 40 * 60_000
/** Of what the control API said, after which a look is dropped (leave-loop.ts); and which part of a look that is. */
const LOOK_AGE_MS = 5000
const FACTS_PART = 3
const DOWN_AFTER_MS = 10_000
/** The control API may say what was true so long ago. */
const API_LAG_MS = 2400
/** A failure so long before a deletion may not have been seen. */
const UNSEEN_MS = 16_000

interface Member {
  isInSet: boolean
  /** Serves from then on; Infinity: it lacks something, and is being filled. */
  completeAtMs: number
  fillMs: number
}

interface Volume {
  name: string
  wanted: number
  minInSync: number
  members: Map<string, Member>
  failedAtMs: number
  lackingSinceMs: number
}

interface Machine {
  name: string
  exists: boolean
  isCordoned: boolean
  isReleased: boolean
  isOn: boolean
  onAtMs: number
  /** Undefined: its daemon does not run. */
  instance: string | undefined
  /** As it told last. */
  toldInstance: string
  heardAtMs: number
  ranAtMs: number
  startsAtMs: number
  /** Of the pod that we deleted, until another one runs; empty: none. */
  takenUid: string
  hasGuard: boolean
  wasEvicted: boolean
  budget: { version: number; isOpen: boolean; mark: number }
}

interface Drain {
  machine: Machine
  nextTryMs: number
  ends: 'back' | 'gone'
  untilMs: number
}

interface Controller {
  wakeAtMs: number
  parts: Array<() => void>
  lookAtMs: number
  actions: LeaveAction[]
  seenAway: { key: string; sinceMs: number }
}

type Api = NonNullable<LeaveLook['cluster']>

export interface WorldOptions {
  /** Whether machines, daemons and copies fail. */
  hasFailures: boolean
  /** Drains come and go in seconds, and most calls that take a node away are late. */
  isHectic?: boolean
  /** The control API is away for up to two minutes. */
  isSilent?: boolean
  /** A planted bug of the shell: the register is read first. */
  readsRegisterFirst?: boolean
}

export class LeaveWorld {
  readonly violations: string[] = []
  readonly random: Random
  readonly options: WorldOptions
  nowMs = 0
  deleted = 0
  evicted = 0
  private readonly machines: Machine[] = []
  private volumes: Volume[] = []
  private pods: Array<NodePod & { goneAtMs: number; readyAtMs: number; versionNumber: number }> = []
  private readonly set = {
    version: 1, hash: 'h0', text: undefined as string | undefined, isPaused: false, pausedAtMs: 0,
  }
  private badHash = ''
  private readonly controllers: Controller[]
  private drains: Drain[] = []
  private readonly history: Array<{ atMs: number; api: Api }> = []
  private late: Array<{ atMs: number; run(): void }> = []
  private ids = 0
  private isTrouble = true
  /** The control API. */
  private silent = { sinceMs: 0, untilMs: 0 }
  private movedAtMs = 0

  constructor(seed: number, options: WorldOptions) {
    this.random = new Random(seed)
    this.options = options
    const { random } = this
    const count = random.pick([1, 2, 3, 3, 4, 5, 6])
    for (let i = 1; i <= count; i++) {
      const name = `w${i}`
      const machine: Machine = {
        name, exists: true, isCordoned: false, isReleased: false, isOn: true, onAtMs: 0, instance: this.id('i'),
        toldInstance: '', heardAtMs: 0, ranAtMs: -Infinity, startsAtMs: 0, takenUid: '', hasGuard: true,
        wasEvicted: false,
        budget: { version: this.version(), isOpen: false, mark: 0 },
      }
      this.machines.push(machine)
      this.makePod(machine, 0)
    }
    for (let i = 1; i <= random.between(1, 5); i++) {
      const wanted = random.pick([1, 2, 2, 3, 3])
      const minInSync = random.pick([1, 1, 2, 3])
      const members = new Map<string, Member>()
      const nodes = random.shuffle(this.machines.map(({ name }) => name)).slice(0, wanted)
      for (const name of nodes) members.set(name, { isInSet: true, completeAtMs: 0, fillMs: 0 })
      const volume = { name: `v${i}`, wanted, minInSync: Math.min(minInSync, nodes.length), members }
      this.volumes.push({ ...volume, failedAtMs: -Infinity, lackingSinceMs: Infinity })
    }
    this.controllers = [1, 2].map(() =>
      ({ wakeAtMs: 0, parts: [], lookAtMs: 0, actions: [], seenAway: { key: '', sinceMs: 0 } }))
  }

  run(): void {
    while (this.nowMs < TROUBLE_MS && this.violations.length === 0) this.step()
    this.calm()
    while (this.nowMs < TROUBLE_MS + REST_MS && this.violations.length === 0) {
      this.step()
      const isDone = this.pods.every(({ hash, isReady }) => hash === this.set.hash && isReady)
      if (isDone && this.nowMs - this.movedAtMs > 120_000) return
    }
    if (this.violations.length > 0) return
    const former = this.pods.filter(({ hash }) => hash !== this.set.hash).map(({ node }) => node)
    if (former.length > 0) this.violations.push(`ends: ${former.join()} is never replaced: ${this.why()}`)
    else this.violations.push('ends: the register, or a budget, is changed for ever')
  }

  why(): string {
    const { actions, replacement, waiting } = leaveStep(this.lookNow())
    return JSON.stringify({ actions, replacement, waiting, register: this.set.text })
  }

  private step(): void {
    this.nowMs += STEP_MS
    const due = this.late.filter(({ atMs }) => atMs <= this.nowMs)
    this.late = this.late.filter(({ atMs }) => atMs > this.nowMs)
    for (const { run } of due) run()
    if (this.isTrouble) this.trouble()
    this.kubernetes()
    this.holdfast()
    this.drain()
    for (const controller of this.controllers) this.control(controller)
  }

  /** Nothing fails any more, and nobody drains. */
  private calm(): void {
    this.isTrouble = false
    this.set.isPaused = false
    if (this.set.hash === this.badHash) this.upgrade('h-good')
    for (const { machine } of this.drains) machine.isCordoned = false
    this.drains = []
    for (const machine of this.machines) {
      machine.isCordoned = machine.isReleased = false
      if (machine.exists && !machine.isOn) machine.onAtMs = Math.min(machine.onAtMs, this.nowMs)
    }
    // What was lost for good is given up by the operator.
    for (const volume of this.volumes) {
      for (const name of [...volume.members.keys()]) if (!this.machine(name).exists) volume.members.delete(name)
      volume.minInSync = Math.min(volume.minInSync, Math.max(1, volume.members.size))
    }
    this.volumes = this.volumes.filter(({ members }) => [...members.values()].some(({ isInSet }) => isInSet))
    this.movedAtMs = this.nowMs
  }

  private trouble(): void {
    const { random, machines } = this
    if (random.chance(0.0006)) {
      const hash = this.id('h')
      if (random.chance(0.2)) this.badHash = hash
      this.upgrade(hash)
    } else if (this.set.hash === this.badHash && random.chance(0.0005)) this.upgrade(this.id('h'))
    const often = this.options.isHectic === true ? 12 : 1
    if (random.chance(0.0003 * often)) {
      this.set.isPaused = !this.set.isPaused
      this.set.pausedAtMs = this.nowMs
    }
    if (random.chance(0.0015 * often)) {
      const machine = random.pick(machines)
      const ends = random.chance(0.3) && machines.filter(({ exists }) => exists).length > 2 ? 'gone' : 'back'
      if (machine.exists && !this.drains.some((one) => one.machine === machine)) {
        machine.isCordoned = true
        const untilMs = this.nowMs + random.between(10_000, 300_000) / often
        this.drains.push({ machine, nextTryMs: this.nowMs + random.between(0, 5000), ends, untilMs })
      }
    }
    if (random.chance(0.0002)) random.pick(machines).isReleased = true
    if (this.options.isSilent === true && random.chance(0.0006)) {
      this.silent = { sinceMs: this.nowMs, untilMs: this.nowMs + random.between(0, 120_000) }
    }
    if (!this.options.hasFailures) return
    if (random.chance(0.0005)) this.powerOff(random.pick(machines), random.between(5000, 120_000))
    if (random.chance(0.0008)) this.crash(random.pick(machines))
    if (random.chance(0.0008) && this.volumes.length > 0) {
      const volume = random.pick(this.volumes)
      const [name, member] = random.pick([...volume.members])
      if (this.complete(volume).some((one) => one !== name)) {
        this.fail(volume)
        Object.assign(member, { isInSet: false, completeAtMs: Infinity })
      }
    }
  }

  private upgrade(hash: string): void {
    this.set.hash = hash
    this.note(`upgrade to ${hash}, bad ${this.badHash}`)
    this.set.version = this.version()
  }

  private fail(volume: Volume): void {
    volume.failedAtMs = this.nowMs
  }

  private powerOff(machine: Machine, forMs: number): void {
    if (!machine.isOn || !machine.exists) return
    this.note(`${machine.name} fails for ${forMs}`)
    machine.isOn = false
    machine.onAtMs = this.nowMs + forMs
    this.stopDaemon(machine, true)
  }

  private crash(machine: Machine): void {
    this.note(`${machine.name} crashes`)
    if (machine.instance === undefined) return
    this.stopDaemon(machine, true)
    machine.startsAtMs = this.nowMs + this.random.between(1000, 20_000)
  }

  private stopDaemon(machine: Machine, isFailure: boolean): void {
    if (machine.instance === undefined) return
    machine.instance = undefined
    for (const volume of this.volumes) {
      const member = volume.members.get(machine.name)
      if (member === undefined) continue
      if (isFailure) this.fail(volume)
      member.completeAtMs = Infinity
      // Whoever writes meanwhile leaves it behind.
      member.fillMs = this.random.chance(0.5) ? this.random.between(1000, 60_000) : 500
    }
    for (const pod of this.pods) if (pod.node === machine.name) pod.readyAtMs = Infinity
  }

  /** DaemonSet controller, kubelets, the Deployments of guards. */
  private kubernetes(): void {
    const { nowMs, random } = this
    for (const machine of this.machines) {
      if (!machine.exists) continue
      if (!machine.isOn && nowMs >= machine.onAtMs) {
        machine.isOn = true
        machine.startsAtMs = nowMs + random.between(2000, 8000)
      }
      if (!machine.isOn) {
        // After 40 s of silence.
        if (nowMs > machine.heardAtMs + 40_000) this.setReady(machine, false)
        continue
      }
      const ending = this.pods.filter((pod) => pod.node === machine.name && pod.isEnding && nowMs >= pod.goneAtMs)
      for (const pod of ending) {
        this.pods.splice(this.pods.indexOf(pod), 1)
        this.stopDaemon(machine, false)
      }
      if (!this.pods.some((pod) => pod.node === machine.name)) {
        this.makePod(machine, nowMs + random.between(1000, 5000))
        machine.startsAtMs = nowMs + random.between(2000, 30_000)
      }
      const pod = this.pods.find((one) => one.node === machine.name)!
      if (machine.instance === undefined && nowMs >= machine.startsAtMs && pod.hash !== this.badHash && !pod.isEnding) {
        machine.instance = this.id('i')
        machine.ranAtMs = nowMs
        this.note(`${machine.name} runs`)
        pod.readyAtMs = nowMs + random.between(1000, 6000)
      }
      if (pod.isReady && machine.instance === undefined && random.chance(0.1)) this.setReady(machine, false)
      if (!pod.isReady && machine.instance !== undefined && nowMs >= pod.readyAtMs) this.setReady(machine, true)
      if (!machine.hasGuard && !machine.isCordoned && random.chance(0.05)) {
        machine.hasGuard = true
        machine.wasEvicted = false
      }
    }
  }

  private setReady({ name }: Machine, isReady: boolean): void {
    for (const pod of this.pods) {
      if (pod.node !== name || pod.isReady === isReady) continue
      pod.isReady = isReady
      pod.version = String(this.version())
    }
  }

  private makePod({ name }: Machine, readyAtMs: number): void {
    const { hash } = this.set
    const uid = this.id('p')
    const version = String(this.version())
    this.pods.push({
      node: name, name: uid, uid, version, hash, isReady: readyAtMs === 0, isEnding: false, mark: 0,
      goneAtMs: Infinity, readyAtMs, versionNumber: 0,
    })
  }

  private holdfast(): void {
    const { nowMs } = this
    for (const machine of this.machines) {
      if (machine.instance !== undefined) {
        machine.heardAtMs = nowMs
        machine.toldInstance = machine.instance
        if (!this.pods.some(({ uid }) => uid === machine.takenUid)) machine.takenUid = ''
      }
    }
    for (const volume of this.volumes) this.turn(volume)
    this.history.push({ atMs: nowMs, api: this.apiNow() })
    while (this.history[0]!.atMs < nowMs - API_LAG_MS) this.history.shift()
  }

  private turn(volume: Volume): void {
    const { nowMs } = this
    const complete = this.complete(volume)
    for (const [name, member] of volume.members) {
      const machine = this.machine(name)
      const isRunning = machine.instance !== undefined
      if (!isRunning && member.isInSet && nowMs > machine.heardAtMs + 4000) {
        const rest = complete.filter((one) => one !== name).length
        if (rest >= Math.max(1, volume.minInSync)) member.isInSet = false
      }
      if (!isRunning || member.completeAtMs !== Infinity) continue
      if (member.isInSet) member.completeAtMs = nowMs + 500
      else if (complete.length > 0) {
        member.completeAtMs = nowMs + member.fillMs
        // Only then a member of the set.
        if (member.fillMs <= STEP_MS) member.isInSet = true
      }
    }
    for (const member of volume.members.values()) {
      if (!member.isInSet && member.completeAtMs <= nowMs) member.isInSet = true
    }
    const lost = [...volume.members.keys()].find((name) => !this.machine(name).exists)
    if (lost !== undefined && complete.length >= Math.max(1, volume.minInSync)) volume.members.delete(lost)
    if (volume.members.size >= volume.wanted || complete.length === 0) return void (volume.lackingSinceMs = Infinity)
    volume.lackingSinceMs = Math.min(volume.lackingSinceMs, nowMs)
    const free = this.free(volume)
    if (free.length === 0 || nowMs < volume.lackingSinceMs + 3000) return
    const fillMs = this.random.between(2000, 60_000)
    volume.members.set(free[0]!.name, { isInSet: false, completeAtMs: nowMs + fillMs, fillMs })
  }

  private free({ members }: Volume): Machine[] {
    return this.machines.filter(({ name, exists, instance }) => exists && instance !== undefined && !members.has(name))
  }

  /** In truth. */
  private complete({ members }: Volume): string[] {
    return [...members].filter(([name, { isInSet, completeAtMs }]) =>
      isInSet && completeAtMs <= this.nowMs && this.machine(name).instance !== undefined).map(([name]) => name)
  }

  private apiNow(): Api {
    const { nowMs } = this
    const nodes = this.machines.filter(({ exists, heardAtMs }) => exists || nowMs < heardAtMs + 60_000)
      .map(({ name, heardAtMs, toldInstance: instance }, i): HoldfastNode => ({
        name, state: nowMs > heardAtMs + DOWN_AFTER_MS ? 'down' : 'up', instance, isElected: i === 0,
      }))
    const volumes = this.volumes.map((volume): VolumeFact => {
      const complete = this.complete(volume)
      const { name, wanted, minInSync, members } = volume
      const copies = [...members].map(([node, { isInSet }]) => (
        { node, isPrimary: node === complete[0], isInSync: isInSet, isComplete: complete.includes(node) }))
      return { name, wanted, minInSync, copies, awaitsCopy: members.size < wanted && this.free(volume).length > 0 }
    })
    return { nodes, volumes }
  }

  private drain(): void {
    for (const drain of this.drains) {
      const { machine } = drain
      if (machine.hasGuard && machine.isCordoned && this.nowMs >= drain.nextTryMs) {
        drain.nextTryMs = this.nowMs + 5000
        if (machine.budget.isOpen) this.evict(drain)
      }
      if (this.nowMs < drain.untilMs) continue
      this.drains = this.drains.filter((one) => one !== drain)
      machine.isCordoned = false
    }
  }

  private evict(drain: Drain): void {
    const { machine, ends } = drain
    this.note(`${machine.name} evicted`)
    this.check('eviction', machine)
    this.evicted++
    machine.hasGuard = false
    machine.wasEvicted = true
    const afterMs = this.random.between(500, 20_000)
    this.late.push({
      atMs: this.nowMs + afterMs,
      run: () => {
        if (!machine.wasEvicted || !machine.isCordoned) return
        if (ends === 'back') return this.leaveFor(machine)
        machine.exists = false
        machine.isOn = false
        this.pods = this.pods.filter(({ node }) => node !== machine.name)
        this.stopDaemon(machine, false)
        this.drains = this.drains.filter((one) => one.machine !== machine)
      },
    })
  }

  /** A drained machine starts anew, and its drain ends when it is back. */
  private leaveFor(machine: Machine): void {
    const forMs = this.random.between(5000, 60_000)
    machine.isOn = false
    machine.onAtMs = this.nowMs + forMs
    this.stopDaemon(machine, false)
    const drain = this.drains.find((one) => one.machine === machine)
    if (drain !== undefined) drain.untilMs = Math.max(drain.untilMs, machine.onAtMs + 20_000)
  }

  private check(what: 'eviction' | 'deletion', machine: Machine): void {
    const { name } = machine
    if (what === 'deletion') {
      const pausedMs = this.set.isPaused ? this.nowMs - this.set.pausedAtMs : 0
      if (!this.options.hasFailures && pausedMs > 130_000) this.violate(`paused: ${name} is taken down all the same`)
      const other = this.machines.find((one) => one !== machine && one.takenUid !== '' && one.exists)
      if (other !== undefined) this.violate(`one-at-a-time: ${name} is taken down while ${other.name} is away`)
      // It was seen not to run; one that began just then begins again (U3).
      if (machine.instance === undefined || this.nowMs - machine.ranAtMs < LOOK_AGE_MS + API_LAG_MS) return
      if (this.machines.filter(({ exists }) => exists).length === 1) return
    }
    if (machine.isReleased && what === 'eviction') return
    for (const volume of this.volumes) {
      const member = volume.members.get(name)
      if (member === undefined || (what === 'deletion' && volume.wanted === 1)) continue
      const complete = this.complete(volume)
      if (!member.isInSet && complete.length > 0) continue
      const rest = complete.filter((one) => one !== name && !this.mayBeAway(this.machine(one)))
      if (rest.length > 0 || this.nowMs - volume.failedAtMs < UNSEEN_MS) continue
      this.violate(`last-copy: ${what} at ${name} leaves nothing of ${volume.name}`)
    }
  }

  /** Q2. */
  private checkEntry(node: string, part: 'guard' | 'pod'): void {
    const entry = registerOf(this.set.text)?.nodes[node]
    if (entry?.[part] !== undefined || !this.machine(node).exists) return
    this.violate(`register: ${part} of ${node} is not in it`)
  }

  private mayBeAway(machine: Machine): boolean {
    return !machine.exists || machine.takenUid !== '' || (machine.wasEvicted && machine.isCordoned && !machine.hasGuard)
  }

  private violate(what: string): void {
    this.violations.push(`${Math.round(this.nowMs / 1000)} s: ${what}`)
  }

  // ---- controllers

  private lookNow(): LeaveLook {
    const look = this.emptyLook()
    for (const read of this.reads(look, { key: '', sinceMs: 0 })) read()
    return look
  }

  private emptyLook(): LeaveLook {
    return {
      pods: [], guards: new Map(), kubeNodes: new Map(), cluster: undefined, silentMs: 0, awayMs: 0,
      set: { version: '', hash: '', wantedPods: 0, isPaused: false, register: undefined },
    }
  }

  /** One after the other, as the shell reads them. */
  private reads(look: LeaveLook, seenAway: Controller['seenAway']): Array<() => void> {
    const budgets = new Map<string, GuardView['budget']>()
    const exist = () => this.machines.filter(({ exists }) => exists)
    const parts = [
      () => {
        for (const { name, budget } of exist()) budgets.set(name, { ...budget, version: String(budget.version) })
      },
      () => {
        look.pods = this.pods.map((pod) => ({ ...pod }))
        const guards = look.guards as Map<string, GuardView>
        for (const { name, hasGuard } of exist()) {
          guards.set(name, { budget: budgets.get(name), isThere: hasGuard, image: 'ready' })
        }
      },
      () => {
        const kubeNodes = look.kubeNodes as Map<string, KubeNodeView>
        for (const { name, isCordoned, isReleased } of exist()) {
          kubeNodes.set(name, { isLeaving: isCordoned, isReleased, isUnreachable: false })
        }
      },
      () => {
        look.cluster = this.random.pick(this.history).api
        const isSilent = this.isTrouble && (this.nowMs < this.silent.untilMs || this.random.chance(0.03))
        if (!isSilent) return
        look.cluster = undefined
        look.silentMs = this.nowMs < this.silent.untilMs ? this.nowMs - this.silent.sinceMs : 0
      },
    ]
    const register = () => {
      const { version, hash, isPaused, text } = this.set
      const wantedPods = exist().length
      look.set = { version: String(version), hash, wantedPods, isPaused, register: registerOf(text) }
      const away = Object.entries(look.set.register!.nodes).find(([, { pod }]) => pod !== undefined)
      const key = JSON.stringify(away ?? '')
      if (key !== seenAway.key) Object.assign(seenAway, { key, sinceMs: this.nowMs })
      look.awayMs = this.nowMs - seenAway.sinceMs
    }
    return this.options.readsRegisterFirst === true ? [register, ...parts] : [...parts, register]
  }

  private control(controller: Controller): void {
    const { random } = this
    if (this.nowMs < controller.wakeAtMs) return
    controller.wakeAtMs = this.nowMs + random.between(0, 600)
    if (this.isTrouble && random.chance(0.002)) controller.wakeAtMs += random.between(1000, 90_000)
    if (this.isTrouble && random.chance(0.005)) {
      // Killed: another one begins.
      controller.parts = []
      controller.actions = []
      return
    }
    const part = controller.parts.shift()
    if (part !== undefined) return part()
    const action = controller.actions.shift()
    if (action !== undefined) {
      if (this.nowMs - controller.lookAtMs > LOOK_AGE_MS) controller.actions = []
      else if (!this.send(action)) controller.actions = []
      return
    }
    const look = this.emptyLook()
    const reads = this.reads(look, controller.seenAway).map((read, i) => () => {
      if (i <= FACTS_PART) controller.lookAtMs = this.nowMs
      read()
    })
    controller.parts = [...reads, () => {
      controller.actions = leaveStep(look).actions
      if (controller.actions.length === 0) controller.wakeAtMs = this.nowMs + 2000
    }]
  }

  /** @returns whether it is told that it was done */
  private send(action: LeaveAction): boolean {
    const { random } = this
    const fate = this.isTrouble ? random.float() : 1
    if (fate < 0.03) return false
    const isRisky = action.type === 'delete-pod' || (action.type === 'budget' && action.isOpen)
    const lateShare = this.options.isHectic === true && isRisky ? 0.7 : 0.03
    if (fate < 0.03 + lateShare) {
      const mostMs = this.options.hasFailures ? 5000 : random.pick([2000, 20_000, 120_000])
      const atMs = this.nowMs + random.between(500, mostMs)
      this.late.push({ atMs, run: () => void this.perform(action) })
      return false
    }
    const isDone = this.perform(action)
    return isDone && fate >= 0.06 + lateShare
  }

  private perform(action: LeaveAction): boolean {
    switch (action.type) {
      case 'register':
        if (String(this.set.version) !== action.version) return false
        this.set.text = registerText(action.register)
        this.set.version = this.version()
        break
      case 'budget': {
        const { budget } = this.machine(action.node)
        if (String(budget.version) !== action.version) return false
        if (action.isOpen) this.checkEntry(action.node, 'guard')
        Object.assign(budget, { isOpen: action.isOpen, mark: action.mark, version: this.version() })
        break
      }
      case 'touch-pod': {
        const pod = this.podAt(action)
        if (pod === undefined) return false
        Object.assign(pod, { mark: action.mark, version: String(this.version()) })
        break
      }
      case 'delete-pod': {
        const pod = this.podAt(action)
        if (pod === undefined || pod.isEnding) return false
        const machine = this.machine(action.node)
        this.checkEntry(action.node, 'pod')
        this.check('deletion', machine)
        this.deleted++
        machine.takenUid = pod.uid
        Object.assign(pod, { isEnding: true, goneAtMs: this.nowMs + 2000, version: String(this.version()) })
        break
      }
    }
    this.movedAtMs = this.nowMs
    this.note(JSON.stringify(action))
    return true
  }

  private note(what: string): void {
    if (process.env.TRACE !== undefined) console.log(`${(this.nowMs / 1000).toFixed(1)} ${what}`)
  }

  private podAt({ uid, version }: { uid: string; version: string }) {
    return this.pods.find((pod) => pod.uid === uid && pod.version === version)
  }

  private machine(name: string): Machine {
    return this.machines.find((one) => one.name === name)!
  }

  private version(): number {
    return ++this.ids
  }

  private id(prefix: string): string {
    return `${prefix}${++this.ids}`
  }
}

/** The kinds of worlds in turn. */
export const worldOf = (World: typeof LeaveWorld, seed: number, readsRegisterFirst = false): LeaveWorld =>
  new World(seed, {
    hasFailures: seed % 3 === 2, isHectic: seed % 3 === 1, isSilent: seed % 7 === 0, readsRegisterFirst,
  })
