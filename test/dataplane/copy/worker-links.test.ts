/**
 * Risk: a link goes and comes again at one end while the other end has it all the time, and takes no beacon of it any
 * more, since their numbers begin anew: graces run out, and leases end, between two that hear each other.
 */
import t from 'tap'
import { clock } from '../../../dataplane/clock.ts'
import { TEST_TIMING } from './hosts.ts'
import { TurnLoop } from '../../../dataplane/copy/turn-loop.ts'
import { WakeTimer } from '../../../dataplane/copy/wake-timer.ts'
import { WorkerLinks } from '../../../dataplane/copy/worker-links.ts'
import type { BeaconMessage, LinksOwner, WorkerAddress } from '../../../dataplane/copy/worker-links.ts'

class End {
  readonly loop = new TurnLoop(clock)
  readonly timer = new WakeTimer(this.loop)
  readonly self: WorkerAddress & { instance: string }
  readonly links: WorkerLinks
  other: End | undefined
  heard = 0
  acknowledged = 0

  constructor(node: string) {
    this.self = { node, worker: 1, instance: `${node} one` }
    const owner: LinksOwner = {
      loop: this.loop,
      timer: this.timer,
      sendToWorker: (_, message) => {
        const { instance, ...from } = this.self
        this.other?.links.received(from, instance, message as BeaconMessage)
      },
      beacon: () => void this.heard++,
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
