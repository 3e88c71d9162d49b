/**
 * Who uses a volume now (SNAPSHOTS.md T6), through all nodes. Reports name the nodes; they are a second old, so each of
 * those nodes is asked once more, and waits for the end of a client that has left. What is not answered counts as it
 * was reported: by a node that is away, or of an older version.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { Controller, Term } from './controller.ts'
import { within } from './settled-change.ts'
import type { Client } from './volume-wishes.ts'

export async function presentClients(controller: Controller, term: Term, volumeId: string): Promise<Client[]> {
  const told = term.intake.sessionsOf(volumeId).filter((one) => one.snapshot === '')
  const nodes = [...new Set(told.map(({ node }) => node))]
  const clients = await Promise.all(nodes.map(async (node): Promise<Client[]> => {
    const reached = controller.reach(term, node)
    try {
      const answer = reached && (await within(reached.calls.clients({ volumeId })))
      if (answer !== undefined) return answer.generations.map((generation) => ({ node, generation }))
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
    }
    return told.filter((one) => one.node === node)
  }))
  return clients.flat()
}
