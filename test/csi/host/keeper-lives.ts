/** Lives of a keeper, each with what went wrong: told by the tests, and by those of planted bugs. */
import { KeeperWorld } from './keeper-world.ts'

const VOLUME = 'a'.repeat(32)
const OTHER = 'b'.repeat(32)
const CONNECTIONS = 2

const worlds: KeeperWorld[] = []

/** A life that ended early leaves its keeper running. */
export function endAll(): void {
  for (const made of worlds.splice(0)) made.end()
}

function world(): KeeperWorld {
  const made = new KeeperWorld()
  worlds.push(made)
  made.offers.set(VOLUME, 3).set(OTHER, 8)
  return made
}

/** What the end of a life should look like. */
function atEnd(made: KeeperWorld, foreign: string): string[] {
  const wrong = [...made.wrong]
  if (made.foreign() !== foreign) wrong.push(`foreign devices are touched: ${made.foreign()}`)
  return wrong
}

const untilKilled = (asked: Promise<unknown>): Promise<unknown> => asked.catch(() => undefined)

/**
 * Attach, detach, attach under a newer generation, with the keeper killed at one of its effects; then another one is
 * asked the same. @returns what is wrong, and whether it was killed
 */
export async function killedAt(killAt: number, between: (made: KeeperWorld) => void): Promise<[string[], boolean]> {
  const made = world()
  const foreign = made.foreign()
  made.killAt = killAt
  const first = made.keeper()
  await untilKilled((async () => {
    await first.attach(made.wish(OTHER))
    await first.attach(made.wish(VOLUME))
    await first.detach(VOLUME)
    made.offers.set(VOLUME, 4)
    await first.attach(made.wish(VOLUME))
    made.offers.set(VOLUME, 5)
    await first.attach(made.wish(VOLUME))
    made.servedBytes = 2 ** 31
    await first.resize(VOLUME, 2 ** 31)
  })())
  const wasKilled = made.effects > killAt
  made.killAt = Infinity
  const wrong = made.foreign() === foreign ? [] : ['foreign devices are touched']
  between(made)
  const others = made.foreign()
  const second = made.keeper()
  made.offers.set(VOLUME, 5)
  try {
    const device = await second.attach(made.wish(VOLUME))
    await second.attach(made.wish(OTHER))
    await made.pass(2000)
    for (const volume of [VOLUME, OTHER]) {
      const live = made.live(volume)
      if (live !== CONNECTIONS) wrong.push(`${volume} has ${live} live sockets`)
    }
    if (device.path !== `/dev/nbd${made.deviceOf(VOLUME)?.index}`) wrong.push(`it says ${device.path}`)
    made.servedBytes = 2 ** 31
    await second.resize(VOLUME, 2 ** 31)
    if (made.deviceOf(VOLUME)!.sizeBytes !== 2 ** 31) wrong.push('it is not grown')
    await second.detach(VOLUME)
    await second.detach(OTHER)
    await second.detach(OTHER)
    if (made.table.size > 0) wrong.push('an entry is left')
    for (const volume of [VOLUME, OTHER]) if (made.deviceOf(volume)) wrong.push(`a device of ${volume} is left`)
  } catch (error) {
    wrong.push(String(error))
  }
  await second.close()
  return [[...wrong, ...atEnd(made, others)], wasKilled]
}

/** What may happen while no keeper runs. */
export const BETWEEN: Record<string, (made: KeeperWorld) => void> = {
  nothing: () => undefined,
  'the data process starts again, and no event is heard': (made) => {
    made.losesEvents = true
    made.restartData()
  },
  'others take what is free': (made) => {
    for (let index = 0; index < 6; index++) made.takeByOthers(index)
  },
  'the host boots: no device of ours is there, and others take indexes': (made) => {
    for (const { index, backend } of made.devices.values()) if (backend.startsWith('holdfast-')) made.lose(index)
    for (let index = 0; index < 3; index++) made.takeByOthers(index)
  },
}

