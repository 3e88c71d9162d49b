/**
 * Risk: a primary whose own disk hangs keeps its lead, and all writes wait for as long as the disk does, although
 * others have them; or it gives the lead away for nothing.
 */
import t from 'tap'
import { Copies } from './copies.ts'

function serving(options: ConstructorParameters<typeof Copies>[0] = {}): Copies {
  const copies = new Copies({ nodes: 3, minInSync: 1, ...options })
  copies.run(500)
  copies.open()
  for (let i = 0; i < 4; i++) copies.write(i, i)
  copies.settle()
  return copies
}

for (const mode of ['durable', 'writeback'] as const) {
  t.test(`a primary whose disk hangs gives its lead away, and comes back when it answers, ${mode}`, (t) => {
    const copies = serving({ copy: { mode } })
    copies.isStalled = ({ name }) => name === 'n1'
    const request = copies.write(5, 55)
    const heldFromMs = copies.nowMs
    while (copies.config.primary === 'n1' && copies.nowMs < heldFromMs + 20_000) copies.run(100)
    t.ok(copies.nowMs - heldFromMs <= 1500, `it went on after ${copies.nowMs - heldFromMs} ms`)
    copies.run(8000)
    t.not(copies.config.primary, 'n1')
    t.same([...copies.config.inSync].sort(), ['n2', 'n3'], 'who is silent is let go')
    t.ok(copies.open(), 'it is served')
    t.equal(copies.read(5), 55)
    t.ok(request > 0)
    copies.isStalled = () => false
    copies.run(8000)
    t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'], 'it is back')
    t.end()
  })
}

t.test('a lead is kept where another one is of no use', (t) => {
  const cases: Array<[string, ConstructorParameters<typeof Copies>[0], (name: string) => boolean]> = [
    ['all disks hang', {}, () => true],
    ['the set may not shrink', { minInSync: 3 }, (name) => name === 'n1'],
    ['there is no other copy', { nodes: 1 }, () => true],
  ]
  for (const [what, options, hangs] of cases) {
    const copies = serving(options)
    copies.isStalled = ({ name }) => hangs(name)
    const { epoch } = copies.config
    const request = copies.write(5, 55)
    // Two that hang as well are let go, but not by who hangs.
    copies.run(900)
    copies.run(4000)
    t.equal(copies.config.primary, 'n1', what)
    t.ok(copies.config.epoch <= epoch + 1, what)
    copies.isStalled = () => false
    copies.run(4000)
    t.match(copies.answerOf(request), { ok: true }, what)
  }
  t.end()
})

t.test('a disk that is slow and goes on keeps the lead', (t) => {
  const copies = serving()
  let isOn = false
  copies.isStalled = ({ name }) => name === 'n1' && !isOn
  for (let i = 0; i < 10; i++) {
    copies.write(i, 100 + i)
    copies.run(800)
    isOn = true
    copies.settle()
    isOn = false
  }
  t.equal(copies.config.primary, 'n1')
  t.end()
})

t.test('while room in its pool is waited for no time passes for a disk', (t) => {
  const copies = serving()
  let room: 'wait' | 'there' = 'wait'
  Object.assign(copies.node('n1').store, { roomFor: () => room })
  copies.isStalled = ({ name }) => name === 'n1'
  const request = copies.write(5, 55)
  copies.run(5000)
  t.equal(copies.config.primary, 'n1', 'it is waited for')
  room = 'there'
  copies.run(800)
  t.equal(copies.config.primary, 'n1', 'the disk is at work')
  copies.isStalled = () => false
  copies.run(500)
  t.match(copies.answerOf(request), { ok: true })
  copies.isStalled = ({ name }) => name === 'n1'
  copies.write(6, 66)
  copies.run(1500)
  t.not(copies.config.primary, 'n1', 'and hangs')
  t.end()
})

t.test('one that was chosen and cannot promise gives its lead away', (t) => {
  const copies = serving()
  copies.isStalled = ({ name }) => name === 'n2'
  copies.kill('n1')
  const fromMs = copies.nowMs
  const isServed = (): boolean => copies.config.primary === 'n3' && copies.node('n3').state.role === 'primary'
  while (!isServed() && copies.nowMs - fromMs < 30_000) copies.run(100)
  t.ok(copies.nowMs - fromMs < 12_000, `served again after ${copies.nowMs - fromMs} ms`)
  t.ok(copies.open())
  t.equal(copies.read(3), 3)
  t.end()
})

t.test('where all disks are slow somebody is waited for', (t) => {
  const copies = serving()
  let isOn = false
  copies.isStalled = () => !isOn
  copies.kill('n1')
  // Each operation takes up to 5 s, longer than one that was chosen is waited for at first.
  for (let i = 0; i < 30; i++) {
    copies.run(5000)
    isOn = true
    copies.settle()
    isOn = false
  }
  t.ok(['n2', 'n3'].includes(copies.config.primary))
  t.equal(copies.node(copies.config.primary).state.role, 'primary')
  t.end()
})
