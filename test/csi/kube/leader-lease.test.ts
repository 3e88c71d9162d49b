/** Risk: two lead at once, nobody leads for ever, or a body goes on behind its time. Virtual time, by seed. */
import t from 'tap'
import type { ApiAnswer, ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { LEASE_TIMING, leadByLease, LeaderLease } from '../../../csi/kube/leader-lease.ts'
import { Random } from '../../sim/random.ts'
import { VirtualTime } from './failover/virtual-time.ts'

type Json = Record<string, any>

/** Leases as the API keeps them: a version for each write, a conflict for who saw another one. */
class Leases {
  stored: Json | undefined
  #version = 0

  apply({ method, body }: ApiCall): ApiAnswer {
    const refused = (status: number): ApiAnswer => ({ ok: false, failure: { status, isUnknown: false, reason: 'no' } })
    const { stored } = this
    if (method === 'POST' && stored !== undefined) return refused(409)
    if (method !== 'POST' && stored === undefined) return refused(404)
    if (method === 'GET') return { ok: true, body: structuredClone(stored!) }
    const asked = structuredClone(body) as Json
    if (method === 'PUT' && asked.metadata.resourceVersion !== stored!.metadata.resourceVersion) return refused(409)
    asked.metadata.resourceVersion = String(++this.#version)
    this.stored = asked
    return { ok: true, body: structuredClone(asked) }
  }
}

const NO_ANSWER: ApiAnswer = { ok: false, failure: { status: 0, isUnknown: true, reason: 'no answer' } }

/** Three candidates whose calls are late, lost on the way there or back, and who stand still now and then. */
async function world(seed: number): Promise<{ problems: string[]; led: number; ledMs: number }> {
  const random = new Random(seed)
  const [time, leases] = [new VirtualTime(), new Leases()]
  let isCalm = false
  const call = async (asked: ApiCall): Promise<ApiAnswer> => {
    const limitMs = asked.deadlineMs!
    const thereMs = isCalm ? 5 : random.int(6000)
    const fate = isCalm ? 1 : random.int(12)
    if (fate === 0) return time.sleep(limitMs).then(() => NO_ANSWER)
    // It may be carried out long after who asked has given up.
    const applied = time.sleep(thereMs).then(() => leases.apply(asked))
    const answered = applied.then((answer) => time.sleep(fate === 2 ? limitMs * 9 : 5).then(() => answer))
    return Promise.race([answered, time.sleep(limitMs).then(() => NO_ANSWER)])
  }
  const names = ['a', 'b', 'c']
  const candidates = names.map((identity) => {
    // Clocks of hosts differ in their zero, and go wrong by a part in a hundred.
    const [zeroMs, rate] = [random.int(1e9), 1 + random.between(-10, 10) / 1000]
    const nowMs = (): number => zeroMs + time.nowMs * rate
    return new LeaderLease({
      client: { call }, namespace: 'h', name: 'l', identity, log: () => undefined, onLead: async () => undefined,
      nowMs, wallMs: () => 1e12 + nowMs(),
    })
  })
  for (const candidate of candidates) {
    void (async () => {
      for (;;) {
        await candidate.turn()
        await time.sleep(!isCalm && random.chance(0.05) ? random.int(60_000) : LEASE_TIMING.turnMs)
      }
    })()
  }
  const problems: string[] = []
  let [led, ledMs, lastMs] = [0, 0, 0]
  const look = (): void => {
    const leading = candidates.map((one, i) => (one.isLeading() ? names[i] : '')).filter((name) => name !== '')
    if (leading.length > 1) problems.push(`${leading.join(' and ')} lead at ${time.nowMs}`)
    if (leading.length === 1) led++
    if (leading.length === 1 && isCalm) ledMs += time.nowMs - lastMs
    lastMs = time.nowMs
  }
  await time.run(400_000, look)
  isCalm = true
  await time.run(500_000, look)
  return { problems, led, ledMs }
}

t.test('one leads, whatever is lost, late or asleep', async (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const { problems, led, ledMs } = await world(seed)
    t.same(problems, [], `seed ${seed}`)
    t.ok(led > 0, `somebody led, seed ${seed}`)
    t.ok(ledMs > 50_000, `somebody leads in the end, seed ${seed}: ${ledMs} ms of 100,000`)
  }
})

const FAST = { leaseMs: 150, holdMs: 100, turnMs: 20 }

t.test('the body is told, its end is waited for, and the next one begins at once', async (t) => {
  const leases = new Leases()
  let isAway = false
  const client = { call: async (asked: ApiCall) => (isAway ? NO_ANSWER : leases.apply(asked)) }
  const [stop, other] = [new AbortController(), new AbortController()]
  const said: string[] = []
  const lead = (identity: string, signal: AbortSignal, begun: () => void) => leadByLease({
    client, namespace: 'h', name: 'l', identity, timing: FAST, log: () => undefined,
    onLead: async (leading, isLeading) => {
      said.push(`${identity} begins`)
      begun()
      await new Promise((resolve) => leading.addEventListener('abort', resolve))
      t.notOk(isLeading())
      await new Promise((resolve) => setTimeout(resolve, 30))
      said.push(`${identity} ends`)
    },
  }, signal)
  let [first, again] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const a = lead('a', stop.signal, () => (said.length === 1 ? first.resolve() : again.resolve()))
  await first.promise
  isAway = true
  while (said.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
  t.same(said, ['a begins', 'a ends'], 'without the API it ends by its own clock')
  isAway = false
  await again.promise
  const b = Promise.withResolvers<void>()
  const standing = lead('b', other.signal, () => b.resolve())
  stop.abort()
  await a
  t.equal(leases.stored!.spec.holderIdentity === 'a', false, 'it let go')
  await b.promise
  t.same(said, ['a begins', 'a ends', 'a begins', 'a ends', 'b begins'])
  other.abort()
  await standing
})

t.test('a body that fails is told to who leads', async (t) => {
  const leases = new Leases()
  const never = new AbortController()
  await t.rejects(leadByLease({
    client: { call: async (asked: ApiCall) => leases.apply(asked) }, namespace: 'h', name: 'l', timing: FAST,
    log: () => undefined, onLead: () => Promise.reject(new Error('a bug')),
  }, never.signal), /a bug/)
  t.equal(leases.stored!.spec.holderIdentity, '', 'nobody waits for it')
})