/** An index of ours is lost, and somebody else's by the time a keeper looks. */
export async function reusedIndex(): Promise<string[]> {
  const made = world()
  const first = made.keeper()
  await first.attach(made.wish(VOLUME))
  const { index } = made.deviceOf(VOLUME)!
  await first.close()
  made.lose(index)
  made.takeByOthers(index)
  const foreign = made.foreign()
  const second = made.keeper()
  const found = [await second.find(VOLUME), ...await second.list()]
  for (const one of found) if (one?.path !== '' || one.state !== 'attaching') made.wrong.push(`it says ${one?.path}`)
  await made.pass(3000)
  await second.detach(VOLUME)
  await second.close()
  return atEnd(made, foreign)
}

/** Sockets die, seen or unseen, under a keeper that gave them, or one that came later. */
export async function resupplied(isLater: boolean, losesEvents: boolean): Promise<string[]> {
  const made = world()
  const foreign = made.foreign()
  let keeper = made.keeper()
  await keeper.attach(made.wish(VOLUME))
  if (isLater) {
    await keeper.close()
    keeper = made.keeper()
    await made.pass(1000)
  }
  made.losesEvents = losesEvents
  const wrong: string[] = []
  const mostMs = isLater && losesEvents ? 12_000 : 1000
  for (const harm of [() => made.killOne(VOLUME), () => made.restartData()]) {
    harm()
    await made.pass(mostMs)
    if (made.live(VOLUME) !== CONNECTIONS) wrong.push(`${made.live(VOLUME)} live sockets after ${mostMs} ms`)
  }
  await keeper.close()
  return [...wrong, ...atEnd(made, foreign)]
}

/** Grown before the data process here knows of it: the device is, when it does. */
export async function grown(): Promise<string[]> {
  const made = world()
  const keeper = made.keeper()
  const { sizeBytes } = await keeper.attach(made.wish(VOLUME))
  const wrong: string[] = []
  const never = await keeper.resize(VOLUME, 2 ** 31).then(() => 'grown', (error: { code: string }) => error.code)
  if (never !== 'device-refused') wrong.push(`not served: ${never}`)
  const later = keeper.resize(VOLUME, 2 ** 31)
  await made.pass(500)
  if (made.deviceOf(VOLUME)?.sizeBytes !== sizeBytes) wrong.push('it is grown too early')
  made.servedBytes = 2 ** 31
  await later
  if (made.deviceOf(VOLUME)?.sizeBytes !== 2 ** 31) wrong.push('it is not grown')
  await keeper.close()
  return [...wrong, ...made.wrong]
}

/** Its volume holds I/O for another time than when it was made; also when the keeper is killed at telling so. */
export async function retimed(killAfter: number): Promise<string[]> {
  const made = world()
  let keeper = made.keeper()
  await keeper.attach(made.wish(VOLUME))
  const wrong: string[] = []
  const seconds = (): number => made.deviceOf(VOLUME)!.deadConnectionSeconds
  if (seconds() !== 605) wrong.push(`made with ${seconds()} s`)
  const wish = { ...made.wish(VOLUME), ioTimeoutMs: 3_600_000 }
  made.killAt = made.effects + killAfter
  await keeper.attach(wish).catch(() => undefined)
  if (made.killAt !== Infinity) {
    made.killAt = Infinity
    keeper = made.keeper()
    await keeper.attach(wish)
  }
  if (seconds() !== 3605) wrong.push(`it waits for ${seconds()} s`)
  const { effects } = made
  await keeper.attach(wish)
  if (made.effects !== effects) wrong.push('told twice')
  made.lose(made.deviceOf(VOLUME)!.index)
  await keeper.attach({ ...wish, ioTimeoutMs: 0 })
  if (seconds() < 2 ** 30) wrong.push(`made anew with ${seconds()} s`)
  await keeper.close()
  return [...wrong, ...made.wrong]
}

