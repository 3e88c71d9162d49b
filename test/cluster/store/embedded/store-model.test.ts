/**
 * The embedded store is a map with time travel: random puts, deletions, transactions, compactions and restarts, in
 * bursts that share batches, against a list of maps. A failure names its seed: `SEED=n node` and this file replays it.
 */
import t from 'tap'
import type { Test } from 'tap'
import { openEmbeddedStore } from '../../../../cluster/store/embedded/embedded-store.ts'
import type { EmbeddedStore } from '../../../../cluster/store/embedded/embedded-store.ts'
import { bytesOfRecord } from '../../../../cluster/store/embedded/key-history.ts'
import { KvService } from '../../../../cluster/store/embedded/kv-service.ts'
import { Refusal } from '../../../../cluster/store/embedded/refusals.ts'
import type { RangeResponse, ResponseHeader } from '../../../../cluster/store/etcd-api.ts'
import { Random } from '../../../sim/random.ts'
import { temporaryFolder } from '../../../temporary-folder.ts'

const BOUNDS = { revisionsMax: 40, bytesMax: 2 ** 20 }
const KEYS = ['a', 'a\0', 'aa', 'b', 'b\xff', 'c', '\xff\xff']

interface Known {
  value: string
  create: number
  mod: number
  version: number
}

type State = Map<string, Known>

/** What is at each revision, and what made it so. */
class Model {
  readonly states: State[] = [new Map(), new Map()]
  readonly events: Array<string | undefined> = [undefined, undefined]

  get revision(): number {
    return this.states.length - 1
  }

  get newest(): State {
    return this.states.at(-1)!
  }

  put(key: string, value: string): void {
    const before = this.newest.get(key)
    const mod = this.revision + 1
    this.step(key, { value, create: before?.create ?? mod, mod, version: (before?.version ?? 0) + 1 })
  }

  delete(key: string): boolean {
    const isThere = this.newest.has(key)
    if (isThere) this.step(key, undefined)
    return isThere
  }

  private step(key: string, known: Known | undefined): void {
    const next = new Map(this.newest)
    if (known === undefined) next.delete(key)
    else next.set(key, known)
    this.states.push(next)
    this.events.push(`${key} ${known?.value ?? 'deleted'}`)
  }
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')
const header = (revision: number): ResponseHeader =>
  ({ clusterId: '1', memberId: '1', revision: String(revision), raftTerm: '1' })

const RANGE = {
  key: latin1('\0'), rangeEnd: latin1('\0'), limit: '0', revision: '0', sortOrder: 'NONE', sortTarget: 'KEY',
  serializable: false, keysOnly: false, countOnly: false, minModRevision: '0', maxModRevision: '0',
  minCreateRevision: '0', maxCreateRevision: '0',
} as const
const PUT = { lease: '0', prevKv: false, ignoreValue: false, ignoreLease: false }
const DELETE = { rangeEnd: latin1(''), prevKv: false }

const shown = (response: RangeResponse): string => response.kvs.map((kv) =>
  [latin1String(kv.key), latin1String(kv.value), kv.createRevision, kv.modRevision, kv.version].join(' ')).join('|')
const latin1String = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

function shownState(state: State, from: string, below: string | undefined, limit: number): string {
  const inRange = [...state].filter(([key]) => key >= from && (below === undefined || key < below))
  const words = inRange.map(([key, { value, create, mod, version }]) => [key, value, create, mod, version].join(' '))
  return words.sort((a, b) => (a.split(' ')[0]! < b.split(' ')[0]! ? -1 : 1)).slice(0, limit).join('|')
}

class Run {
  private readonly t: Test
  private readonly random: Random
  private readonly dir: string
  private readonly model = new Model()
  private store!: EmbeddedStore
  private kv!: KvService
  private values = 0

  constructor(t: Test, seed: number) {
    this.t = t
    this.random = new Random(seed)
    this.dir = temporaryFolder(t)
  }

  async run(bursts: number): Promise<void> {
    await this.open()
    for (let i = 0; i < bursts; i++) {
      const before = this.model.revision
      const answers = Array.from({ length: 1 + this.random.int(6) }, () => this.act())
      const shown = this.kv.range({ ...RANGE, key: latin1('\0'), rangeEnd: latin1('\0') })
      this.t.equal(shown.header.revision, String(before), 'D1: nothing is shown that is not durable')
      const durable = answers.map(([answer, expected]) => answer.then((said) => {
        const revisions = [said].flat().filter((word) => /^\d+$/.test(String(word))).map(Number)
        for (const revision of revisions) if (revision > this.store.committedRevision) this.t.fail('D1: told too early')
        return [said, expected]
      }))
      for (const [said, expected] of await Promise.all(durable)) this.t.same(said, expected)
      await this.settled()
      this.check()
      if (this.random.int(12) === 0) await this.reopen()
    }
    await this.store.close()
  }

  private async open(): Promise<void> {
    this.store = await openEmbeddedStore(this.dir, BOUNDS)
    this.kv = new KvService(this.store, header)
  }

  private async reopen(): Promise<void> {
    const { liveBytes, historyBytes, compactedRevision } = this.store.history
    await this.store.close()
    await this.open()
    const { history } = this.store
    this.t.same([history.liveBytes, history.historyBytes, history.compactedRevision],
      [liveBytes, historyBytes, compactedRevision], 'a restart counts the same')
    this.check()
  }

