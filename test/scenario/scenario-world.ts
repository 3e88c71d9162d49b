/**
 * The simulator's world without any fault of its own: what happens is what a scenario says. Messages between copies may
 * be dropped, held or repeated by kind, and the next compare-and-swap may end without an answer.
 */
import type { CommandResult, OperatorCommand } from '../../engine/replication/copy-port.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { PeerMessage } from '../../engine/replication/messages.ts'
import type { ClientOperation } from '../sim/cluster/checker/history.ts'
import { ClientHost } from '../sim/cluster/client-host.ts'
import type { CasOutcome } from '../sim/cluster/cluster-store.ts'
import { NodeHost } from '../sim/cluster/node-host.ts'
import type { SimClient } from '../sim/cluster/sim-client.ts'
import type { Swarm } from '../sim/cluster/swarm.ts'
import { World } from '../sim/cluster/world.ts'
import type { Random } from '../sim/random.ts'

export const LEASE_MS = 200
export const GRACE_MS = 215

export function calmSwarm(change: Partial<Swarm>): Swarm {
  return {
    seed: 1,
    focus: 'wide',
    copies: 3,
    spares: 0,
    minInSync: 1,
    clients: 1,
    sockets: 1,
    ioTimeoutMs: 0,
    attachMode: 'single',
    disks: 1,
    segments: 96,
    volumes: 1,
  clones: 0,
    isErasing: false,
    deletedAtMs: Infinity,
    scrubEveryMs: Infinity,
    losesAtEnd: false,
    readers: 0,
    slices: 1,
    blocksPerSlice: 16,
    firstBlock: 0,
    mode: 'durable',
    readCheck: 'lease',
    beaconMs: 20,
    beatsTogether: true,
    leaseMs: LEASE_MS,
    graceMs: GRACE_MS,
    evictAfterMs: 100,
    retryMs: 20,
    candidateStepMs: 20,
    windowBytesMax: 1_048_576,
    windowRecordsMax: 256,
    fillBytesMax: 8192,
    marksMost: 64,
    clockRates: [],
    network: { delayMs: [0.5, 1], lossRate: 0, duplicateRate: 0, lateRate: 0, inOrder: true },
    badNetwork: { delayMs: [0.5, 1], lossRate: 0, duplicateRate: 0, lateRate: 0, inOrder: true },
    store: {
      delayMs: [0.5, 1],
      timeoutMs: 50,
      requestLossRate: 0,
      answerLossRate: 0,
      lateRate: 0,
      hintLossRate: 0,
      hintDelayMs: [0.5, 1],
    },
    disk: { writeMs: [0.1, 0.2], syncMs: [0.5, 1], readMs: [0.05, 0.1], readFailRate: 0 },
    supervisorReports: false,
    lateReportRate: 0,
    keepsFailed: false,
    operations: 0,
    inFlightMax: 0,
    thinkMs: 0,
    blocksMax: 1,
    weights: { read: 1, write: 0, trim: 0, zero: 0, flush: 0, narrow: 0 },
    fuaRate: 0,
    beyondRate: 0,
    resendMs: 100,
    partBlocksMax: 256,
    faultsUntilMs: 0,
    faultEveryMs: 1,
    durationsMs: [1],
    aimedShare: 0,
    aimsAt: [],
    faults: [],
    actionEveryMs: 1,
    actions: [],
    ...change,
  }
}

/** What is done to messages of a kind on a way; `held` ones are kept. */
interface MessageRule {
  what: 'drop' | 'hold' | 'repeat'
  kind: string
  from: string
  to: string
  /** How many more, Infinity: until it is ended. */
  left: number
  held: Array<() => void>
}

/** How the next compare-and-swap of a user ends without an answer: it is applied, or is not, or is after a time. */
export interface CasRule {
  applies: 'now' | 'never' | number
}

export class ScenarioWorld extends World {
  readonly rules: MessageRule[] = []
  readonly casRules = new Map<string, CasRule>()
  readonly answers = new Map<string, { kind: ClientOperation['kind']; result: string }>()
  readonly commands = new Map<number, CommandResult>()
  private lastToken = 1_000_000

  protected override newNodeHost(random: Random): NodeHost {
    return new ScenarioNodes(this, random)
  }

  protected override newUsers(): ClientHost {
    return new ScenarioUsers(this)
  }

  /** What was held, or is to be repeated, arrives now. */
  letGo(kind: string): number {
    let count = 0
    for (const rule of this.rules.filter((one) => one.kind === kind)) {
      rule.left = 0
      count += rule.held.length
      for (const pass of rule.held.splice(0)) pass()
    }
    return count
  }

  /** To the copy that leads; the token under which it ends. */
  command(node: string, command: OperatorCommand): number {
    const token = ++this.lastToken
    this.nodes.get(node)!.deliver({ type: 'command', token, command })
    return token
  }
}

class ScenarioNodes extends NodeHost {
  private readonly scenario: ScenarioWorld

  constructor(scenario: ScenarioWorld, random: Random) {
    super(scenario, random)
    this.scenario = scenario
  }

  override send(from: string, instance: string, to: string, message: PeerMessage): void {
    const pass = () => super.send(from, instance, to, message)
    const rule = this.scenario.rules.find(
      (one) =>
        (one.kind === message.type || one.kind === 'anything') &&
        (one.from === from || one.from === '*') &&
        (one.to === to || one.to === '*') &&
        one.left > 0,
    )
    if (rule === undefined) return pass()
    rule.left--
    if (rule.what !== 'drop') rule.held.push(pass)
    if (rule.what === 'repeat') pass()
  }

  override compareAndSwap(
    node: string,
    version: string,
    config: VolumeConfig,
    ended: (outcome: CasOutcome) => void,
  ): void {
    const { casRules } = this.scenario
    const rule = casRules.get(node)
    if (rule === undefined) return super.compareAndSwap(node, version, config, ended)
    casRules.delete(node)
    const swap = () => super.compareAndSwap(node, version, config, () => {})
    if (rule.applies === 'now') swap()
    else if (rule.applies !== 'never') this.clock.after(rule.applies, swap)
    this.clock.after(this.swarm.store.timeoutMs, () => ended({ outcome: 'unknown', version: undefined }))
  }

  override commandEnded(node: string, token: number, result: CommandResult): void {
    this.scenario.commands.set(token, result)
    super.commandEnded(node, token, result)
  }
}

class ScenarioUsers extends ClientHost {
  private readonly scenario: ScenarioWorld

  constructor(scenario: ScenarioWorld) {
    super(scenario)
    this.scenario = scenario
  }

  override clientAnswered(client: SimClient, kind: ClientOperation['kind'], result: string, tag: number = 0): void {
    this.scenario.answers.set(`${client.name} ${tag}`, { kind, result })
    super.clientAnswered(client, kind, result, tag)
  }
}
