/**
 * Risk: a link goes and comes again at one end while the other end has it all the time, and takes no beacon of it any
 * more, since their numbers begin anew: graces run out, and leases end, between two that hear each other. And: what is
 * sent with a beacon that came names nobody who left because of it, and gives a lease that nobody keeps (I8).
 */
import t from 'tap'
import { clock } from '../../../dataplane/clock.ts'
import { TEST_TIMING } from './hosts.ts'
import type { ClockPort } from '../../../engine/ports.ts'
import { Inbox, TurnLoop } from '../../../dataplane/copy/turn-loop.ts'
import { NOWHERE, WakeTimer } from '../../../dataplane/copy/wake-timer.ts'
import { WorkerLinks } from '../../../dataplane/copy/worker-links.ts'
import type { BeaconMessage, LinksOwner, WorkerAddress } from '../../../dataplane/copy/worker-links.ts'
import { SimClock } from '../../sim/clock.ts'

class End {
  readonly loop: TurnLoop
  readonly timer: WakeTimer
  readonly self: WorkerAddress & { instance: string }
  readonly links: WorkerLinks
  other: End | undefined
  heard = 0
  acknowledged = 0
  turns = 0
  readonly sent: Array<{ atMs: number; message: BeaconMessage }> = []
  /** A copy of this worker hears of a beacon. */
  onHeard = (): void => undefined

  constructor(node: string, time: ClockPort = clock) {
    this.loop = new TurnLoop(time)
    this.timer = new WakeTimer(this.loop)
    this.loop.beforeEach(() => void this.turns++)
    this.self = { node, worker: 1, instance: `${node} one` }
    const owner: LinksOwner = {
      loop: this.loop,
      timer: this.timer,
      sendToWorker: (_, message) => {
        const { instance, ...from } = this.self
        this.sent.push({ atMs: time.nowMs(), message: message as BeaconMessage })
        this.other?.links.received(from, instance, message as BeaconMessage)
      },
      beacon: () => {
        this.heard++
        this.onHeard()
      },
      acknowledged: (_, { sentAtMs }) => {
        if (sentAtMs > 0) this.acknowledged++
      },
      clockDoubt: () => undefined,
      beaconsSent: () => undefined,
      tellCommits: () => undefined,
    }
    this.links = new WorkerLinks(this.self, TEST_TIMING, owner)
  }
}

const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5))
}

t.test('a link that is made anew at one end is heard at the other, and acknowledged', async (t) => {
  const [a, b] = [new End('n1'), new End('n2')]
  a.other = b
  b.other = a
  t.teardown(() => [a, b].forEach(({ loop, timer }) => {
    timer.stop()
    loop.stop()
  }))
  a.links.setPeers([b.self])
  b.links.setPeers([a.self])
  await until(() => b.heard > 5 && a.acknowledged > 5 && b.acknowledged > 5)
  a.links.setPeers([])
  a.links.setPeers([b.self])
  const [heard, ofA, ofB] = [b.heard, a.acknowledged, b.acknowledged]
  await until(() => b.heard >= heard + 2)
  await until(() => a.acknowledged >= ofA + 2 && b.acknowledged >= ofB + 2)
  t.ok(b.heard < heard + 6, 'at once, and not when its numbers are as high again')
})

/** Both ends in one time, which passes when it is told to. */
function twoEnds() {
  const time = new SimClock()
  const advanceTo = (atMs: number): void => time.advance(atMs - time.nowMs())
  const [a, b] = [new End('n1', time), new End('n2', time)]
  a.other = b
  b.other = a
  return { a, b, advanceTo, now: () => time.nowMs() }
}

t.test('ends that began apart beat together, and wake once for it', async (t) => {
  const { beaconMs } = TEST_TIMING
  const { a, b, advanceTo, now } = twoEnds()
  a.links.setPeers([b.self])
  advanceTo(0.3 * beaconMs)
  b.links.setPeers([a.self])
  advanceTo(4 * beaconMs)
  for (const end of [a, b]) {
    end.turns = 0
    end.sent.length = 0
  }
  advanceTo(now() + 20 * beaconMs)
  t.equal(a.sent.length, 20)
  t.same(a.sent.map(({ atMs }) => atMs), b.sent.map(({ atMs }) => atMs))
  t.equal(a.turns + b.turns, 60, 'one to send, one to send with it, one to hear of that')
})

t.test('a copy that leaves in the turn in which a beacon came is named in what leaves with it', async (t) => {
  const { beaconMs } = TEST_TIMING
  const { a, b, advanceTo, now } = twoEnds()
  a.links.setPeers([b.self])
  b.links.setPeers([a.self])
  advanceTo(4.8 * beaconMs)
  const copy = new Inbox<'beacon'>(a.loop, () => a.links.left('v', b.self))
  a.onHeard = () => copy.put('beacon')
  a.sent.length = b.sent.length = 0
  // It begins anew, shortly before both would have sent.
  b.links.setPeers([])
  b.links.setPeers([a.self])
  advanceTo(4.9 * beaconMs)
  t.equal(b.sent.length, 1)
  t.match(a.sent, [{ message: { got: { number: b.sent[0]!.message.number }, left: ['v'] } }])
  advanceTo(now() + 10 * beaconMs)
  t.same(b.sent.at(-1)!.message.left, [], 'only who said so has left')
})

t.test('who waits for what beacons move is woken with them', async (t) => {
  const { beaconMs } = TEST_TIMING
  const { a, b, advanceTo, now } = twoEnds()
  a.links.setPeers([b.self])
  b.links.setPeers([a.self])
  advanceTo(beaconMs / 2)
  /** As a lease does that is extended by each beacon. */
  const wakings: number[] = []
  const copy = {
    place: NOWHERE,
    wake: () => {
      wakings.push(now())
      a.timer.wakeAt(copy, a.sent.at(-1)!.atMs + 4.2 * beaconMs)
    },
  }
  a.timer.add(copy)
  a.timer.wakeAt(copy, 4.2 * beaconMs)
  a.turns = 0
  advanceTo(100 * beaconMs)
  t.ok(wakings.length >= 20, 'often enough')
  const sentAtMs = new Set(a.sent.map(({ atMs }) => atMs))
  t.same(wakings.filter((atMs) => !sentAtMs.has(atMs)), [], 'never by itself')
})
