/**
 * A copy of a first write W1 that arrives when W1 was re-sent and answered and W2 on the same range was answered: W2
 * stays (SPEC.md S1, S5). Here with a primary that orders whatever the frontend's numbers allow.
 */
import t from 'tap'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import { FrontendBench } from './frontend-bench.ts'
import type { Request } from './frontend-bench.ts'
import { TinyPrimary } from './tiny-primary.ts'

class Wire {
  readonly bench = new FrontendBench()
  readonly primary = new TinyPrimary(1 << 20)
  /** Requests with this number are lost on their way to the primary. */
  lost: number | undefined
  /** Those with this one are refused. */
  refused: number | undefined
  private replies: Array<{ from: string; message: FrontendMessage }> = []

  /** Everything is delivered and committed until nothing moves. */
  settle(): this {
    this.bench.step({ type: 'tick' })
    for (let moved = true; moved;) {
      const { sent } = this.bench
      this.bench.sent = []
      moved = sent.length > 0
      for (const { to, message } of sent) {
        const number = message.type === 'request' ? message.id.request : undefined
        if (number !== undefined && number === this.lost) continue
        this.primary.receive(to, message, this.send, number !== undefined && number === this.refused)
      }
      while (this.primary.pending.length > 0) this.primary.commit(this.send)
      for (const token of this.bench.reads.splice(0)) {
        moved = true
        const config = this.primary.configs.at(-1)!
        this.bench.step({ type: 'config-read', token, value: { config, version: `${config.epoch}` }, ok: true })
      }
      for (const { from, message } of this.replies.splice(0)) this.bench.from(from, message)
      moved ||= this.bench.sent.length > 0
    }
    return this
  }

  /** A copy of it comes to a node now. */
  arrive(copy: Request, node: string): this {
    this.primary.receive(node, copy, this.send, false)
    return this.settle()
  }

  failOver(node: string): this {
    this.primary.failOver(node, 0, this.send)
    const config = this.primary.configs.at(-1)!
    this.bench.step({ type: 'config-hint', value: { config, version: `${config.epoch}` } })
    this.bench.pass(100)
    return this.settle()
  }

  /** The request that is on its way, which goes on its way all the same. */
  copyOfNext(): Request {
    const message = this.bench.sent.at(-1)!.message
    if (message.type !== 'request') throw new Error(message.type)
    return structuredClone(message)
  }

  private send = (from: string, message: FrontendMessage): void => void this.replies.push({ from, message })
}

t.test('lost at one primary, re-sent to the next, written over', (t) => {
  const wire = new Wire().settle()
  wire.bench.block(1, 5, 11)
  const late = wire.copyOfNext()
  wire.lost = 1
  wire.settle()
  t.equal(wire.bench.answers.has(1), false)
  wire.lost = undefined
  wire.failOver('b')
  wire.bench.block(2, 5, 22)
  wire.settle()
  t.same([...wire.bench.answers.keys()], [1, 2])
  wire.arrive(late, 'b').failOver('c').arrive(late, 'c')
  t.same(wire.primary.read(5), [22, 22, 22, 22])
  t.end()
})

t.test('refused, then written over, while a lower number is not answered', (t) => {
  const wire = new Wire().settle()
  wire.lost = 1
  wire.refused = 2
  wire.bench.block(1, 1, 11)
  wire.bench.block(2, 5, 22)
  const late = wire.copyOfNext()
  wire.settle()
  t.same(wire.bench.answers.get(2), { ok: false, code: 'no-space' })
  wire.refused = undefined
  wire.bench.block(3, 5, 33)
  wire.settle().arrive(late, 'a')
  wire.lost = undefined
  wire.bench.pass(1000)
  wire.settle().arrive(late, 'a')
  t.same(wire.bench.answers.get(3), { ok: true, versions: [] })
  t.same(wire.primary.read(5), [33, 33, 33, 33])
  t.end()
})

t.test('refused by one primary, written over, and the next one knows nothing of it', (t) => {
  const wire = new Wire().settle()
  wire.refused = 1
  wire.bench.block(1, 5, 22)
  const late = wire.copyOfNext()
  wire.settle()
  wire.bench.block(2, 5, 33)
  wire.settle().failOver('b').arrive(late, 'b')
  t.same(wire.primary.read(5), [33, 33, 33, 33])
  t.end()
})
