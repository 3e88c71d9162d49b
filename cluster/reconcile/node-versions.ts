/**
 * What a volume cannot be asked for while a node of before is in the cluster: others do not send it what it does not
 * understand, so its copies would be let go, and its clients read nothing. It is refused in words that name the node,
 * by what each told with its last heartbeat.
 *
 * Also what a node of before would take out of the record of a volume when it is elected and changes it: there it was
 * not carried along. The note of a move that is done (`moved`) is none of these: without it a copy may be moved back.
 */
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { BeatBody } from '../membership/beat-body.ts'

/** Since which version of the protocol between data workers (dataplane/peer/PROTOCOL.md). */
export const PROTOCOL_FOR = {
  compression: 3, encryption: 5, shrinking: 6, 'another durability': 8,
  'allowed nodes or zones': 7, 'data-locality': 7, 'failure-mode': 7, labels: 7, 'read-check': 7,
} as const
type NewerWish = keyof typeof PROTOCOL_FOR

const VALUES: Readonly<Partial<Record<NewerWish, (record: VolumeRecord) => unknown>>> = {
  compression: ({ spec }) => spec.compression,
  encryption: ({ spec }) => spec.encryption,
  'allowed nodes or zones': ({ allowed }) => allowed,
  'data-locality': ({ dataLocality }) => dataLocality,
  'failure-mode': ({ failureMode }) => failureMode,
  labels: ({ labels }) => labels,
  'read-check': ({ spec }) => spec.readCheck,
}

/** What that record wishes of them. @param former  as it was before; of what is as it was nothing is asked */
export function newerWishes(record: VolumeRecord, former?: VolumeRecord): NewerWish[] {
  const found: NewerWish[] = []
  for (const [what, valueOf] of Object.entries(VALUES)) {
    const [value, was] = [valueOf(record), former && valueOf(former)]
    if (value !== undefined && JSON.stringify(value) !== JSON.stringify(was)) found.push(what as NewerWish)
  }
  return found
}

/** Undefined: every node knows it. */
export function tooOld(
  beats: ReadonlyMap<string, BeatBody>, what: NewerWish, name: string,
): HoldfastError | undefined {
  const old = [...beats].filter(([, { protocol = 0 }]) => protocol < PROTOCOL_FOR[what])
  if (old.length === 0) return undefined
  const nodes = old.map(([node, { version }]) => `${node} (version ${version})`).sort().join(' and ')
  return new HoldfastError('node-too-old', { name, what, nodes })
}