/** Served for reading only though writing was wished: the same wish again is the same device. */
export async function servedReadOnly(): Promise<string[]> {
  const made = world()
  const keeper = made.keeper()
  made.serverFlags = 3
  const wrong: string[] = []
  for (let time = 0; time < 2; time++) {
    const { readOnly } = await keeper.attach(made.wish(VOLUME))
    if (!readOnly) wrong.push('it is not said')
  }
  const other = keeper.attach({ ...made.wish(VOLUME), readOnly: true })
  const code = await other.then(() => 'made', (error: { code: string }) => error.code)
  if (code !== 'device-otherwise') wrong.push(`wished otherwise: ${code}`)
  await keeper.close()
  return [...wrong, ...made.wrong]
}

/** The data process is away for long, and a generation ends. */
export async function refused(): Promise<string[]> {
  const made = world()
  const keeper = made.keeper()
  await keeper.attach(made.wish(VOLUME))
  const wrong: string[] = []
  const older = await keeper.attach(made.wish(VOLUME, 2)).then(() => 'taken', (error: { code: string }) => error.code)
  if (older !== 'device-generation') wrong.push(`an older generation: ${older}`)
  made.isDataUp = false
  made.restartData()
  await made.pass(5000)
  made.isDataUp = true
  await made.pass(1000)
  if (made.live(VOLUME) !== CONNECTIONS) wrong.push('it is not back')
  made.offers.set(VOLUME, 9)
  made.restartData()
  const { effects } = made
  await made.pass(20_000)
  if (made.live(VOLUME) !== 0) wrong.push('it has sockets of another attachment')
  if (made.effects !== effects) wrong.push('it goes on to ask for what is over')
  await keeper.detach(VOLUME)
  await keeper.close()
  return [...wrong, ...made.wrong]
}

/**
 * In use, as it shows: refused at once, nothing is touched, its sockets are replaced as ever; forced, or under a later
 * attachment, it is over. Also for a keeper that finds it half let go of. One that is open unseen goes when it is free.
 */
export async function busy(): Promise<string[]> {
  const made = world()
  let keeper = made.keeper()
  await keeper.attach(made.wish(VOLUME))
  const wrong: string[] = []
  const detached = async (force = false): Promise<string> =>
    keeper.detach(VOLUME, { force }).then(() => 'done', (error: { code: string }) => error.code)
  const expect = (what: string, found: unknown, wanted: unknown): void => {
    if (found !== wanted) wrong.push(`${what}: ${found}, not ${wanted}`)
  }
  made.deviceOf(VOLUME)!.users = ['a mount']
  const { nowMs } = made
  expect('mounted', await detached(), 'device-busy')
  if (made.nowMs - nowMs > 1000) wrong.push('it takes long to say so')
  made.restartData()
  await made.pass(1000)
  expect('live sockets of one in use', made.live(VOLUME), CONNECTIONS)

  made.letGo(VOLUME)
  made.killAt = made.effects + 0.5
  await detached()
  made.killAt = Infinity
  const left = made.deviceOf(VOLUME)
  if (left === undefined) return [...wrong, 'it was to be killed in the middle']
  left.users = ['a mount of somebody who came since']
  keeper = made.keeper()
  await made.pass(1000)
  expect('half let go of', await detached(), 'device-busy')
  made.mayFail = true
  const forced = detached(true)
  await made.pass(100)
  if (!left.isOver) wrong.push('forced, and it goes on')
  made.letGo(VOLUME)
  expect('forced', await forced, 'done')

  made.offers.set(VOLUME, 4)
  await keeper.attach(made.wish(VOLUME))
  made.deviceOf(VOLUME)!.users = ['a mount']
  made.offers.set(VOLUME, 5)
  const next = keeper.attach(made.wish(VOLUME)).then(() => 'done', String)
  await made.pass(100)
  made.letGo(VOLUME)
  expect('under a later generation', await next, 'done')
  made.mayFail = false
  made.deviceOf(VOLUME)!.isOpen = true
  expect('open', await detached(), 'device-busy')
  made.letGo(VOLUME)
  await made.pass(1000)
  if (made.deviceOf(VOLUME) !== undefined || made.table.size > 0) wrong.push('it is not let go of')
  await keeper.close()
  return [...wrong, ...made.wrong]
}

