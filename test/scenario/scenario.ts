/**
 * A scenario: readable text, one event or expectation on a line, run in virtual time (README.md has the words). Every
 * checker of the simulator watches; at the end everything is healed and has to become whole.
 */
import { withForcedPrimary, withHolder, withoutHolder, withoutMembers } from '../../engine/replication/configuration.ts'
import type { AttachMode, VolumeConfig } from '../../engine/replication/configuration.ts'
import type { OperatorCommand } from '../../engine/replication/copy-port.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import { begin, finish } from '../sim/cluster/course.ts'
import type { Mark } from '../sim/cluster/atlas.ts'
import type { Swarm } from '../sim/cluster/swarm.ts'
import { Random } from '../sim/random.ts'
import { calmSwarm, GRACE_MS, LEASE_MS, ScenarioWorld } from './scenario-world.ts'

export interface ScenarioResult {
  failure: string | undefined
  trace: string
  lines: number
}

interface Asked {
  client: string
  tag: number
  stamps: readonly number[]
}

/** How long `expect` waits for what it expects. */
const PATIENCE_MS = 40 * GRACE_MS

/** So long at most a connection that is lost has no successor. */
const SOCKET_DOWN_MS = 20

/** A scenario says something that cannot be, or is not so. */
class Wrong extends Error {}

