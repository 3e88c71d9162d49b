/** Risk: a snapshot that an export or a clone deletes in a moment is kept in place of one that was meant to stay. */
import t from 'tap'
import type { Test } from 'tap'
import type { Snapshot } from '../../cluster/api/snapshot-messages.ts'
import { serveStub } from './control-stub.ts'
import { holdfast } from './run-holdfast.ts'

const snapshot = (seq: number, name: string, labels: Record<string, string> = {}): Snapshot => ({
  volume: 'data', volumeId: 'a'.repeat(32), name, id: String(seq).repeat(32), seq, sizeBytes: 0,
  createdAtMs: Date.UTC(2026, 10, 30, 5, seq), labels, group: '', exclusiveBytes: 0, exclusiveAtMs: 0,
})

/** @returns what of them is pruned and kept */
async function pruned(t: Test, snapshots: Snapshot[], ...words: string[]): Promise<unknown> {
  const { socketPath } = await serveStub(t, {
    listSnapshots: async () => ({ snapshots, next: '', unread: [] }),
    deleteSnapshot: async () => ({}),
  })
  const told = await holdfast(['snapshot', 'prune', 'data', ...words, '-o', 'json', '--endpoint', socketPath])
  t.match(told, { code: 0, stderr: '' })
  const { deleted, kept } = JSON.parse(told.stdout)
  return { deleted, kept }
}

const MADE = [
  snapshot(1, 'old'), snapshot(2, 'new', { 'made-for': 'audit' }),
  snapshot(3, 'clone-1', { 'made-for': 'clone' }), snapshot(4, 'export-1', { 'made-for': 'export' }),
]

t.test('those of a running export or clone take no place, and stay', async (t) => {
  t.same(await pruned(t, MADE, '--keep-last', '1'), { deleted: ['old'], kept: ['new'] })
})

t.test('what one that was killed has left goes by its label', async (t) => {
  const two = [...MADE, snapshot(5, 'export-2', { 'made-for': 'export' })]
  const words = ['--keep-last', '1', '--label', 'made-for=export']
  t.same(await pruned(t, two, ...words), { deleted: ['export-1'], kept: ['export-2'] })
})
