/**
 * What this project keeps of nodes where others may write it: nodes that were removed, in the cluster store, and nodes
 * that may leave, on an object of Kubernetes. Promises: each is whole, or none; what is read is written as it was.
 */
import { assert } from '../../../engine/assert.ts'
import { decodeRemoved, encodeRemoved, whyRemoved } from '../../../cluster/store/removed-nodes.ts'
import { registerOf, registerText } from '../../../csi/kube/leaving/leave-register.ts'
import { chosen, oneOf } from '../target.ts'
import type { Target } from '../target.ts'

const REGISTER = {
  turn: 7,
  nodes: {
    w1: { guard: { state: 'open', mark: 0 } }, w2: { pod: { state: 'kept', mark: 7, uid: 'u', instance: 'i' } },
  },
}

const DECODERS = [
  (bytes: Buffer) => {
    const removed = decodeRemoved('n1', bytes)
    if (removed === undefined) return
    const again = decodeRemoved('n1', encodeRemoved(removed))
    assert(again?.removedAtMs === removed.removedAtMs, 'it is read as it was written')
    assert(whyRemoved(removed, removed.removedAtMs + 1) === undefined, 'who came later is not meant')
    assert(whyRemoved(removed, Math.min(removed.removedAtMs, 1)) !== undefined, 'who was before is')
  },
  (bytes: Buffer) => {
    const register = registerOf(bytes.toString())
    if (register === undefined) return
    const text = registerText(register)
    assert(registerText(registerOf(text)!) === text, 'it is read as it was written')
  },
] as const

export const target: Target = {
  parsers: ['cluster/store/removed-nodes.ts', 'csi/kube/leaving/leave-register.ts'],
  seeds: () => [
    chosen(0, JSON.stringify({ name: 'n1', removedAtMs: 5 })), chosen(1, JSON.stringify(REGISTER)),
    chosen(1, '{"turn":0,"nodes":{}}'),
  ],
  words: ['"__proto__":', '"guard":', '"pod":', '"closing"', '"going"', 'null', '-1', '8640000000000001'],
  execute: (input) => oneOf(input, DECODERS),
}
