/**
 * What a volume cannot be asked for while a node of before is in the cluster: others do not send it what it does not
 * understand, so its copies would be let go, and its clients read nothing. It is refused in words that name the node,
 * by what each told with its last heartbeat.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { BeatBody } from '../membership/beat-body.ts'

/** Since which version of the protocol between data workers (dataplane/peer/PROTOCOL.md). */
export const PROTOCOL_FOR = { compression: 3, encryption: 5, shrinking: 6 } as const

/** Undefined: every node knows it. */
export function tooOld(
  beats: ReadonlyMap<string, BeatBody>, what: keyof typeof PROTOCOL_FOR, name: string,
): HoldfastError | undefined {
  const old = [...beats].filter(([, { protocol = 0 }]) => protocol < PROTOCOL_FOR[what])
  if (old.length === 0) return undefined
  const nodes = old.map(([node, { version }]) => `${node} (version ${version})`).sort().join(' and ')
  return new HoldfastError('node-too-old', { name, what, nodes })
}