/**
 * Its data process is dead, and the attachment ends elsewhere: the device is ended though it is in use, once that is
 * said and not before, also by a keeper that comes when the former was killed over it.
 * @param next  the generation of a later attachment that a data process serves here by then
 */
export async function ended(killAfter: number, next?: number): Promise<string[]> {
  const made = world()
  let keeper = made.keeper()
  await keeper.attach(made.wish(VOLUME))
  const device = made.deviceOf(VOLUME)!
  device.users = ['a mount']
  made.isDataUp = next !== undefined
  made.restartData()
  if (next !== undefined) made.offers.set(VOLUME, next)
  await made.pass(40_000)
  const wrong = device.isOver ? ['it is ended while nobody knows'] : []
  made.over.set(VOLUME, 3)
  made.mayFail = true
  // Nothing else is an effect meanwhile but to dial.
  made.killAtDisconnect = killAfter
  await made.pass(10_000)
  if (killAfter < Infinity) {
    made.killAtDisconnect = Infinity
    keeper = made.keeper()
    await made.pass(30_000)
  }
  if (!device.isOver) wrong.push('its I/O is held')
  made.letGo(VOLUME)
  await made.pass(1000)
  if (made.table.size > 0) wrong.push('its entry is left')
  await keeper.close()
  return [...wrong, ...made.wrong]
}

/** A kernel that does not show whose a device is, and one where they go as soon as they are made. */
export async function unseen(): Promise<string[]> {
  const wrong: string[] = []
  for (const isFleeting of [false, true]) {
    const made = world()
    made.isFleeting = isFleeting
    made.showsBackend = isFleeting
    const foreign = made.foreign()
    const keeper = made.keeper()
    for (let time = 0; time < 3; time++) {
      const asked = keeper.attach(made.wish(VOLUME))
      const code = await asked.then(() => 'made', (error: { code: string }) => error.code)
      const wanted = isFleeting ? 'device-refused' : 'kernel-nbd'
      if (code !== wanted) wrong.push(`${code}, not ${wanted}`)
    }
    await made.pass(1000)
    if (made.deviceOf(VOLUME) !== undefined) wrong.push('a device is left')
    await keeper.detach(VOLUME)
    await keeper.close()
    wrong.push(...atEnd(made, foreign))
  }
  return wrong
}

/** The host booted without its NBD client: what is in the table is let go of, and nobody tries to load it for that. */
export async function lostKernel(): Promise<string[]> {
  const made = world()
  const first = made.keeper()
  await first.attach(made.wish(VOLUME))
  await first.attach(made.wish(OTHER))
  await first.close()
  for (const volume of [VOLUME, OTHER]) made.lose(made.deviceOf(volume)!.index)
  made.hasKernel = false
  const second = made.keeper()
  await made.pass(20_000)
  const wrong = made.loads === 0 ? [] : [`it was to be loaded ${made.loads} times`]
  for (const volume of [VOLUME, OTHER]) await second.detach(volume)
  if (made.table.size > 0) wrong.push('an entry is left')
  await second.close()
  return [...wrong, ...made.wrong]
}

/** Nothing can be made, and nothing has to be let go of. */
export async function withoutKernel(): Promise<string[]> {
  const made = world()
  made.hasKernel = false
  const keeper = made.keeper()
  const wrong: string[] = []
  const code = await keeper.attach(made.wish(VOLUME)).then(() => 'made', (error: { code: string }) => error.code)
  if (code !== 'kernel-nbd') wrong.push(code)
  await keeper.detach(VOLUME)
  if (made.table.size > 0) wrong.push('an entry is left')
  await keeper.close()
  return [...wrong, ...made.wrong]
}