export function runScenario(text: string, store: 'real' | 'memory' = 'memory'): ScenarioResult {
  const lines = text
    .split('\n')
    .map((line, i) => ({ number: i + 1, words: line.replace(/#.*/, '').trim().split(/\s+/).filter(Boolean) }))
    .filter(({ words }) => words.length > 0)
  const head = lines.filter(({ words }) => words[0] === 'given')
  const world = new ScenarioWorld(swarmOf(head.map(({ words }) => words)), [], {
    keepsTrace: true,
    disksLie: false,
    store,
  })
  const scenario = new Scenario(world)
  let at = 0
  const result = (failure: string | undefined): ScenarioResult => ({
    failure,
    trace: world.trace.text(),
    lines: lines.length,
  })
  try {
    begin(world)
    for (const { number, words } of lines) {
      at = number
      if (words[0] === 'given') continue
      world.trace.note('scenario', words.join(' '))
      scenario.run(words)
      const [violation] = world.violations
      if (violation !== undefined) return result(`line ${at}: ${violation.checker}: ${violation.message}`)
    }
    finish(world)
  } catch (error) {
    if (!(error instanceof Wrong)) throw error
    return result(`line ${at}: ${error.message}`)
  }
  const [violation] = world.violations
  return result(violation && `at the end: ${violation.checker}: ${violation.message}`)
}

function swarmOf(lines: readonly string[][]): Swarm {
  const change: Partial<Swarm> = {}
  for (const [, what, ...words] of lines) {
    const number = Number(words[0])
    if (what === 'copies') change.copies = number
    else if (what === 'spares') change.spares = number
    else if (what === 'clients') change.clients = number
    else if (what === 'slices') change.slices = number
    else if (what === 'minInSync') change.minInSync = number
    else if (what === 'seed') change.seed = number
    else if (what === 'mode' && (words[0] === 'durable' || words[0] === 'writeback')) change.mode = words[0]
    else if (what === 'reads' && (words[0] === 'lease' || words[0] === 'confirm')) change.readCheck = words[0]
    else if (what === 'attach') change.attachMode = words[0] as AttachMode
    else if (what === 'supervisor') change.supervisorReports = true
    else if (what === 'resend') change.resendMs = number
    else if (what === 'sockets') change.sockets = number
    else if (what === 'io-timeout') change.ioTimeoutMs = number
    else if (what === 'window') change.windowRecordsMax = number
    else throw new Error(`given what? ${what}`)
  }
  return calmSwarm(change)
}

class Scenario {
  private readonly world: ScenarioWorld
  private readonly asked = new Map<string, Asked>()
  private anonymous = 0
  private readonly random = new Random('scenario')
  /** Blocks that a node's medium has not any more: `n1 3`. */
  private readonly rotten = new Map<string, Mark>()

  constructor(world: ScenarioWorld) {
    this.world = world
  }

  run([word, ...rest]: string[]): void {
    const { world } = this
    const [first = '', second = ''] = rest
    switch (word) {
      case 'write':
      case 'trim':
      case 'zero':
      case 'flush':
      case 'narrow': {
        const name = this.ask(word, rest)
        this.until(() => this.resultOf(name) !== 'pending', `${word} is answered`)
        return this.demandOk(name)
      }
      case 'begin':
        if (first === 'hand-over') return void this.order({ type: 'hand-over', to: second })
        return void this.ask(first, rest.slice(1))
      case 'read':
        return this.read(rest)
      case 'cut':
        return this.ways(rest, (from, to) => world.network.cut(from, to))
      case 'heal':
        if (rest.length === 0) return world.network.healAll()
        return this.ways(rest, (from, to) => world.network.heal(from, to))
      case 'isolate':
        return this.split([rest, world.everybody.filter((name) => !rest.includes(name))])
      case 'drop':
      case 'hold':
      case 'repeat': {
        const [kind = '', from = '*', to = '*', count = 'always'] = rest
        const left = count === 'always' ? Infinity : Number(count)
        return void world.rules.push({ what: word, kind, from, to, left, held: [] })
      }
      case 'let-go':
        if (world.letGo(first) === 0 && second !== 'any') throw new Wrong(`no ${first} was held`)
        return
      case 'cas':
        return this.nextCas(rest)
      case 'old-hint':
        for (const name of rest) this.oldHint(name)
        return
      case 'store':
        return this.clusterStore(rest)
      case 'crash':
      case 'start':
      case 'power':
      case 'pause':
      case 'resume':
      case 'wipe':
      case 'empty':
      case 'fail-disk':
      case 'mend-disk':
      case 'slow-disk':
        for (const name of rest) this.node(word, name)
        return
      case 'rot':
        return this.rot(first, rest.slice(1))
      case 'unrot':
        for (const lba of rest.slice(1)) this.rotten.get(`${first} ${lba}`)!.undo()
        return
      case 'restart-client':
      case 'lose-socket':
      case 'attach':
      case 'detach':
        return this.client(word, first)
      case 'wait':
        return this.wait(first)
      case 'try':
      case 'hand-over':
        return this.command({ type: 'hand-over', to: word === 'try' ? second : first }, word === 'try')
      case 'snapshot':
      case 'snapshot-delete':
        return this.command({ type: 'change', change: { operation: word, id: first } })
      case 'rollback':
        return this.command({ type: 'change', change: { operation: 'rollback', to: first } })
      case 'resize':
        return this.command({ type: 'change', change: { operation: 'resize', sizeBytes: Number(first) * 2 ** 30 } })
      case 'evict':
        return this.change((now) => withoutMembers(now, [first], 'operator'))
      case 'force':
        return this.change((now) => withForcedPrimary(now, first, 'operator'))
      case 'touch':
        return this.change((now) => ({ ...now, nonce: `touch ${now.epoch}` }))
      case 'expect':
        return this.until(() => this.holds(rest), rest.join(' '))
      case 'now':
        if (!this.holds(rest)) throw new Wrong(`not so: ${rest.join(' ')} (${this.describe()})`)
        return
      default:
        throw new Wrong(`an unknown word: ${word}`)
    }
  }

  /** `write c1 3 [as NAME]`, `flush c1 [as NAME]`; `narrow` writes all but the edges of a block. */
  private ask(kind: string, rest: readonly string[]): string {
    const as = rest.indexOf('as')
    const name = as < 0 ? `operation ${++this.anonymous}` : rest[as + 1]!
    const [clientName = '', lba = '0', blocks = '1'] = as < 0 ? rest : rest.slice(0, as)
    const client = this.world.clients.get(clientName)
    if (client === undefined) throw new Wrong(`there is no client ${clientName}`)
    const range = { offsetBytes: Number(lba) * BLOCK_BYTES, lengthBytes: Number(blocks) * BLOCK_BYTES }
    const inner = { offsetBytes: range.offsetBytes + 512, lengthBytes: range.lengthBytes - 1024 }
    const request =
      kind === 'flush'
        ? ({ type: 'flush' } as const)
        : kind === 'read'
          ? ({ type: 'read', ...range } as const)
          : kind === 'write'
            ? ({ type: 'write', ...range, data: undefined, fua: false } as const)
            : kind === 'narrow'
              ? ({ type: 'write', ...inner, data: undefined, fua: false } as const)
              : ({ type: kind === 'trim' ? 'trim' : 'zero', ...range, fua: false } as const)
    const { tag, stamps } = client.begin(request)
    this.asked.set(name, { client: clientName, tag, stamps })
    return name
  }

  /** `rot n1 3 4`: the newest version of these blocks, on the disk of n1. */
  private rot(name: string, lbas: readonly string[]): void {
    const { world } = this
    world.mayLose = true
    for (const lba of lbas) {
      let rotten: { mark: Mark } | undefined
      let isDone = false
      world.nodes.get(name)!.disk.rotHead(this.random, Number(lba), (found) => {
        rotten = found
        isDone = true
      })
      this.until(() => isDone, 'the block is looked for')
      if (rotten === undefined) throw new Wrong(`block ${lba} of ${name} cannot rot`)
      this.rotten.set(`${name} ${lba}`, rotten.mark)
    }
  }

  /** `read c1 3 is NAME|zeroes|anything|lost`. */
  private read([client = '', lba = '0', is, what = '']: readonly string[]): void {
    if (is !== 'is') throw new Wrong('read CLIENT BLOCK is WHAT')
    const name = this.ask('read', [client, lba])
    this.until(() => this.resultOf(name) !== 'pending', 'the read is answered')
    if (what === 'lost') {
      if (this.resultOf(name) === 'damaged') return
      throw new Wrong(`it was answered ${this.resultOf(name)}`)
    }
    this.demandOk(name)
    const got = this.stampsRead(name)[0] ?? 0
    if (what === 'anything') return
    const wanted = what === 'zeroes' ? 0 : this.asked.get(what)?.stamps[0]
    if (wanted === undefined) throw new Wrong(`nothing is called ${what}`)
    if (got === wanted) return
    const known = [...this.asked].find(([, { stamps }]) => stamps.includes(got))?.[0]
    throw new Wrong(`block ${lba} is ${known ?? (got || 'zeroes')}, not ${what}`)
  }

  private demandOk(name: string): void {
    const result = this.resultOf(name)
    if (result !== 'ok' && this.world.violations.length === 0) throw new Wrong(`it was answered ${result}`)
  }

  private stampsRead(name: string): readonly number[] {
    const { client, tag } = this.asked.get(name)!
    const found = this.world.judge.operations.findLast(
      (op) => op.client === client && op.kind === 'read' && op.request.endsWith(`#${tag}`),
    )
    return found?.stamps ?? []
  }

  private resultOf(name: string): string {
    const asked = this.asked.get(name)
    if (asked === undefined) throw new Wrong(`nothing is called ${name}`)
    return this.world.answers.get(`${asked.client} ${asked.tag}`)?.result ?? 'pending'
  }

  /** `n1 n2`: both ways; `n1 > n2`: one; `n1 all`: to and from everybody. */
  private ways([a = '', b = '', c]: readonly string[], act: (from: string, to: string) => void): void {
    if (b === '>') return act(a, c!)
    const others = b === 'all' ? this.world.everybody.filter((name) => name !== a) : [b]
    for (const other of others) {
      act(a, other)
      act(other, a)
    }
  }

  private split(groups: readonly string[][]): void {
    this.world.network.partition(groups)
  }

  /** `cas unknown n1 applied|not-applied|late 30`. */
  private nextCas([, node = '', how = '', ms = '0']: readonly string[]): void {
    const applies = how === 'applied' ? 'now' : how === 'late' ? Number(ms) : 'never'
    this.world.casRules.set(node, { applies })
  }

  /** `store out|back`, `store hidden-from n1`, `store shown-to n1`. */
  private clusterStore([what, ...names]: readonly string[]): void {
    const { store } = this.world
    if (what === 'out' || what === 'back') store.isOut = what === 'out'
    else if (what === 'hidden-from') for (const name of names) store.unreachableFor.add(name)
    else if (what === 'shown-to') for (const name of names) store.unreachableFor.delete(name)
    else throw new Wrong(`store what? ${what}`)
  }

  private node(word: string, name: string): void {
    const { world } = this
    const node = world.nodes.get(name)
    if (node === undefined) throw new Wrong(`there is no node ${name}`)
    if (word === 'crash') node.kill()
    else if (word === 'start') node.start()
    else if (word === 'power') node.losePower(world.position())
    else if (word === 'pause') node.pause()
    else if (word === 'resume') node.resume()
    else if (word === 'fail-disk') node.failDisk(world.position())
    else if (word === 'slow-disk') node.disk.setSpeed(1000)
    else if (word === 'mend-disk') {
      node.kill()
      node.mendDisk(world.position())
      node.start()
    } else if (word === 'empty') {
      node.losePower(world.position())
      world.newDisk(node, 'another copy')
      node.start()
    } else {
      node.losePower(world.position())
      world.newDisk(node, '')
      world.operator.replace(node)
    }
  }

  /**
   * `restart-client c1`: a new incarnation; `attach c2`: it moves there, or there too, under a new generation, unless
   * c2 holds it; `detach c2`: c2 does not any more, and is not told by us; `lose-socket c1`: one of its connections.
   */
  private client(word: string, name: string): void {
    const { world } = this
    const client = world.clients.get(name)!
    if (word === 'restart-client') return world.users.attach(client, client.lastGeneration)
    if (word === 'lose-socket') return client.loseSocket(this.random, SOCKET_DOWN_MS)
    if (word === 'detach') return this.change((now) => withoutHolder(now, name, 'operator'))
    const held = world.store.current.config.attach.holders[name]
    if (held === undefined) this.change((now) => withHolder(now, name, now.attach.mode, 'operator'))
    world.users.attach(client, world.store.current.config.attach.holders[name]!)
  }

  /** The watch goes back: what the cluster store held first comes to a node or client now. */
  private oldHint(name: string): void {
    const { nodes, clients, store } = this.world
    const [value] = store.history
    const node = nodes.get(name)
    if (node !== undefined) node.deliver({ type: 'config-hint', value: value! })
    else clients.get(name)!.hint(value!)
  }

  /** Of the copy that is named primary now. */
  private order(command: OperatorCommand): number {
    return this.world.command(this.world.store.current.config.primary, command)
  }

  private command(command: OperatorCommand, mayFail = false): void {
    const { world } = this
    const token = this.order(command)
    this.until(() => world.commands.has(token), 'the command ends')
    const result = world.commands.get(token)!
    if (!result.ok && !mayFail) throw new Wrong(`the command ended with ${result.code}: ${result.why}`)
  }

  private change(make: (now: VolumeConfig) => VolumeConfig | undefined): void {
    const { store } = this.world
    const { config, version } = store.current
    const next = make(config)
    if (next === undefined) throw new Wrong('there is nothing to change')
    let outcome = ''
    store.compareAndSwap('operator', version, next, (ended) => (outcome = ended.outcome))
    this.until(() => outcome !== '', 'the cluster store answers')
    if (outcome !== 'won') throw new Wrong(`the change was ${outcome}`)
  }

  private wait(how: string): void {
    const ms = how === 'grace' ? GRACE_MS * 1.5 : how === 'lease' ? LEASE_MS : Number(how)
    const untilMs = this.world.clock.nowMs() + ms
    this.stepUntil(() => this.world.clock.nowMs() >= untilMs, untilMs + ms)
  }

  private holds([what = '', ...rest]: readonly string[]): boolean {
    const { config } = this.world.store.current
    const [first = '', second = ''] = rest
    switch (what) {
      case 'primary':
        return config.primary === first && this.world.nodes.get(first)!.role === 'primary'
      case 'named':
        return config.primary === first
      case 'set':
        return [...config.inSync].sort().join() === [...rest].sort().join()
      case 'role':
        return this.world.nodes.get(first)!.role === second
      case 'whole':
        return config.inSync.length === Object.keys(config.members).length && this.holds(['primary', config.primary])
      case 'whole-but':
        return config.primary !== first && this.holds(['primary', config.primary])
      case 'caught':
        return this.world.rules.some(({ kind, held }) => kind === first && held.length > 0)
      case 'epoch-above':
        return config.epoch > Number(first)
      default:
        return this.resultOf(what) === first
    }
  }

  private until(condition: () => boolean, what: string): void {
    this.stepUntil(condition, this.world.clock.nowMs() + PATIENCE_MS)
    if (this.world.violations.length === 0 && !condition()) {
      throw new Wrong(`it does not come true: ${what} (${this.describe()})`)
    }
  }

  private stepUntil(condition: () => boolean, untilMs: number): void {
    const { clock, violations } = this.world
    while (violations.length === 0 && clock.nowMs() < untilMs && !condition()) if (!clock.step()) return
  }

  private describe(): string {
    const { epoch, primary, inSync } = this.world.store.current.config
    const roles = [...this.world.nodes].map(([name, { role }]) => `${name} ${role}`)
    return `epoch ${epoch}, primary ${primary}, set ${inSync.join('+')}; ${roles.join(', ')}`
  }
}
