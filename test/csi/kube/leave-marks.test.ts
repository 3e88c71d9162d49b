/** Risk: leave that was taken back counts as given back before what a former leader sent can do no harm any more. */
import t from 'tap'
import type { LeaveLook, NodePod } from '../../../csi/kube/leaving/leave-look.ts'
import type { LeaveEntry } from '../../../csi/kube/leaving/leave-register.ts'
import { leaveStep } from '../../../csi/kube/leaving/leave-step.ts'

const POD: NodePod = {
  node: 'w1', name: 'p', uid: 'p', version: '5', hash: 'h', isReady: true, isEnding: false, mark: 0,
}

function step(entry: LeaveEntry, pod: Partial<NodePod>, guard = { isOpen: false, mark: 0, isThere: true }) {
  const { isThere, ...budget } = guard
  const look: LeaveLook = {
    pods: [{ ...POD, ...pod }],
    guards: new Map([['w1', { budget: { version: '6', ...budget }, isThere, image: 'ready' }]]),
    kubeNodes: new Map([['w1', { isLeaving: false, isReleased: false, isUnreachable: false }]]),
    // The only copy of a volume, which nobody may take.
    cluster: {
      nodes: [{ name: 'w1', state: 'up', instance: 'i', isElected: true }],
      volumes: [{
        name: 'v', wanted: 2, minInSync: 1, awaitsCopy: false,
        copies: [{ node: 'w1', isPrimary: true, isInSync: true, isComplete: true }],
      }],
    },
    silentMs: 0, awayMs: 0,
    set: { version: '7', hash: 'h', wantedPods: 1, isPaused: false, register: { turn: 9, nodes: { w1: entry } } },
  }
  return leaveStep(look).actions
}

const kept = { state: 'kept' as const, mark: 8, uid: 'p', instance: 'i' }

t.test('a pod that is spared', async (t) => {
  t.same(step({ pod: kept }, {}), [
    { type: 'touch-pod', node: 'w1', pod: 'p', uid: 'p', version: '5', mark: 8 },
  ], 'it is touched, and its entry stays until that is seen')
  t.same(step({ pod: kept }, { mark: 8 }), [{ type: 'register', register: { turn: 10, nodes: {} }, version: '7' }])
  t.same(step({ pod: kept }, { mark: 8, isReady: false }), [], 'one that does not run may be a successor')
})

t.test('a budget that is closed', async (t) => {
  const guard = { state: 'closing' as const, mark: 8 }
  const over = [{ type: 'register', register: { turn: 10, nodes: {} }, version: '7' }]
  const touched = { type: 'budget', node: 'w1', version: '6', isOpen: false, mark: 8 }
  t.same(step({ guard }, {}), [touched], 'also one that was never opened')
  t.same(step({ guard }, {}, { isOpen: true, mark: 8, isThere: true }), [touched])
  t.same(step({ guard }, {}, { isOpen: false, mark: 8, isThere: true }), over)
  t.same(step({ guard }, {}, { isOpen: false, mark: 8, isThere: false }), [], 'its guard was evicted')
})
