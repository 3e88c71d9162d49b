/** Risk: a node may leave that has what a volume needs, or never may although nothing needs it. */
import t from 'tap'
import { EMPTY_REGISTER, registerOf, registerText } from '../../../csi/kube/leaving/leave-register.ts'
import { hindranceOf, isSettled, pausedBy } from '../../../csi/kube/leaving/leave-rules.ts'
import type { VolumeFact } from '../../../csi/kube/leaving/leave-rules.ts'

/** Copies by node: `n1` is complete, `n2?` in the set and not heard, `n3~` is being filled. */
function volume(copies: string, change: Partial<VolumeFact> = {}): VolumeFact {
  const facts = copies.split(' ').map((text, i) => {
    const isComplete = !/[?~]$/.test(text)
    return { node: text.replace(/[?~]$/, ''), isPrimary: i === 0, isInSync: !text.endsWith('~'), isComplete }
  })
  return { name: 'v', wanted: facts.length, minInSync: 1, awaitsCopy: false, copies: facts, ...change }
}

const may = (node: string, fact: VolumeFact, letGo: string[] = [], rest = {}): string => {
  const hindrance = hindranceOf(node, { volumes: [fact], letGo: new Set(letGo), ...rest })
  if (hindrance === undefined) return 'yes'
  return hindrance.last.length > 0 ? `last ${hindrance.awaited.join()}`.trim() : 'below'
}

t.test('Q1', async (t) => {
  t.equal(may('n1', volume('n1 n2')), 'yes')
  t.equal(may('n3', volume('n1 n2')), 'yes', 'it has no copy')
  t.equal(may('n1', volume('n1 n2?')), 'last', 'n2 is not heard')
  t.equal(may('n2', volume('n1 n2?')), 'yes')
  t.equal(may('n1', volume('n1 n2'), ['n2']), 'last n2', 'n2 may be away')
  t.equal(may('n1', volume('n1 n2 n3'), ['n2']), 'yes')
  t.equal(may('n1', volume('n1 n2 n3', { minInSync: 2 })), 'yes')
  t.equal(may('n1', volume('n1 n2 n3', { minInSync: 2 }), ['n2']), 'below')
  t.equal(may('n1', volume('n1 n2 n3~', { minInSync: 2 })), 'below', 'a third one is on its way')
  t.equal(may('n1', volume('n1 n2', { minInSync: 2 })), 'yes', 'there are no more, and can be none')
  t.equal(may('n1', volume('n1 n2', { minInSync: 2, wanted: 3, awaitsCopy: true })), 'below')
  t.equal(may('n1', volume('n1 n2', { minInSync: 2, wanted: 3 })), 'yes')
  t.equal(may('n3', volume('n1 n2 n3~')), 'yes', 'what is being filled is not needed')
  t.equal(may('n2', volume('n1 n2~'), ['n1']), 'last n1', 'what is being filled from a node that may be away is')
  t.equal(may('n3', volume('n1? n2? n3~')), 'last', 'of a volume that nobody serves every copy may be')
  t.equal(may('n1', volume('n1')), 'last')
})

t.test('a node that comes back', async (t) => {
  t.equal(may('n1', volume('n1'), [], { isReturning: true }), 'yes', 'one copy was wished')
  t.equal(may('n1', volume('n1', { wanted: 3 }), [], { isReturning: true }), 'last')
  t.equal(may('n1', volume('n1', { wanted: 3 }), [], { isReturning: true, isAlone: true }), 'yes')
  t.equal(may('n1', volume('n1', { wanted: 3 }), [], { isAlone: true }), 'last', 'it is drained, and may not')
  t.same(pausedBy('n1', [volume('n1'), volume('n1 n2'), volume('n1 n2', { name: 'w', minInSync: 2 })]), ['v', 'w'])
})

t.test('settled', async (t) => {
  t.ok(isSettled(volume('n1 n2')))
  t.ok(isSettled(volume('n1 n2', { wanted: 3 })))
  t.notOk(isSettled(volume('n1 n2', { wanted: 3, awaitsCopy: true })))
  t.notOk(isSettled(volume('n1 n2~')))
  t.notOk(isSettled(volume('n1 n2 n3', { wanted: 2 })), 'one is being moved')
})

t.test('the register', async (t) => {
  const register = {
    turn: 7,
    nodes: {
      'worker-1.example': { guard: { state: 'open' as const, mark: 0 } },
      w2: {
        guard: { state: 'closing' as const, mark: 7 },
        pod: { state: 'kept' as const, mark: 6, uid: 'u', instance: '' },
      },
    },
  }
  t.same(registerOf(registerText(register)), register)
  t.same(registerOf(undefined), EMPTY_REGISTER)
  const wrongs = [
    '', '{', '[]', '{"turn":-1,"nodes":{}}', '{"turn":1}', '{"turn":1,"nodes":{"w":{}}}',
    '{"turn":1,"nodes":{"w":{"guard":{"state":"ajar","mark":0}}}}',
    '{"turn":1,"nodes":{"w":{"guard":{"state":"open"}}}}',
    '{"turn":1,"nodes":{"w":{"pod":{"state":"going","mark":0,"uid":1,"instance":""}}}}',
  ]
  for (const wrong of wrongs) t.equal(registerOf(wrong), undefined, wrong)
})
