/**
 * Risk: a keeper that was killed between two steps leaves a device behind, makes a second one, or touches one that is
 * another's; sockets that died stay dead. Each effect of its life is a place to be killed at, before it and behind it.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { importMutant, misfit } from '../../sim/mutants.ts'
import * as lives from './keeper-lives.ts'

const LIVES = 'test/csi/host/keeper-lives.ts'

/** Until something is wrong. */
async function everyKill({ killedAt, BETWEEN }: typeof lives): Promise<{ wrong: string[]; kills: number }> {
  let kills = 0
  for (const [what, between] of Object.entries(BETWEEN)) {
    for (let at = 0; ; at += 0.5) {
      const [found, wasKilled] = await killedAt(at, between)
      const wrong = found.map((one) => `killed at ${at}, then ${what}: ${one}`)
      if (wrong.length > 0) return { wrong, kills }
      if (!wasKilled) break
      kills++
    }
  }
  return { wrong: [], kills }
}

async function anything(of: typeof lives): Promise<string[]> {
  const lone = [of.reusedIndex, of.refused, of.busy, of.grown, of.unseen, of.lostKernel,
    () => of.retimed(Infinity),
    ...[0, 0.5, Infinity].map((killAfter) => () => of.ended(killAfter)), () => of.ended(Infinity, 5)]
  const others = [...lone, ...[false, true].flatMap((isLater) =>
    [false, true].map((losesEvents) => () => of.resupplied(isLater, losesEvents)))]
  for (const life of others) {
    const wrong = await life().catch((error: unknown) => [String(error)])
    if (wrong.length > 0) return wrong
  }
  return (await everyKill(of)).wrong
}

t.afterEach(() => lives.endAll())

t.test('killed at each of its effects, it goes on', async (t) => {
  const { wrong, kills } = await everyKill(lives)
  t.same(wrong, [])
  t.ok(kills >= 100, `${kills} kills`)
})

t.test('sockets that die are replaced, seen or unseen', async (t) => {
  for (const isLater of [false, true]) {
    for (const losesEvents of [false, true]) t.same(await lives.resupplied(isLater, losesEvents), [])
  }
})

t.test('an index that is another\'s by now is not touched', async (t) => t.same(await lives.reusedIndex(), []))
t.test('an older generation, and one that is over', async (t) => t.same(await lives.refused(), []))
t.test('a kernel without an NBD client', async (t) => t.same(await lives.withoutKernel(), []))
t.test('a kernel before 5.14, and devices that do not stay', async (t) => t.same(await lives.unseen(), []))
t.test('a host that has lost its NBD client', async (t) => t.same(await lives.lostKernel(), []))
t.test('a volume that grows', async (t) => t.same(await lives.grown(), []))
t.test('a volume that holds I/O for another time', async (t) => {
  for (const killAfter of [0, 0.5, 1, 1.5, Infinity]) t.same(await lives.retimed(killAfter), [], `killed ${killAfter}`)
})
t.test('served for reading only', async (t) => t.same(await lives.servedReadOnly(), []))
t.test('its attachment is over, and its data process dead', async (t) => {
  for (const killAfter of [Infinity, 0, 0.5]) t.same(await lives.ended(killAfter), [], `killed ${killAfter}`)
  t.same(await lives.ended(Infinity, 5), [], 'and a later one is served here')
})
t.test('a device that is in use', async (t) => t.same(await lives.busy(), []))

const STEP = 'csi/host/keeper-step.ts'
const KEEPER = 'csi/host/device-keeper.ts'
const PLANTED = [
  {
    name: 'another time is noted, not told', file: KEEPER,
    replace: 'port.reconfigure({ index, backend, sockets: [], deadConnectionSeconds })', by: 'deadConnectionSeconds',
  },
  {
    name: 'an index is believed, whoever has it', file: STEP,
    replace: 'const device = ownIndex(view)\n  // Looked at once more',
    by: 'const place = view.entry!.device as NbdPlace\n'
      + '  const device = view.kernel.find(({ index }) => index === place.index)\n  // Looked at once more',
  },
  {
    name: 'an entry is removed before its device is gone', file: STEP,
    replace: "device === undefined ? { do: 'remove' }", by: "device === undefined || true ? { do: 'remove' }",
  },
  {
    name: 'what a killed one made is not looked for', file: STEP,
    replace: "if (device !== undefined) return { do: 'save', entry: { ...entry, state: 'attached'",
    by: "if (device !== undefined && entry.sizeBytes === 0) return { do: 'save', entry: { ...entry, state: 'attached'",
  },
  {
    name: 'an older generation is taken', file: STEP,
    replace: 'if (wish.generation < generation) {', by: 'if (wish.generation < 0) {',
  },
  {
    name: 'sockets of an earlier keeper are believed for ever', file: KEEPER,
    replace: 'const PROBE_MS = 10_000', by: 'const PROBE_MS = Infinity',
  },
  {
    name: 'a device in use is let go of', file: STEP,
    replace: "if (ends) return whyBusy(view, ask) ?? {", by: 'if (ends) return {',
  },
  {
    name: 'one that is used since is disconnected', file: STEP,
    replace: "whyBusy(view, ask) ?? { do: 'disconnect'", by: "{ do: 'disconnect'",
  },
  {
    name: 'what is over waits for who uses it', file: STEP,
    replace: 'isForced || view.isSuperseded || device', by: 'device',
  },
  {
    name: 'whose a device is is not looked for', file: KEEPER,
    replace: 'this.#checkShown(result, entry)', by: 'void entry',
  },
  {
    name: 'what is gone is made again and again', file: KEEPER, replace: '++connects > 1', by: '++connects > Infinity',
  },
  {
    name: 'a device is larger than what is served', file: STEP,
    replace: 'facts!.sizeBytes < ask.sizeBytes', by: 'false',
  },
  {
    name: 'what the table says is told', file: KEEPER,
    replace: "own === undefined ? '' : `/dev/nbd${own.index}`", by: 'pathOf(entry)',
  },
  {
    name: 'dead sockets are not seen', file: KEEPER, replace: 'if (!port.isDead(fd)) return true', by: 'return true',
  },
  {
    name: 'a grown size is not told to the kernel', file: STEP,
    replace: 'device.sizeBytes < entry.sizeBytes && device.sizeBytes > 0', by: 'false',
  },
  {
    name: 'what is over is not asked about', file: KEEPER,
    replace: 'isOver === undefined || held', by: 'true || held',
  },
  {
    name: 'silence is the end', file: KEEPER, replace: 'if (!isSaid || ', by: 'if (',
  },
  {
    name: 'a keeper that was killed over the end of one leaves it', file: KEEPER,
    replace: "'session-stale', 'device-busy']", by: "'session-stale']",
  },
  {
    name: 'of what a later one took the place of nobody asks', file: KEEPER,
    replace: "'session-stale', 'device-busy']", by: "'device-busy']",
  },
  {
    name: 'what is over is asked for again and again', file: STEP,
    replace: 'wanted > 0 && view.isSuperseded', by: 'false',
  },
]

for (const bug of PLANTED) {
  t.test(`planted: ${bug.name}`, async (t) => {
    t.equal(misfit(bug), undefined)
    const mutated = await importMutant<typeof lives>(bug, LIVES)
    const wrong = await anything(mutated)
    mutated.endAll()
    t.ok(wrong.length > 0, wrong[0] ?? 'nothing was found')
  })
}