  /** What it is answered, and what it should be. */
  private act(): [Promise<unknown>, unknown] {
    const { random, model, kv } = this
    const key = random.pick(KEYS)
    const value = `v${this.values++}${'.'.repeat(random.int(40))}`
    switch (random.int(10)) {
      case 0: case 1: case 2:
        model.put(key, value)
        return [kv.put({ key: latin1(key), value: latin1(value), ...PUT }).then(({ header }) => header.revision),
          String(model.revision)]
      case 3: {
        const deleted = model.delete(key) ? '1' : '0'
        const answer = kv.deleteRange({ key: latin1(key), ...DELETE })
        return [answer.then((done) => [done.deleted, done.header.revision]), [deleted, String(model.revision)]]
      }
      case 4: return this.compact()
      default: return this.transact(key, value)
    }
  }

  private compact(): [Promise<unknown>, unknown] {
    const { committedRevision, history } = this.store
    const revision = history.compactedRevision + this.random.int(12)
    const isBehind = revision <= history.compactedRevision
    const refusal = revision > committedRevision ? 'future' : isBehind ? 'compacted' : 'done'
    const answer = Promise.resolve(this.kv.compact({ revision: String(revision), physical: true }))
    return [answer.then(() => 'done', (error: unknown) => {
      if (!(error instanceof Refusal)) throw error
      return /future/.test(error.message) ? 'future' : 'compacted'
    }), refusal]
  }

  private transact(key: string, value: string): [Promise<unknown>, unknown] {
    const { random, model, kv } = this
    const before = model.newest.get(key)
    const [target, field, number] = random.pick([
      ['VERSION', 'version', before?.version],
      ['CREATE', 'createRevision', before?.create],
      ['MOD', 'modRevision', before?.mod],
    ] as const)
    const wanted = random.int(3) === 0 ? random.int(model.revision + 2) : number ?? 0
    const succeeded = wanted === (number ?? 0)
    const deletes = random.int(4) === 0
    if (succeeded) deletes ? model.delete(key) : model.put(key, value)
    const at = latin1(key)
    const change = deletes ? { requestDeleteRange: { key: at, ...DELETE } }
      : { requestPut: { key: at, value: latin1(value), ...PUT } }
    const answer = kv.txn({
      compare: [{ result: 'EQUAL', target, key: at, [field]: String(wanted), rangeEnd: latin1('') }],
      success: [change],
      failure: [{ requestRange: { ...RANGE, key: at, rangeEnd: latin1('') } }],
    })
    const there = succeeded ? undefined : before?.value
    return [answer.then((txn) => {
      const [kv] = txn.responses?.[0]?.responseRange?.kvs ?? []
      return [txn.succeeded, txn.header!.revision, kv === undefined ? undefined : latin1String(kv.value as Uint8Array)]
    }), [succeeded, String(model.revision), there]]
  }

  /** Until what the store compacts by itself is done. */
  private async settled(): Promise<void> {
    await this.store.change(0, () => ({ record: undefined, answer: undefined }))
    await this.store.change(0, () => ({ record: undefined, answer: undefined }))
  }

  private check(): void {
    const { t, random, model, store, kv } = this
    const { history, committedRevision } = store
    t.equal(committedRevision, model.revision)
    t.ok(committedRevision - history.compactedRevision <= BOUNDS.revisionsMax, 'the history is bounded')
    for (let i = 0; i < 4; i++) {
      const revision = random.between(Math.max(1, history.compactedRevision), committedRevision)
      const [from, below, limit] = [random.pick(['\0', ...KEYS]), random.pick([undefined, ...KEYS]), random.int(4)]
      const range = kv.range({ ...RANGE, key: latin1(from), rangeEnd: latin1(below ?? '\0'), limit: String(limit),
        revision: String(revision) })
      const state = model.states[revision]!
      t.equal(shown(range), shownState(state, from, below, limit === 0 ? Infinity : limit), `revision ${revision}`)
      t.equal(range.count, String(shownState(state, from, below, Infinity).split('|').filter(Boolean).length))
    }
    for (let revision = Math.max(2, history.compactedRevision); revision <= committedRevision; revision++) {
      const event = history.eventAt(revision)!
      const value = event.kind === 'put' ? latin1String(event.value) : 'deleted'
      if (`${event.key} ${value}` !== model.events[revision]) t.equal(`${event.key} ${value}`, model.events[revision])
    }
    let liveBytes = 0
    for (const key of model.newest.keys()) liveBytes += bytesOfRecord(history.latest(key)!)
    t.equal(history.liveBytes, liveBytes)
    t.equal(history.liveBytes + history.historyBytes, this.neededBytes(), 'nothing else is kept')
  }

  /** What happened since the compacted revision, and what was there then from before. */
  private neededBytes(): number {
    const { model, store: { history } } = this
    const { compactedRevision } = history
    let bytes = 0
    for (let revision = Math.max(2, compactedRevision); revision <= model.revision; revision++) {
      bytes += bytesOfRecord(history.eventAt(revision)!)
    }
    for (const [key, { mod }] of model.states[compactedRevision] ?? []) {
      if (mod < compactedRevision) bytes += bytesOfRecord(history.at(key, compactedRevision)!)
    }
    return bytes
  }
}

const seeds = process.env.SEED === undefined ? [1, 2, 3, 4] : [Number(process.env.SEED)]
for (const seed of seeds) t.test(`SEED=${seed}`, (t) => new Run(t, seed).run(100))
