/** Small worlds of copies that the tests of filling begin with. */
import t from 'tap'
import type { CopyOptions } from '../../../engine/replication/copy-port.ts'
import { Copies } from './copies.ts'

/** Every version of every block, as each copy has it. */
export function contents(copies: Copies, name: string): unknown {
  const { blocks } = copies.node(name).store.view
  return [...blocks].sort(([a], [b]) => a - b).map(([lba, versions]) => [lba, versions.at(-1)])
}

/** A third copy is being filled, with nothing of it stored yet beyond the begin. */
export function filling(copy: Partial<CopyOptions> = {}): { copies: Copies; fill: number } {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'], copy })
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'filling'
  copies.run(500)
  copies.open()
  for (let i = 0; i < 20; i++) copies.write(i, i)
  copies.run(500)
  const { fill, phase } = copies.node('n3').state.fillTarget!
  t.equal(phase, 'filling')
  return { copies, fill }
}
